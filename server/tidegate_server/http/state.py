"""What the server is at this moment: loading, ready, or draining."""

from dataclasses import dataclass
from functools import cached_property

from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.prediction_id import PredictionIds
from tidegate_contract.profile import Profile
from tidegate_server.batch import Predictor
from tidegate_server.feedback import Feedback
from tidegate_server.http.door import Door
from tidegate_server.http.plain import Plain
from tidegate_server.recorder import Recorder

Header = tuple[bytes, bytes]
REVISION_HEADER = b"tidegate-revision"
CONNECTION_CLOSE: Header = (b"connection", b"close")


@dataclass(frozen=True)
class Serving:
    """A model that may answer, under the names that clients know it by."""

    model: str
    revision: str
    digest: str
    manifest: Manifest
    profile: Profile | None
    predictor: Predictor
    recorder: Recorder

    @cached_property
    def plain(self) -> Plain:
        return Plain(self.model, self.revision, self.manifest.signature)

    @cached_property
    def ids(self) -> PredictionIds:
        return PredictionIds(self.revision, self.manifest.signature)

    @cached_property
    def door(self) -> Door | None:
        """None where no column is strict."""
        manifest = self.manifest
        return Door(self.profile, manifest.signature, manifest.strict) if self.profile and manifest.strict else None

    @cached_property
    def infer_paths(self) -> dict[bytes, tuple[str, str | None]]:
        """The usual ways to write the paths of its infer, each with the names in it."""
        model, revision = self.model, self.revision
        return {
            f"/v2/models/{model}/infer".encode(): (model, None),
            f"/v2/models/{model}/versions/{revision}/infer".encode(): (model, revision),
        }

    @cached_property
    def header(self) -> Header:
        return (REVISION_HEADER, self.revision.encode())


class ServerState:
    """One model per process. Changed on the event loop only; `serving` is set once."""

    def __init__(self) -> None:
        self.serving: Serving | None = None
        self.draining = False
        self.feedback = Feedback()

    @property
    def headers(self) -> tuple[Header, ...]:
        """Of every answer: which revision gave it, and of a draining server to connect elsewhere next time."""
        found = (self.serving.header,) if self.serving is not None else ()
        return (*found, CONNECTION_CLOSE) if self.draining else found

    @property
    def unready(self) -> str | None:
        """Why readiness fails; None when it does not."""
        if self.draining:
            return "the server is shutting down"
        return "the model is loading" if self.serving is None else None
