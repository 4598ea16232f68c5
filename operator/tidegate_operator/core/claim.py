"""Whose an object at the name of a child is."""

from enum import StrEnum

from tidegate_operator.core.types import Child, Identity


class Claim(StrEnum):
    OURS = "ours"
    """It is controlled by this ModelDeployment; or by nobody, and we made it: its owner was deleted without it."""
    LEFT_BEHIND = "left behind"
    """We made it for another ModelDeployment of this name, which has gone; the garbage collector takes it."""
    STRANGE = "strange"


def claim(identity: Identity, child: Child) -> Claim:
    # A copy of ours that somebody made has our annotation; that we applied it only the API server says.
    if child.owner_uid == identity.uid or (child.owner_uid is None and child.applied and child.fields):
        return Claim.OURS
    return Claim.LEFT_BEHIND if child.applied else Claim.STRANGE


def claim_shared(child: Child) -> Claim:
    """Of an object that several ModelDeployments own, and none controls."""
    return Claim.OURS if child.owner_uid is None and child.applied and child.fields else Claim.STRANGE
