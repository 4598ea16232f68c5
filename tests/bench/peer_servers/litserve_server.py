"""Models of scikit-learn behind LitServe, a worker for each. Runs in LitServe's environment."""

import argparse
from pathlib import Path
from typing import Any

import joblib
import litserve
import numpy as np


class ScikitApi(litserve.LitAPI):
    def __init__(self, path: Path) -> None:
        super().__init__(api_path=f"/{path.stem}")
        self._path = path

    def setup(self, device: str) -> None:
        self._model = joblib.load(self._path)

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["rows"])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._model.predict(x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predict": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    apis = [ScikitApi(path) for path in sorted(options.folder.glob("*.joblib"))]
    server = litserve.LitServer(apis, accelerator="cpu")
    server.run(host="127.0.0.1", port=options.port, num_api_servers=1, generate_client_file=False)
