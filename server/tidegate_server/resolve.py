"""`python -m tidegate_server.resolve BUNDLE_DIR`: says which bytes an address stands for, before any pod serves them.

It runs once for an address without a digest, under the model's own account, with the bundle mounted as in a serving
pod. It hashes every file and reads manifest.json; the model itself is never parsed, so that it needs neither the
model's libraries nor any trust in the model. What it found goes to the operator through the termination log.

Exit codes: 0 the bundle is whole (its digest is in the termination log), 1 it cannot be served (the reason is there
and on stderr), 2 the call is wrong, 143 told to stop.
"""

import signal
import sys

if __name__ == "__main__":  # before the imports: a container's first process never gets a signal without a handler
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError, FailureReason, report
from tidegate_contract.logs import configure
from tidegate_contract.names import TERMINATION_LOG
from tidegate_contract.resolution import Card, Resolution, bounded, encode
from tidegate_contract.source import DIGEST_PATTERN

EXIT_REFUSED = 1
EXIT_USAGE = 2

_logger = logging.getLogger("tidegate_server.resolve")


def resolve(directory: Path, digest: str | None) -> Resolution:
    """Digest and card of a bundle of which every file is what the manifest says.

    Raises BundleError, with the reasons of `verify`.
    """
    try:
        bundle = verify(directory, digest)
    except OSError as error:  # a volume that answers, and then does not
        why = error.strerror or type(error).__name__
        raise BundleError(
            FailureReason.BUNDLE_INVALID, f"the bundle cannot be read: {why}; see to its volume, or copy it again"
        ) from error
    return Resolution(bundle.digest, card(bundle.manifest))


def card(manifest: Manifest) -> Card:
    """What a ModelRevision keeps of a manifest."""
    lineage = manifest.lineage
    return bounded(
        Card(
            name=manifest.name,
            format=str(manifest.format),
            model=lineage.model,
            python=manifest.environment.python,
            libraries=manifest.environment.libraries,
            metrics=manifest.metrics,
            data=" ".join(filter(None, (lineage.data_sha256 and f"sha256:{lineage.data_sha256}", lineage.data_uri))),
            commit=lineage.commit,
            run=lineage.run,
            author=lineage.author,
            created=lineage.created,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tidegate_server.resolve", description="Say which bytes a bundle is.")
    parser.add_argument("bundle", type=Path, help="the bundle's directory")
    parser.add_argument("--digest", help="sha256:... of manifest.json; another bundle is refused")
    parser.add_argument(
        "--termination-log", type=Path, default=Path(TERMINATION_LOG), help="written only if it is there"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Resolve as the arguments say; the exit code."""
    arguments = _parser().parse_args(argv)
    configure()
    log: Path = arguments.termination_log
    if arguments.digest is not None and not re.fullmatch(DIGEST_PATTERN, arguments.digest):
        _logger.error("--digest must be sha256: and 64 hex digits")
        return EXIT_USAGE
    try:
        resolution = resolve(arguments.bundle, arguments.digest)
    except BundleError as error:
        _logger.error("the bundle is refused", extra={"reason": error.failure.reason, "why": error.failure.message})
        report(error.failure, log)
        return EXIT_REFUSED
    except Exception:
        # As in the server: a bug is no reason to blame the bundle. The kubelet takes the log's last line instead.
        _logger.exception("resolving failed in an unforeseen way")
        return EXIT_REFUSED
    _logger.info("resolved", extra={"digest": resolution.digest})
    if log.exists():  # not on a laptop
        log.write_text(encode(resolution), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
