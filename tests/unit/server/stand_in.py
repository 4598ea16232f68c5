"""A server process whose model only sleeps.

    python stand_in.py PORT METRICS_PORT LOAD_SECONDS PREDICT_SECONDS DRAIN_SECONDS TIMEOUT_SECONDS

Everything but the model is the real thing; a test can so see what happens during a load and a predict. What the
arguments do not say is taken from the environment, as the server does.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bundles import manifest
from tidegate_contract.logs import configure
from tidegate_server import serve as module
from tidegate_server.loader import LoadedModel
from tidegate_server.settings import read_settings
from tidegate_server.tensors import Columns

port, metrics_port = int(sys.argv[1]), int(sys.argv[2])
load_seconds, predict_seconds, drain_seconds, timeout_seconds = map(float, sys.argv[3:])


class Sleeper:
    """Answers after a while."""

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        time.sleep(predict_seconds)
        rows = len(columns["delay"])
        answers = {"predict": np.zeros(rows, np.int64), "predict_proba": np.full((rows, 2), 0.5)}
        return {name: answers[name] for name in outputs}


def load(*_: object, **__: object) -> LoadedModel:
    time.sleep(load_seconds)
    return LoadedModel(Sleeper(), manifest(), "sha256:" + "0" * 64, None, load_seconds)


configure()
vars(module)["load_model"] = load
settings = replace(
    read_settings(os.environ),
    model_name="flights",
    revision="abc123",
    host="127.0.0.1",
    http_port=port,
    metrics_port=metrics_port,
    drain_seconds=drain_seconds,
    timeout_seconds=timeout_seconds,
)
module.leave(module.serve(settings).exit_code)
