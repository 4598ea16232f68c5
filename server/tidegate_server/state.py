"""What the server is at this moment: loading, ready, or draining."""

from dataclasses import dataclass

from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.profile import Profile
from tidegate_server.batch import Predictor


@dataclass(frozen=True, slots=True)
class Serving:
    """A model that may answer, under the names that clients know it by."""

    model: str
    revision: str
    digest: str
    manifest: Manifest
    profile: Profile | None
    predictor: Predictor


class ServerState:
    """One model per process. Changed on the event loop only; `serving` is set once."""

    def __init__(self) -> None:
        self.serving: Serving | None = None
        self.draining = False

    @property
    def unready(self) -> str | None:
        """Why readiness fails; None when it does not."""
        if self.draining:
            return "the server is shutting down"
        return "the model is loading" if self.serving is None else None
