"""Identity: the hash of everything that can change an answer, and which revision a spec asks for.

Replicas, the owner and the place where pods run are not part of it, so that scaling or
moving a model never makes a new version of it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from tidegate_operator.core.types import Content, Desired, Release, Resolved, Revision, Status


@lru_cache(maxsize=8192)
def name_of(content: Content) -> str:
    """Eight hex digits that name this version of the model.

    What fetches it is left out: neither a new password nor a new fetcher is a new model.
    """
    return digest(
        {
            "source": [type(content.source).__name__, asdict(content.source)],
            "digest": content.digest,
            "image": content.image,
            "allow_pickle": content.allow_pickle,
            "requests": content.requests,
            "limits": content.limits,
            "timeout": content.timeout,
            "env": content.env,
        }
    )[:8]


def request_of(desired: Desired) -> str:
    """Eight hex digits that name the question "which digest has this address now?"; empty if spec answers it."""
    if desired.content.digest:
        return ""
    return digest({"uri": desired.content.uri, "retry_token": desired.retry_token})[:8]


@dataclass(frozen=True, slots=True)
class Asked:
    """What spec asks for."""

    request: str
    content: Content
    """With the image in force filled in; its digest is None as long as nobody has read it."""
    image_named: bool
    name: str
    """Of the revision; empty as long as the digest is not known."""


def asked(
    desired: Desired, status: Status, revisions: Iterable[Revision], release: Release, found: Resolved | None
) -> Asked:
    """The revision that spec asks for: one that is kept, if it says the same, else a new one.

    `found` is what a resolver has just read. What spec leaves open is answered by what was
    decided when it was left open first, so that neither a tag that moved nor a new release
    of the operator makes a new revision by itself.
    """
    kept = sorted(revisions, key=lambda revision: _preference(revision, status), reverse=True)
    request = request_of(desired)
    content = desired.content
    if request:
        content = replace(content, digest=_answer(request, status, kept, found))
    if not content.digest:
        return Asked(request, replace(content, image=content.image or release.server_image), bool(content.image), "")
    named = content.image is not None
    if not named:
        like = (r for r in kept if not r.image_named and _but_for_image(r.content) == _but_for_image(content))
        images = (revision.content.image for revision in like)
        content = replace(content, image=next(images, None) or release.server_image)
    name = name_of(content)
    fetchers = (revision.content.tools for revision in kept if revision.name == name)
    return Asked(request, replace(content, tools=next(fetchers, release.tools_image)), named, name)


def _answer(request: str, status: Status, kept: Iterable[Revision], found: Resolved | None) -> str | None:
    for known in (status.resolved, found):
        if known and known.request == request:
            return known.digest
    return next((revision.content.digest for revision in kept if revision.request == request), None)


def _but_for_image(content: Content) -> str:
    return name_of(replace(content, image=None))


def _preference(revision: Revision, status: Status) -> tuple[bool, bool, float, str]:
    """What is in force goes before what was; the newest of the rest first."""
    stable = status.stable.revision if status.stable else ""
    return (
        revision.name == status.revision,
        revision.name == stable,
        revision.record.since.timestamp(),
        revision.name,
    )


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, as hex.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
