"""`python -m tidegate_server.fetch URI DEST`: the init container that brings a bundle into a volume.

It runs before the server, with the model's credentials, which the server never sees. A
restart of the container finds a bundle that is there already and ends at once. Nothing
stands in DEST under its own name before it has been verified.

Exit codes: 0 the bundle is there, 2 the call is wrong, 3 it cannot be had (the reason is on stderr and in the
termination log), 143 told to stop.
"""

import signal
import sys

if __name__ == "__main__":  # before the imports: a container's first process never gets a signal without a handler
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

import argparse
import logging
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tidegate_contract.bundle.manifest import MANIFEST_NAME
from tidegate_contract.bundle.timings import TIMINGS_NAME
from tidegate_contract.bundle.verify import VerifiedBundle, verify
from tidegate_contract.failure import BundleError, Failure, FailureReason, report
from tidegate_contract.logs import configure
from tidegate_contract.names import TERMINATION_LOG
from tidegate_contract.source import DIGEST_PATTERN, HttpsSource, SourceError, parse
from tidegate_server.sources.archive import TruncatedError, unpack
from tidegate_server.sources.https import Credentials, Opened, TransientError, credentials_from, open_https

EXIT_USAGE = 2
EXIT_REFUSED = 3
DEFAULT_MAX_BYTES = 10 << 30
ATTEMPTS = 2
"""Few: a failure is seen only when the container has ended, and the kubelet starts it again, ever more slowly."""
_FIRST_PAUSE_SECONDS = 0.5
_PROGRESS_SECONDS = 5.0
_STAGING = ".tidegate-fetch-"

_logger = logging.getLogger("tidegate_server.fetch")


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted, from where, and how much of it at most."""

    source: HttpsSource
    destination: Path
    digest: str | None
    max_bytes: int
    """Of the download and of what it unpacks to, each."""
    credentials: Credentials


def fetch(job: Job, pause: Callable[[float], None] = time.sleep) -> VerifiedBundle:
    """Bring the bundle into the destination, unless it is there; a few attempts for what may pass.

    Raises BundleError.
    """
    try:
        bundle = verify(job.destination, job.digest)
    except BundleError:
        _clear(job.destination)
    else:
        _logger.info("the bundle is there already", extra={"digest": bundle.digest})
        return bundle
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(job)
        except TransientError as error:
            if attempt == ATTEMPTS:
                raise BundleError(
                    FailureReason.FETCH_FAILED,
                    f"{error}, {ATTEMPTS} times in a row; see to the server, or correct the address",
                ) from error
            seconds = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            _logger.warning("trying again", extra={"why": str(error), "in_seconds": round(seconds, 2)})
            pause(seconds)
    raise AssertionError("the last attempt returns or raises")


def _attempt(job: Job) -> VerifiedBundle:
    opened = open_https(job.source.url, job.credentials)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=job.destination))
    try:
        try:
            body = _Counted(opened, job.max_bytes)
            unpack(body.read, staging, job.max_bytes)
        except TruncatedError as error:
            raise TransientError("the archive ended too early") from error
        finally:
            opened.body.close()
        bundle = verify(_root(staging), job.digest)
        _move(bundle, job.destination)
        _logger.info("fetched", extra={"digest": bundle.digest, "downloaded_bytes": body.count})
        return VerifiedBundle(job.destination, bundle.digest, bundle.manifest)
    except OSError as error:
        raise BundleError(FailureReason.FETCH_FAILED, f"the bundle cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Counted:
    """A download that knows how far it is, and when it is too much or too little."""

    def __init__(self, opened: Opened, max_bytes: int) -> None:
        if opened.size is not None and opened.size > max_bytes:
            opened.body.close()
            raise BundleError(
                FailureReason.TOO_LARGE, f"the archive has {opened.size} bytes, and at most {max_bytes} are taken"
            )
        self.count = 0
        self._opened = opened
        self._max_bytes = max_bytes
        self._next_report = time.monotonic() + _PROGRESS_SECONDS

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. Raises BundleError TOO_LARGE, TransientError."""
        try:
            chunk = self._opened.body.read(size)
        except (HTTPException, OSError) as error:
            raise TransientError(f"the connection broke after {self.count} bytes") from error
        self.count += len(chunk)
        if self.count > self._max_bytes:
            raise BundleError(FailureReason.TOO_LARGE, f"the archive has more than the {self._max_bytes} bytes allowed")
        if not chunk and self._opened.size is not None and self.count < self._opened.size:
            raise TransientError(f"the connection ended after {self.count} of {self._opened.size} bytes")
        if time.monotonic() >= self._next_report:
            self._next_report += _PROGRESS_SECONDS
            _logger.info("downloading", extra={"bytes": self.count, "of": self._opened.size})
        return chunk


def _root(staging: Path) -> Path:
    """Where the manifest is: at the top, or in the one folder there is (`tar czf bundle.tgz bundle/`)."""
    entries = list(staging.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not (staging / MANIFEST_NAME).exists():
        return entries[0]
    return staging


def _move(bundle: VerifiedBundle, destination: Path) -> None:
    """What the manifest lists, the timings, and the manifest last: without it there is no bundle."""
    timings = [TIMINGS_NAME] if bundle.read_timings() is not None else []
    for path in (*dict.fromkeys([*bundle.manifest.files, *timings]), MANIFEST_NAME):
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (bundle.directory / path).rename(target)


def _clear(destination: Path) -> None:
    """Empty the volume of what an earlier attempt left; the volume itself stays."""
    destination.mkdir(parents=True, exist_ok=True)
    for entry in destination.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tidegate_server.fetch", description="Fetch a bundle into a directory.")
    parser.add_argument("uri", help="https://HOST/PATH of a tar or tar.gz of the bundle")
    parser.add_argument("destination", type=Path, help="the directory that becomes the bundle; emptied first")
    parser.add_argument("--digest", help="sha256:... of manifest.json")
    parser.add_argument("--max-bytes", type=int, default=DEFAULT_MAX_BYTES)
    return parser


def main(argv: Sequence[str], environ: Mapping[str, str], termination_log: Path = Path(TERMINATION_LOG)) -> int:
    """Fetch as the arguments say; the exit code."""
    arguments = _parser().parse_args(argv)
    configure()
    if arguments.digest is not None and not re.match(DIGEST_PATTERN, arguments.digest):
        _logger.error("--digest must be sha256: and 64 hex digits")
        return EXIT_USAGE
    try:
        source = parse(arguments.uri)
    except SourceError as error:
        _logger.error("the address is wrong", extra={"why": str(error)})
        return EXIT_USAGE
    if not isinstance(source, HttpsSource):
        _logger.error("only https addresses are fetched; the kubelet mounts the others")
        return EXIT_USAGE
    try:
        credentials = credentials_from(environ)
        fetch(Job(source, arguments.destination, arguments.digest, arguments.max_bytes, credentials))
    except BundleError as error:
        failure = error.failure
        _logger.error("no bundle", extra={"reason": failure.reason, "why": failure.message})
    except Exception as error:
        # Never its text, which may be a credential: the log leaves it out, and a traceback would not.
        failure = Failure(FailureReason.FETCH_FAILED, f"the fetcher has a bug ({type(error).__name__}); see its log")
        _logger.exception("fetching failed in an unforeseen way")
    else:
        return 0
    report(failure, termination_log)
    return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
