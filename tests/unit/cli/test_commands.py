"""The commands that need no cluster: what they print, and their exit codes."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bundles import GOLDEN, SIGNATURE, classifier, flights, manifest, write_bundle
from tidegate_cli.example import curl, example_request
from tidegate_cli.main import main
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import (
    EngineRecord,
    Environment,
    Lineage,
    Signature,
    TensorSpec,
    digest_of,
    encode,
)
from tidegate_contract.bundle.timings import TIMINGS_NAME, Timings
from tidegate_contract.bundle.timings import encode as encode_timings


def _run(*arguments: object, env: dict[str, str] | None = None, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=env, input=stdin)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def _pack(model: Path, out: Path, *arguments: object, env: dict[str, str] | None = None) -> Result:
    data = model.with_name("flights.parquet")
    return _run("pack", model, "--data", data, "--target", "late", "-o", out, *arguments, env=env)


def test_pack_prints_the_digest_that_inspect_prints(model: Path, tmp_path: Path) -> None:
    packed = _pack(model, tmp_path / "b", "--name", "flights", "--metric", "roc_auc=0.75", "--author", "Ada")
    assert packed.exit_code == 0, packed.output
    digest = digest_of((tmp_path / "b/manifest.json").read_bytes())
    assert packed.stdout.splitlines()[-1] == digest
    inspected = json.loads(_run("inspect", tmp_path / "b", "--json").stdout)
    assert inspected["digest"] == digest
    assert inspected["manifest"]["name"] == "flights"
    assert inspected["manifest"]["metrics"] == {"roc_auc": 0.75}
    assert inspected["manifest"]["lineage"]["author"] == "Ada"
    assert "created" not in inspected["manifest"]["lineage"]


def test_check_says_each_problem_in_a_sentence_and_ends_with_1(tmp_path: Path) -> None:
    frame = flights(400).assign(arrival=lambda rows: (rows["late"] == "late") * 1.0, minutes=2013)
    frame.to_csv(tmp_path / "train.csv", index=False)
    result = _run("check", tmp_path / "train.csv", "--target", "late")
    assert result.exit_code == 1
    assert "problem: column 'arrival' alone tells 100% of what there is to know about 'late'" in result.stdout
    assert "note: column 'minutes' has the same value in every row" in result.stdout
    assert re.search(r"train\.csv: 400 rows, \d problems, \d notes$", result.stdout.strip())
    findings = json.loads(_run("check", tmp_path / "train.csv", "--target", "late", "--json").stdout)
    assert {"leak", "constant"} <= {finding["what"] for finding in findings}


def test_check_ends_with_0_where_there_is_no_problem(tmp_path: Path) -> None:
    flights(400)[["carrier", "hour"]].to_parquet(tmp_path / "train.parquet")
    result = _run("check", tmp_path / "train.parquet")
    assert result.exit_code == 0
    assert "0 problems" in result.stdout


def test_compare_draws_what_it_says_of_two_bundles(model: Path, tmp_path: Path) -> None:
    import skops.io

    frame = pd.read_parquet(model.with_name("flights.parquet"))
    turned = frame.assign(late=frame["late"].map({"late": "in time", "in time": "late"}))
    skops.io.dump(classifier(turned), tmp_path / "turned.skops")
    data = tmp_path / "held-out.parquet"
    pd.concat([frame] * 2).to_parquet(data)
    for name, file in (("good", model), ("bad", tmp_path / "turned.skops")):
        packed = _run("pack", file, "--data", data, "--target", "late", "-o", tmp_path / name)
        assert packed.exit_code == 0, packed.output
    bundles, options = (tmp_path / "bad", tmp_path / "good"), ("--data", data, "--target", "late")
    result = _run("compare", *bundles, *options, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "the new model is better: wrong answers" in result.stdout
    assert re.search(r"wrong answers .*●[─┤]* +│ +│ better", result.stdout), "an interval left of 0"
    assert "slices looked at" in result.stdout
    found = json.loads(_run("compare", *reversed(bundles), *options, "--json").stdout)
    assert found["figures"][0]["difference"]["low"] > 0
    assert [each["new_rank"] for each in found["importance"]] == [1, 2, 3, 4]


def test_compare_says_what_it_cannot_compare(model: Path, tmp_path: Path) -> None:
    assert _pack(model, tmp_path / "b").exit_code == 0
    data = model.with_name("flights.parquet")
    result = _run("compare", tmp_path / "b", tmp_path / "b", "--data", data, "--target", "x")
    assert result.exit_code == 1
    assert "the data has no column 'x'" in result.stderr


def test_pack_says_what_is_odd_about_its_data_beside_its_result(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "twice.parquet"
    pd.concat([flights(), flights()]).to_parquet(data)
    result = _run("pack", model, "--data", data, "--target", "late", "-o", tmp_path / "b")
    assert result.exit_code == 0
    assert re.search(r"note: \d+ of 400 rows repeat an earlier one", result.stderr)
    assert "repeat" not in result.stdout


USED = EngineRecord(
    kind="trees", file="model.skops", reference_rows=5000, perturbed_rows=10_000, max_difference=2.2e-16
)
SAME = "equal on 5,000 rows of the data and 10,000 perturbed ones, to 2e-16"


@pytest.mark.parametrize(
    ("engines", "figures", "said"),
    [
        ((), None, "the model itself; the bundle has no other"),
        (
            (EngineRecord(kind="trees", reason="the model alone refuses nan"),),
            None,
            "the model itself; trees is not used: the model alone refuses nan",
        ),
        (
            (USED,),
            None,
            f"trees up to 16 rows, and the model itself above; the bundle has no timings; {SAME}",
        ),
        (
            (USED,),
            (5.0, 100.0),
            "trees for every number of rows; 8 times as fast as the model at 1 row, measured where it was packed; "
            + SAME,
        ),
        (
            (USED,),
            (5.0, 900.0),
            "trees up to 1 row, and the model itself above; 8 times as fast as the model at 1 row, "
            "measured where it was packed; " + SAME,
        ),
        (
            (USED,),
            (5.0, 399.0),
            "trees up to 4096 rows, and the model itself above; 8 times as fast as the model at 1 row, "
            "measured where it was packed; " + SAME,
        ),
        (
            (USED,),
            (50.0, 900.0),
            "the model itself; trees gives the same answers and was slower at every number of rows",
        ),
    ],
    ids=["no engine", "refused", "no timings", "always", "few rows", "as many as were measured", "never"],
)
def test_inspect_says_which_engine_answers_and_why(
    engines: tuple[EngineRecord, ...], figures: tuple[float, float] | None, said: str, tmp_path: Path
) -> None:
    write_bundle(tmp_path, encode(manifest(engines=engines)))
    if figures:
        timings = Timings(rows=(1, 4096), compiled=figures, original=(40.0, 400.0))
        (tmp_path / TIMINGS_NAME).write_bytes(encode_timings(timings))
    (line,) = [line for line in _run("inspect", tmp_path).stdout.splitlines() if line.startswith("engine")]
    assert line.removeprefix("engine").strip() == said
    known = json.loads(_run("inspect", tmp_path, "--json").stdout)["timings"]
    assert known is None if figures is None else known["compiled"] == list(figures)


def test_inspect_draws_every_column_of_the_profile(model: Path, tmp_path: Path) -> None:
    assert _pack(model, tmp_path / "b").exit_code == 0
    lines = _run("inspect", tmp_path / "b", env={"COLUMNS": "200"}).stdout.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("profile of 200 rows"))) :]
    rows = {cells[0]: cells[1:] for line in table if len(cells := re.split(r"\s*│\s*", line.strip("│ "))) == 5}
    assert list(rows) == ["carrier", "delay", "hour", "weekend", "-> predict_proba[1]"]
    assert re.fullmatch(r"(\w\w \d\d%, ){2}\w\w \d\d%", rows["carrier"][-1])
    assert rows["delay"][0] == "6.0%"
    assert re.search("[▁▂▃▄▅▆▇█]{5}", rows["delay"][-1])
    inspected = json.loads(_run("inspect", tmp_path / "b", "--json").stdout)
    assert inspected["profile"]["score_of"] == "predict_proba[1]"


def test_a_time_is_taken_from_the_environment(model: Path, tmp_path: Path) -> None:
    assert _pack(model, tmp_path / "b", env={"SOURCE_DATE_EPOCH": "1362096000"}).exit_code == 0
    assert '"2013-03-01T00:00:00+00:00"' in _run("inspect", tmp_path / "b", "--json").stdout


def test_packing_over_something_is_one_sentence_and_1(model: Path, bundle: Path) -> None:
    result = _pack(model, bundle)
    assert result.exit_code == 1
    assert re.search(r"^Error: .* --force .*$", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("pack",),
        ("pack", "/nowhere/model.skops", "--data", "/nowhere", "-o", "x"),
        ("push", "/nowhere", "host/name:1"),
        ("status", "flights", "-A"),
        ("unknown",),
    ],
    ids=["no arguments", "a model that is not there", "a bundle that is not there", "a name and all", "no such verb"],
)
def test_a_wrong_call_is_2(arguments: tuple[str, ...]) -> None:
    assert _run(*arguments).exit_code == 2


@pytest.mark.parametrize("metric", ["roc_auc", "=1", "roc_auc=high"])
def test_a_metric_is_a_name_and_a_number(metric: str, model: Path, tmp_path: Path) -> None:
    assert _pack(model, tmp_path / "b", "--metric", metric).exit_code == 2


def test_a_username_wants_its_password_on_stdin(bundle: Path) -> None:
    assert _run("push", bundle, "host/name:1", "--username", "ada").exit_code == 2


def test_inspect_shows_the_whole_digest_on_a_narrow_screen(bundle: Path) -> None:
    result = _run("inspect", bundle, env={"COLUMNS": "60"})
    assert result.exit_code == 0
    digest = digest_of((bundle / "manifest.json").read_bytes())
    assert digest in "".join(result.stdout.split())
    for words in ("sklearn-skops", "carrier", "BYTES", "missing", "scikit-learn 1.9.0", "extra/notes.txt"):
        assert words in result.stdout


def test_inspect_shows_a_manifest_as_it_is_and_not_as_markup(tmp_path: Path) -> None:
    word = "[/x][red]"
    golden = msgspec.structs.replace(GOLDEN, inputs={word: (word,) * 5, "delay": GOLDEN.inputs["delay"]})
    inputs = (TensorSpec(word, Datatype.BYTES, (-1,)), SIGNATURE.inputs[1])
    outputs = (SIGNATURE.outputs[0], msgspec.structs.replace(SIGNATURE.outputs[1], labels=(word, "b")))
    odd = manifest(
        signature=Signature(inputs, outputs),
        golden=golden,
        environment=Environment(word, {word: word}, word, word),
        trusted_types=(word,),
        lineage=Lineage(word, word, word, word, word, word, word),
        metrics={word: 1.0},
    )
    write_bundle(tmp_path, encode(odd))
    result = _run("inspect", tmp_path, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert result.stdout.count(word) == 2 + 1 + 5 + 3 + 2 + 1 + 7 + 1  # from the signature down, then the head


def test_a_refused_bundle_is_3_and_one_sentence(bundle: Path) -> None:
    (bundle / "model.skops").write_bytes(b"tampered with")
    result = _run("inspect", bundle)
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: DigestMismatch: model.skops has")
    assert len(result.stderr.splitlines()) == 1


def test_another_digest_than_the_one_given_is_3(bundle: Path) -> None:
    assert _run("inspect", bundle, "--digest", "sha256:" + "0" * 64).exit_code == 3


def test_push_to_a_file_prints_the_file_and_no_address(bundle: Path, tmp_path: Path) -> None:
    result = _run("push", bundle, f"oci-archive:{tmp_path / 'a.tar'}:1")
    assert result.exit_code == 0
    digest = digest_of((bundle / "manifest.json").read_bytes())
    assert result.stdout.splitlines() == [f"archive: oci-archive:{tmp_path}/a.tar:1", f"digest: {digest}"]


def test_push_to_a_registry_prints_what_belongs_into_the_spec(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.offline.push.upload", lambda *_, **__: None)
    result = _run("push", bundle, "registry.example/flights:1")
    uri, digest = result.stdout.splitlines()
    assert re.fullmatch(r"uri: oci://registry\.example/flights:1@sha256:[0-9a-f]{64}", uri)
    assert digest == f"digest: {digest_of((bundle / 'manifest.json').read_bytes())}"


def test_push_to_nobody_is_1(bundle: Path) -> None:
    result = _run("push", bundle, "127.0.0.1:1/flights:1", "--plain-http", env={"no_proxy": "127.0.0.1"})
    assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True)


def test_the_example_is_a_request_of_the_protocol() -> None:
    assert json.loads(example_request(manifest())) == {
        "inputs": [
            {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
            {"name": "delay", "shape": [1], "datatype": "FP64", "data": [1.5]},
        ]
    }


def test_serve_prints_a_command_that_works(model: Path, tmp_path: Path) -> None:
    assert _pack(model, tmp_path / "b").exit_code == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "tidegate_cli.main", "serve", str(tmp_path / "b"), "--port", str(port)]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ) as server:
        try:
            assert server.stdout is not None
            line = next(line for line in server.stdout if line.startswith("curl "))
            answer = subprocess.run([*shlex.split(line), "--noproxy", "*"], check=True, capture_output=True, text=True)
            assert json.loads(answer.stdout)["model_name"] == "late"
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0
        finally:
            server.kill()


def test_serving_a_refused_bundle_is_3(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "tidegate_cli.main", "serve", str(bundle), "--port", str(port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 3
    assert "Error: LoadFailed: skops cannot read the model" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_shell_command_quotes_what_a_shell_would_eat() -> None:
    assert shlex.split(curl(manifest(), "flights", 8080))[-1] == example_request(manifest()).decode()


def test_help_is_fast_because_it_imports_little() -> None:
    heavy = ("numpy", "sklearn", "pandas", "fastapi", "kubernetes", "rich", "oras")
    script = f"import sys, tidegate_cli.main; print([m for m in {heavy} if m in sys.modules])"
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
    assert time.perf_counter() - start < 3
    assert _run("--help").exit_code == 0
