"""`python -m tidegate_operator`: read the settings, set up the logs, run."""

import asyncio
import gc
import logging
import os
import sys

GARBAGE = 10_000
"""New containers before the collector looks for garbage. Python's 700 had it walk every model seven times in a restart
of 4,000, a tenth of its CPU time."""


def main() -> int:
    gc.set_threshold(GARBAGE)
    gc.disable()  # until the caches are full: everything that comes before stays, and looking for garbage takes a sixth
    from pythonjsonlogger.core import RESERVED_ATTRS
    from pythonjsonlogger.json import JsonFormatter

    from tidegate_operator.settings import SettingsError, read
    from tidegate_operator.shell import run

    try:
        settings = read(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"tidegate-operator: {error}\n")
        return 2
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            reserved_attrs=[*RESERVED_ATTRS, "k8s_skip", "k8s_ref", "settings"],  # kopf's own, not fit for JSON
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for noisy in ("kopf.objects", "aiohttp.access"):  # a line an event, a line a probe
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return asyncio.run(run(settings, os.environ))


if __name__ == "__main__":
    sys.exit(main())
