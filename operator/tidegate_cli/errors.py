"""What a user reads when a command fails, and the exit code that a script reads.

0 done, 1 it failed, 2 the command is written wrong (click's own), 3 a bundle is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

EXIT_FAILURE = 1
EXIT_BUNDLE_REFUSED = 3


class Refused(click.ClickException):
    """A bundle that is refused."""

    exit_code = EXIT_BUNDLE_REFUSED


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a user can put right into one sentence; a bug stays a traceback."""
    from tidegate_contract.bundle.manifest import ManifestError
    from tidegate_contract.failure import BundleError
    from tidegate_server.offline.errors import OfflineError

    try:
        yield
    except BundleError as error:
        raise Refused(str(error)) from error
    except (OfflineError, ManifestError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from error
