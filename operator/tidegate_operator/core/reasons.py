"""The types and reasons of conditions: every word that a user can find in one, in one place."""

from enum import StrEnum

from tidegate_contract.failure import ARTIFACT_REASONS, FailureReason


class Type(StrEnum):
    READY = "Ready"
    """The model answers."""
    PROGRESSING = "Progressing"
    """The operator is on its way to what spec asks for."""
    DEGRADED = "Degraded"
    """Something stands in that way."""
    ARTIFACT_AVAILABLE = "ArtifactAvailable"
    """The bundle's bytes are there, and are the right ones."""
    SPEC_IN_SYNC = "SpecInSync"
    """What serves, or is on its way to, is what spec asks for."""
    NAME_CONFLICT = "NameConflict"
    """An object that is not ours has a name that we need."""
    DEPLOYMENT_ALTERED = "DeploymentAltered"
    """Others have added something to the Deployment that is in no revision."""
    METRICS_AVAILABLE = "MetricsAvailable"
    """Every router says how it goes."""


class Reason(StrEnum):
    """Reasons that the operator finds itself; a serving pod's own are `tidegate_contract.failure.FailureReason`."""

    # Ready
    SERVING = "Serving"
    NO_READY_POD = "NoReadyPod"
    SCALED_TO_ZERO = "ScaledToZero"

    # Progressing
    COMPLETE = "Complete"
    RESOLVING = "Resolving"
    ROLLING_OVER = "RollingOver"
    ROLLING_BACK = "RollingBack"
    PAUSED = "Paused"
    AWAITING_PODS = "AwaitingPods"
    AWAITING_APPROVAL = "AwaitingApproval"
    GATHERING = "GatheringEvidence"
    SUSPECTED = "Suspected"
    HELD = "Held"
    INCONCLUSIVE = "Inconclusive"
    BAKING = "Baking"
    SHIFTING = "ShiftingTraffic"
    AWAITING_ROUTERS = "AwaitingRouters"
    BLOCKED = "Blocked"

    # Degraded
    AS_EXPECTED = "AsExpected"
    INVALID_SPEC = "InvalidSpec"
    REVISION_MISSING = "RevisionMissing"
    UNSCHEDULABLE = "Unschedulable"
    CHILD_REFUSED = "ChildRefused"
    PODS_REFUSED = "PodsRefused"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    OUT_OF_MEMORY = "OutOfMemory"
    CRASHED = "Crashed"
    ROUTERS_BLOCKED = "RoutersBlocked"
    ROUTE_REFUSED = "RouteRefused"

    # ArtifactAvailable
    VERIFIED = "Verified"
    PENDING = "Pending"
    ARTIFACT_PULL_FAILED = "ArtifactPullFailed"
    SECRET_NOT_FOUND = "SecretNotFound"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    CLAIM_NOT_BOUND = "ClaimNotBound"

    # SpecInSync
    IN_SYNC = "InSync"
    REVISION_REJECTED = "RevisionRejected"

    # NameConflict
    NO_CONFLICT = "NoConflict"
    FOREIGN_OBJECT = "ForeignObject"

    # DeploymentAltered
    AS_MADE = "AsMade"
    ADDED_BY_OTHERS = "AddedByOthers"

    # MetricsAvailable
    ALL_ANSWER = "AllAnswer"
    ROUTERS_SILENT = "RoutersSilent"


ABOUT_THE_ARTIFACT = frozenset(map(str, ARTIFACT_REASONS)) | {
    Reason.ARTIFACT_PULL_FAILED,
    Reason.SECRET_NOT_FOUND,
    Reason.CLAIM_NOT_FOUND,
    Reason.CLAIM_NOT_BOUND,
}
"""Failures to get the right bytes; every other failure leaves ArtifactAvailable alone."""

FAILURE_REASONS = (
    ABOUT_THE_ARTIFACT
    | frozenset(map(str, FailureReason))
    | {
        Reason.UNSCHEDULABLE,
        Reason.CHILD_REFUSED,
        Reason.PODS_REFUSED,
        Reason.IMAGE_PULL_FAILED,
        Reason.CONTAINER_CONFIG_ERROR,
        Reason.OUT_OF_MEMORY,
        Reason.CRASHED,
        Reason.ROUTERS_BLOCKED,
        Reason.ROUTE_REFUSED,
    }
)
"""Everything that can keep the pods of a revision from serving."""
