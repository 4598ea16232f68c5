"""Our engine inside MLServer: its way of serving, with what answers in our server. Runs in MLServer's environment."""

from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri

from tidegate_server.loader import load_model


class EngineModel(MLModel):
    """Loads the bundle at the model's uri; takes the columns as one tensor, as MLServer's runtime of scikit-learn."""

    async def load(self) -> bool:
        loaded = load_model(Path(await get_model_uri(self._settings)), None, allow_pickle=False)
        self._engine = loaded.engine
        self._names = [spec.name for spec in loaded.manifest.signature.inputs]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self.decode_request(payload, default_codec=NumpyRequestCodec)
        columns = {name: rows[:, place] for place, name in enumerate(self._names)}
        answer = self._engine.predict(columns, ("predict",))["predict"]
        output = NumpyCodec.encode_output("predict", answer)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
