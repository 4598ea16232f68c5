"""A trial as its ModelRevision keeps it: a text, which is read again to the last bit, by whoever has the object."""

import base64
import binascii
import zlib
from datetime import datetime

import msgspec

from tidegate_contract.evidence import StateError, dump, load
from tidegate_operator.core.evidence.tally import Tally


class Kept(msgspec.Struct, frozen=True):
    """A trial, as it is kept."""

    uid: str
    """Of the ModelDeployment."""
    tally: Tally
    began: datetime | None = None
    """When its rollout did."""


def packed(kept: Kept) -> str:
    """As text. `unpacked` gives one that is equal to the last bit."""
    return base64.b64encode(zlib.compress(dump(kept), 9)).decode()


def unpacked(text: str) -> Kept:
    """Raises StateError."""
    try:
        return load(Kept, zlib.decompress(base64.b64decode(text, validate=True)))
    except (binascii.Error, zlib.error) as error:
        raise StateError(f"{error}: drop it, and begin the trial anew") from error
