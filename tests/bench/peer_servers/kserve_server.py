"""Models of scikit-learn behind KServe's server, as its own runtime for them does it. Runs in its environment."""

import argparse
from pathlib import Path
from typing import Any

import joblib
from kserve import InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.utils.utils import get_predict_input, get_predict_response


class ScikitModel(Model):
    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self._model = joblib.load(path)
        self.ready = True

    def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        return get_predict_response(payload, self._model.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    server = ModelServer(http_port=options.http_port, grpc_port=options.grpc_port)
    server.start([ScikitModel(path) for path in sorted(options.folder.glob("*.joblib"))])
