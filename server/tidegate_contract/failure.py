"""Why a container of a serving pod gave up, in words that travel from the pod to the object's conditions.

The container writes one JSON document to its termination log and exits; the kubelet
carries it into the pod's status, where the operator reads it. No other channel is
needed, and it works before the first request could have been answered.
"""

from enum import StrEnum
from pathlib import Path

import msgspec

MESSAGE_LIMIT = 2048
"""Characters of a message that are kept."""
ENCODED_LIMIT = 4000
"""Bytes of a termination message: of more than 4096 the kubelet keeps the end, which nobody can read."""


class FailureReason(StrEnum):
    """What went wrong, as the reason of a condition."""

    BUNDLE_NOT_FOUND = "BundleNotFound"
    """There is no manifest where the bundle should be."""
    BUNDLE_INVALID = "BundleInvalid"
    """The manifest, or a path in it, cannot be used."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The bytes are not the ones that were asked for."""
    PICKLE_REFUSED = "PickleRefused"
    """The model needs pickle and `spec.model.allowPickle` is false."""
    LOAD_FAILED = "LoadFailed"
    """The bytes are right and the library refuses them."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """The model loads and does not give the answers it was packed with."""
    FETCH_FAILED = "FetchFailed"
    """The source did not answer, or answered with an error."""
    UNAUTHORIZED = "Unauthorized"
    """The source wants credentials, or other ones."""
    TOO_LARGE = "TooLarge"
    """The source holds more bytes than a bundle may have."""


ARTIFACT_REASONS = frozenset(FailureReason) - {FailureReason.LOAD_FAILED, FailureReason.GOLDEN_MISMATCH}
"""The reasons that are about getting the right bytes; the others are about the model in them."""


class Failure(msgspec.Struct, frozen=True):
    """One reason and one sentence that says what to do about it."""

    reason: FailureReason
    message: str


class BundleError(Exception):
    """A bundle that cannot be served, with the reason a user will read.

    >>> str(BundleError(FailureReason.BUNDLE_NOT_FOUND, "no manifest.json in /bundle"))
    'BundleNotFound: no manifest.json in /bundle'
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.failure = Failure(reason, message[:MESSAGE_LIMIT])


def encode(failure: Failure) -> bytes:
    """The termination message of a failure, its sentence cut where the whole would have over ENCODED_LIMIT bytes.

    >>> len(encode(Failure(FailureReason.LOAD_FAILED, "\N{SNOWMAN}" * MESSAGE_LIMIT)))
    3999
    """
    message = failure.message.encode(errors="replace").decode()  # half a surrogate pair, of a file's name, has no form
    while len(encoded := msgspec.json.encode(Failure(failure.reason, message))) > ENCODED_LIMIT:
        # A character takes 6 bytes at most (`\\u0000`): this many too many are there at least.
        message = message[: -max(1, (len(encoded) - ENCODED_LIMIT) // 6)]
    return encoded


def decode(message: str) -> Failure | None:
    """The failure in a termination message; None if it is not ours (a crash leaves log lines there).

    >>> decode('{"reason": "DigestMismatch", "message": "want a, got b"}')
    Failure(reason=<FailureReason.DIGEST_MISMATCH: 'DigestMismatch'>, message='want a, got b')
    >>> decode("Traceback (most recent call last):") is None
    True
    """
    try:
        return msgspec.json.decode(message, type=Failure)
    except (msgspec.DecodeError, RecursionError, UnicodeError):  # whatever a model's own code has left there
        return None


def report(failure: Failure, path: Path) -> None:
    """Leave a failure for the kubelet to find; silent where there is no kubelet (a laptop)."""
    if path.exists():
        path.write_bytes(encode(failure))
