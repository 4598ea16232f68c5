"""KServe's own client works unchanged."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import kserve_environment
from cluster.layout import Cache
from processes import REAL

TYPES = {"carrier": "BYTES", "delay": "FP64", "hour": "INT64", "weekend": "BOOL"}


@pytest.mark.skipif(not kserve_environment.POSSIBLE, reason="kserve is not for this Python")
def test_kserves_client_works_unchanged(start: Any, bundle: Path, tmp_path: Path) -> None:
    python = kserve_environment.python(Cache.from_environment(os.environ))
    server = start("-c", REAL, "{port}", "{metrics}", str(bundle), "", str(tmp_path / "log"))
    server.wait_for("/v2/health/ready")
    golden = json.loads((bundle / "manifest.json").read_text())["golden"]
    whole = [row for row, cells in enumerate(zip(*golden["inputs"].values(), strict=True)) if None not in cells]
    columns = {name: (datatype, [golden["inputs"][name][row] for row in whole]) for name, datatype in TYPES.items()}
    client = subprocess.run(
        [python, Path(kserve_environment.__file__).with_name("kserve_client.py"), f"http://127.0.0.1:{server.port}"],
        env={"PATH": os.environ["PATH"], "no_proxy": "*"},
        input=json.dumps(columns),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert client.returncode == 0, client.stderr
    found = json.loads(client.stdout)
    revision = json.loads(server.ask("GET", "/v2/models/flights")[1])["versions"][0]
    labels, probabilities = ([golden["outputs"][name][row] for row in whole] for name in ("predict", "predict_proba"))
    answers = found.pop("answers")
    assert list(answers) == ["JSON", "a dict", "binary in", "binary out", "binary"]
    for answer in (*answers.values(), found.pop("one output")):
        outputs = answer.pop("outputs")
        assert answer == {"id": "7", "model": "flights", "revision": revision}
        assert outputs.pop("predict_proba") == [pytest.approx(row, rel=0, abs=1e-12) for row in probabilities]
        assert outputs.pop("predict", labels) == labels
        assert outputs == {}
    refusal = found.pop("refusal")
    assert "inputs are missing: carrier, delay, hour, weekend, '400 Bad Request'" in refusal
    assert found == {"live": True, "ready": True, "model ready": True, "other ready": False}
