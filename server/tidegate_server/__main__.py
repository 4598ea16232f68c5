"""`python -m tidegate_server`: serve one bundle, as the environment says.

Exit codes: 0 told to stop, 1 a port is taken or a bug, 2 the environment is wrong, 3 the bundle is refused
(the reason is on stderr and in the termination log).
"""

import os
import signal

if __name__ == "__main__":  # before the imports: a container's first process never gets a signal without a handler
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import logging
import sys

from tidegate_server.threads import limit_threads


def main() -> int:
    """Read the environment and serve; the process's exit code."""
    limit_threads(os.environ)
    from tidegate_contract.logs import configure
    from tidegate_server.settings import SettingsError, read_settings

    configure()
    logger = logging.getLogger("tidegate_server")
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        logger.error("the environment is wrong", extra={"why": str(error)})
        return 2
    from tidegate_server.serve import leave, serve

    try:
        leave(serve(settings).exit_code)
    except OSError as error:
        logger.error("the server cannot listen", extra={"why": str(error)})
        return 1


if __name__ == "__main__":
    sys.exit(main())
