"""Identity: the hash of everything that can change an answer.

Replicas, the owner and the place where pods run are not part of it, so that scaling or
moving a model never makes a new version of it.
"""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from tidegate_operator.core.types import Desired, Release


def revision(desired: Desired, release: Release) -> str:
    """Eight hex digits that name this version of the model.

    The image string in force is part of it: another server may answer otherwise.
    """
    content = {
        "source": [type(desired.source).__name__, asdict(desired.source)],
        "digest": desired.digest,
        "allow_pickle": desired.allow_pickle,
        "image": image(desired, release),
        "requests": desired.requests,
        "limits": desired.limits,
        "timeout": desired.timeout,
        "env": desired.env,
    }
    return digest(content)[:8]


def image(desired: Desired, release: Release) -> str:
    """The image of the model server in force."""
    return desired.image or release.server_image


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, as hex.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
