"""The demo's second part without a cluster: what it asks for, what its clients send and see, the rule that fails."""

import contextlib
import doctest
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import careless_rules
import clients
import demo
import flights_data as data
import numpy as np
import pandas as pd
import predict
import pytest
import steps
import story
import train
import yaml
from with_rule import rules

from tidegate_cli.wait import EXIT_PROMOTED, EXIT_REJECTED
from tidegate_operator.api import v1alpha1
from tidegate_operator.core.types import Strategy

FIRST = demo.manifests("oci://registry.example/flights:1", "sha256:" + "a" * 64, "ml")["flights.yaml"]
DIGEST = "sha256:" + "b" * 64


# ---------------------------------------------------------------- what is learnt


def days(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"day": list(numbers)})


def test_without_march_the_model_is_judged_by_its_first_half() -> None:
    found = train.split(days(1, 2), days(14, 15, 16), 0)
    assert (found.learnt["day"].tolist(), found.held_out["day"].tolist()) == ([1, 2], [14, 15])
    assert found.held_out_from == "1 to 15 March"


def test_with_days_of_march_it_is_judged_by_what_follows() -> None:
    found = train.split(days(1, 2), days(14, 15, 16, 31), 15)
    assert (found.learnt["day"].tolist(), found.held_out["day"].tolist()) == ([1, 2, 14, 15], [16, 31])
    assert (found.learnt_from, found.held_out_from) == ("January, February and 1 to 15 March", "16 to 31 March")


def test_nothing_that_clients_ask_about_was_learnt() -> None:
    assert clients.FROM_DAY > story.DAYS_OF_MARCH


# ---------------------------------------------------------------- the rule


def test_the_careless_rule_says_the_same_of_flights_that_have_left() -> None:
    delays, miles = np.array([-5.0, 59.0, 60.0, 300.0, 90.0]), np.array([100.0, 100.0, 999.0, 1000.0, 200.0])
    expected = rules.cannot_catch_up(delays, miles).tolist()
    assert careless_rules.cannot_catch_up(delays, miles).tolist() == expected == [False, False, True, False, True]


def test_the_careless_rule_fails_at_a_flight_that_is_still_at_the_gate() -> None:
    delays, miles = np.array([np.nan]), np.array([100.0])
    assert rules.cannot_catch_up(delays, miles).tolist() == [False]
    with pytest.raises(ValueError, match="NaN"):
        careless_rules.cannot_catch_up(delays, miles)


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize("runs_code", [False, True], ids=["a model without code", "a class"])
def test_the_next_version_is_the_same_object_with_another_model_and_a_rollout(runs_code: bool) -> None:
    text = story.asked(FIRST, "oci://registry.example/flights:2", DIGEST, "demo-1", runs_code=runs_code)
    before, after = yaml.safe_load(FIRST), yaml.safe_load(text)
    desired = v1alpha1.parse(after["spec"])
    assert (desired.content.digest, desired.content.allow_pickle) == (DIGEST, runs_code)
    assert (desired.strategy, desired.retry_token) == (Strategy.AUTO, "demo-1")
    del before["spec"]["model"], after["spec"]["model"], after["spec"]["rollout"]
    assert after == before


def test_the_ends_that_are_awaited_are_those_that_wait_knows() -> None:
    assert (story.PROMOTED, story.REJECTED) == (EXIT_PROMOTED, EXIT_REJECTED)


def test_the_rejected_revision_is_the_one_that_wait_names() -> None:
    printed = (
        "Step 1: 1a2b3c4d Tried, 20 of 100\nml/flights: 1a2b3c4d is rejected: Rollback by tidegate: of 20, 5 failed\n"
    )
    assert story.rejected(printed) == "1a2b3c4d"


def test_a_wait_that_names_none_is_an_error() -> None:
    with pytest.raises(steps.DemoError, match="which revision is rejected"):
        story.rejected("ml/flights: 1a2b3c4d has taken over\n")


# ---------------------------------------------------------------- commands


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


def test_a_command_is_shown_with_all_that_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    both = python("import sys; print('out'); print('err', file=sys.stderr)")
    assert steps.run(*both, with_stderr=True) == "out\nerr\n"
    assert capfd.readouterr().out.splitlines()[1:] == ["    out", "    err"]
    assert steps.run(*both) == "out\n"
    assert capfd.readouterr().err == "err\n"


def test_a_command_may_be_expected_to_fail() -> None:
    assert steps.run(*python("raise SystemExit(2)"), expected=2) == ""


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [(1, 0, "ended with 1$"), (0, 2, "ended with 0, and not with 2$")],
    ids=["it failed", "it did not fail"],
)
def test_another_end_of_a_command_is_an_error(code: int, expected: int, words: str) -> None:
    with pytest.raises(steps.DemoError, match=words):
        steps.run(*python(f"raise SystemExit({code})"), expected=expected)


# ---------------------------------------------------------------- clients


def march(count: int) -> pd.DataFrame:
    """As many flights of the 15th as of the 16th, each with a delay."""
    return pd.DataFrame({"day": [15] * count + [16] * count, "dep_delay": [float(n) for n in range(2 * count)]})


def test_a_quarter_of_what_clients_ask_about_is_still_at_the_gate() -> None:
    found = clients.asked(march(8))["dep_delay"].tolist()
    assert found == pytest.approx([np.nan, 9.0, 10.0, 11.0, np.nan, 13.0, 14.0, 15.0], nan_ok=True)


def test_each_request_is_one_flight() -> None:
    signature = [
        {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
        {"name": "dep_delay", "datatype": "FP64", "shape": [-1]},
    ]
    rows = pd.DataFrame({"carrier": ["UA", "B6"], "dep_delay": [np.nan, 2.0]})
    assert [json.loads(body) for body in clients.bodies(signature, rows)] == [
        predict.request(signature, rows.iloc[[at]]) for at in range(2)
    ]


@pytest.mark.parametrize("module", [careless_rules, clients, data, predict, rules], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)


class Model(BaseHTTPRequestHandler):
    """Two versions behind one address: the new one fails at what the old one can do."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        revision, status = ("new", 500) if body == b"hard" else ("old", 200)
        self.send_response(status)
        self.send_header("tidegate-revision", revision)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def model() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_clients_count_what_each_revision_answered_and_tell_it(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    with clients.sending(model, [b"easy", b"hard"], per_second=200.0) as load:
        time.sleep(0.5)
    seen = load.seen()
    assert set(seen) == {("old", True), ("new", False)}
    assert abs(seen["old", True] - seen["new", False]) <= clients.THREADS
    assert seen.total() >= 10
    assert capsys.readouterr().out == f"    clients: {clients.told(seen)}\n"


def test_what_nobody_answers_has_failed(model: str) -> None:
    with contextlib.closing(predict.Client(model.rpartition(":")[0] + ":1")) as client:
        assert clients.outcome(client, b"easy") == ("", False)


def test_clients_that_were_held_up_do_not_make_up_for_it(model: str) -> None:
    load = clients.Load(model, [b"easy"], per_second=100.0)
    time.sleep(0.5)
    load.start()
    time.sleep(0.1)
    load.stop()
    assert load.seen().total() < 50
