"""What the resolver found at an address, in the few bytes that the kubelet carries from a container to a pod's status.

A ModelRevision must name bytes before the first pod runs, and must still say what a model was when the bundle, its
registry and its author are gone. The resolver reads the bundle once, under the model's own account, and leaves the
digest and a card of the bundle as its termination message; the operator needs neither the bundle nor the rights to it.

The digest always arrives whole. The card is a courtesy: what is too much of it is left out in the order of `SHED`, and
so an empty part says that nothing is known, not that there is nothing.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from tidegate_contract.failure import ENCODED_LIMIT
from tidegate_contract.source import DIGEST_PATTERN

SHORT_LIMIT = 64
"""Characters of a name, a version, a format or a time."""
LONG_LIMIT = 253
"""Characters of `model` and `data`."""
ENTRIES_LIMIT = 32
"""Entries of `libraries`, and of `metrics`."""
SHED = ("libraries", "model", "metrics", "data", "run", "author", "commit", "created", "python", "format", "name")
"""What is shortened, to nothing if it must be, until the message fits; first what people miss least."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a ModelRevision keeps of manifest.json. Whatever is not known is empty."""

    name: str = ""
    """The bundle's own name, at most 64 characters, as all that have no other limit."""
    format: str = ""
    model: str = ""
    """The class of the model, or of each step of a pipeline joined by ` -> `; at most 253 characters."""
    python: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions by name; the first 32 by name."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Held-out metrics by name; the first 32 by name, all of them finite."""
    data: str = ""
    """What the model was packed with: `sha256:<64 hex>` of that file, and its address if one was given; at most 253
    characters."""
    commit: str = ""
    """Of the code that trained it, the training's name, and whose it is, where the packer said so."""
    run: str = ""
    author: str = ""
    created: str = ""
    """RFC 3339, where the packer gave a time."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The bytes that an address stood for when it was read."""

    digest: str
    """`sha256:<64 hex>` of manifest.json."""
    card: Card = field(default_factory=Card)


def bounded(card: Card) -> Card:
    """The card within the limits of its parts: texts cut, entries left out.

    >>> bounded(Card(name="n" * 70, metrics={"roc_auc": 0.75, "loss": float("nan")}))  # doctest: +ELLIPSIS
    Card(name='nnn...nnn', ..., metrics={'roc_auc': 0.75}, ..., created='')
    """
    libraries = sorted((_cut(name), _cut(version)) for name, version in card.libraries.items())
    metrics = sorted((_cut(name), float(value)) for name, value in card.metrics.items() if math.isfinite(value))
    return Card(
        name=_cut(card.name),
        format=_cut(card.format),
        model=_cut(card.model, LONG_LIMIT),
        python=_cut(card.python),
        libraries=dict(libraries[:ENTRIES_LIMIT]),
        metrics=dict(metrics[:ENTRIES_LIMIT]),
        data=_cut(card.data, LONG_LIMIT),
        commit=_cut(card.commit),
        run=_cut(card.run),
        author=_cut(card.author),
        created=_cut(card.created),
    )


def encode(resolution: Resolution) -> str:
    """The termination message, at most ENCODED_LIMIT bytes in UTF-8; the digest whole, the card as much as fits.

    >>> len(encode(Resolution("sha256:" + "0" * 64, Card(libraries={"\\0" * 60 + str(n): "1" for n in range(32)}))))
    3909
    """
    card = bounded(resolution.card)
    for part in SHED:
        while len(encoded := msgspec.json.encode(Resolution(resolution.digest, card))) > ENCODED_LIMIT:
            found = getattr(card, part)
            if not found:
                break
            card = replace(card, **{part: _less(found)})
    return encoded.decode()


def decode(text: str) -> Resolution | None:
    """The resolution in a termination message; None if it is something else (a Failure, or what a crash leaves there).

    >>> decode('{"digest": "sha256:%s", "card": {"name": "flights"}}' % ("0" * 64)).card.name
    'flights'
    >>> decode('{"reason": "DigestMismatch", "message": "want a, got b"}') is None
    True
    """
    try:
        found = msgspec.json.decode(text, type=Resolution)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return Resolution(found.digest, bounded(found.card)) if re.fullmatch(DIGEST_PATTERN, found.digest) else None


def _cut(text: str, limit: int = SHORT_LIMIT) -> str:
    return text[:limit].encode(errors="replace").decode()  # half a surrogate pair has no form in UTF-8


def _less(part: Any) -> Any:
    """Half of a text, or all but the last entry."""
    return part[: len(part) // 2] if isinstance(part, str) else dict(list(part.items())[:-1])
