"""`tidegate status -w`: what it asks, and what it tells where nobody looks at a terminal, and where somebody does."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pretended import Api, Object
from rollouts import NEW, OLD, decided, live, model, numbers, says
from tidegate_cli.cluster import connect
from tidegate_cli.live import Live
from tidegate_cli.main import main
from tidegate_cli.watch import Look, json_lines, lines, looks

SERVICE: Object = {"metadata": {"name": "tidegate-metrics"}, "spec": {"ports": [{"name": "metrics", "port": 9090}]}}
OTHER: Object = {"metadata": {"name": "tidegate-other"}, "spec": {"ports": [{"name": "web"}]}}
LIST = "/api/v1/namespaces/tidegate-system/services labelSelector=app.kubernetes.io/name=tidegate-operator"
PROXY = "/api/v1/namespaces/tidegate-system/services/tidegate-metrics:metrics/proxy/live/ml/flights"


@pytest.fixture(autouse=True)
def _rollout(api: Api) -> None:
    api.models["flights"] = model()
    api.services = [OTHER, SERVICE]
    api.live["ml/flights"] = 200, live()


def _live() -> Live:
    return Live(connect(None), "tidegate-system")


# ---------------------------------------------------------------- live numbers


def test_the_operator_is_asked_through_its_service_which_is_looked_for_once(api: Api) -> None:
    asked = _live()
    assert [asked.read("ml", "flights") for _ in range(2)] == [(live(), "")] * 2
    assert api.asked == [LIST, PROXY, PROXY]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"services": [OTHER]}, "no operator has a Service in tidegate-system: see --operator-namespace"),
        ({"refused": {"services": (403, "")}}, "these credentials may not list Services in tidegate-system"),
        ({"refused": {"proxy": (403, "")}}, "these credentials may not get services/proxy in tidegate-system"),
        (
            {"refused": {"proxy": (503, "no endpoints available")}},
            "the operator answered 503: no endpoints available",
        ),
        ({"refused": {"proxy": (404, "not found")}}, "the operator answered 404: not found"),
        ({"live": {}}, "the operator is older than this command and does not tell them"),
        ({"live": {"ml/flights": (404, {"error": "no such model"})}}, "no such model"),
        ({"live": {"ml/flights": (503, {"error": "nobody leads"})}}, "nobody leads"),
        ({"live": {"ml/flights": (200, "<html>")}}, "the operator answered 200"),
        ({"live": {"ml/flights": (200, "[]")}}, "the operator answered 200"),
    ],
    ids=[
        "no Service",
        "Services are forbidden",
        "the proxy is forbidden",
        "no operator runs",
        "the Service is gone",
        "an older operator",
        "an unknown model",
        "nobody leads",
        "no JSON",
        "no object",
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(change: dict[str, Any], why: str, api: Api) -> None:
    for name, value in change.items():
        setattr(api, name, value)
    assert _live().read("ml", "flights") == (None, why)


def test_a_standby_that_answers_is_asked_once_more(api: Api) -> None:
    """The Service leads to either of two operators."""
    answers = [(503, {"error": "nobody leads"}), (200, live())]

    class Taking(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            return answers.pop(0)

    api.live = Taking()
    assert _live().read("ml", "flights") == (live(), "")


def test_an_operator_that_was_installed_anew_is_found_again(api: Api) -> None:
    asked = _live()
    asked.read("ml", "flights")
    api.refused = {"proxy": (404, "gone")}
    asked.read("ml", "flights")
    api.refused, api.services = {}, [{**SERVICE, "metadata": {"name": "tidegate-2"}}]
    assert asked.read("ml", "flights") == (live(), "")
    assert api.asked[-1] == PROXY.replace("tidegate-metrics", "tidegate-2")


# ---------------------------------------------------------------- into a pipe


def _looks(*found: tuple[Object, Object | None] | Look) -> Iterator[Look]:
    return iter([each if isinstance(each, Look) else Look(*each) for each in found])


COUNTED = (
    "trial 1 at 20 of 100: 0 of 412 failed against 1 of 7,811 (harm 0.00 of 5.30, proof 1.70 of 3.00); "
    "2 of 392 slow against 40 of 7,811 (harm 0.80 of 5.30, proof 0.40 of 3.00)"
)
SAID = f"step 2 of 3: revision {NEW} has 20 of 100 requests"
LINE = f"ml/flights Step 2: stable {OLD} 80 of 100; candidate {NEW} 20 of 100; {COUNTED}; {SAID}"


def test_what_counts_on_is_one_line_and_each_change_another() -> None:
    more = live(trial={"revision": NEW, "trial": 1, "numbers": numbers(weight=21)})
    strike = decided("Strike", "14:12:31", f"7 of 9 answers of {NEW} failed")
    candidate = {"revision": NEW, "step": 0, "weight": 0, "standing": "Suspect", "strikes": 1, "trial": 1}
    struck = model(
        phase="Suspect", candidate=candidate, conditions=[], decisions=[*model()["status"]["decisions"], strike]
    )
    slots = struck["status"]["route"]["slots"]
    slots["a"]["weight"], slots["b"]["weight"] = 100, 0
    found = list(
        lines(_looks((model(), live()), (model(), more), (struck, live(trial=None)), (struck, live(trial=None))))
    )
    assert found == [
        f"2026-11-24T14:12:30Z {LINE}",
        f"2026-11-24T14:12:31Z Strike {NEW} by tidegate: 7 of 9 answers of {NEW} failed",
        f"2026-11-24T14:12:30Z ml/flights Suspect: stable {OLD} 100 of 100; candidate {NEW} 0 of 100; Suspect; "
        "strikes 1",
    ]


def test_what_stands_in_the_way_and_a_missing_operator_are_in_the_line() -> None:
    wrong = model(candidate=None, conditions=[says("Degraded", "True", "ImagePullFailed", "no such image")])
    (line,) = lines(_looks(Look(wrong, {"asOf": "2026-11-24T14:12:30Z"}, "nobody leads")))
    assert line.endswith("; no such image; no live numbers: nobody leads")


def test_an_object_a_line_for_each_change() -> None:
    later = {**live(), "asOf": "2026-11-24T14:12:31Z"}
    found = list(json_lines(_looks((model(), live()), (model(), later), (model(phase="Step 3"), later))))
    assert [json.loads(line) for line in found] == [
        {"model": model(), "live": live(), "note": ""},
        {"model": model(phase="Step 3"), "live": later, "note": ""},
    ]


# ---------------------------------------------------------------- the loop


def test_an_api_server_that_is_away_for_a_while_ends_nothing(api: Api) -> None:
    cluster = connect(None)
    seen = looks(cluster, _live(), "ml", "flights", 0)
    assert next(seen) == Look(model(), live())
    api.refused = {"": (500, "")}
    away = next(seen)
    assert (away.model, away.live, away.note.endswith("; this is what was seen last")) == (model(), None, True)
    api.refused = {}
    assert next(seen) == Look(model(), live())
    api.models = {}
    with pytest.raises(click.ClickException, match="no ModelDeployment ml/flights"):
        next(seen)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("-w",), "give its NAME"), (("-w", "-A"), "give its NAME"), (("flights", "-w", "-A"), "not both")],
    ids=["no name", "all of them", "a name, and all of them"],
)
def test_one_model_is_watched(arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(main, ["status", *arguments])
    assert (result.exit_code, words in result.output) == (2, True)


def test_a_model_that_is_not_there_cannot_be_watched(api: Api) -> None:
    result = CliRunner().invoke(main, ["status", "other", "-w"])
    assert (result.exit_code, "no ModelDeployment ml/other" in result.output) == (1, True)


PROGRAM = """
import signal
from tidegate_cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""Ctrl-C ends it even where the tests run in the background of a shell, whose children are told to ignore it."""


def _watching(*arguments: str, **more: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, "status", "flights", "-w", "--interval", "0.1", *arguments]
    return subprocess.Popen(command, text=True, **more)


def test_into_a_pipe_it_tells_lines_until_ctrl_c_which_is_no_failure(api: Api) -> None:
    with _watching(stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"2026-11-24T14:12:30Z {LINE}\n"
        api.models["flights"] = model(phase="Step 3")
        assert "ml/flights Step 3:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert (process.wait(20), process.stdout.read()) == (0, "")


def test_with_json_an_object_a_line(api: Api) -> None:
    with _watching("-o", "json", "--operator-namespace", "elsewhere", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"model": model(), "live": live(), "note": ""}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert LIST.replace("tidegate-system", "elsewhere") in api.asked


def test_on_a_terminal_it_draws_on_a_screen_of_its_own_and_leaves_the_last_picture(api: Api) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = _watching(stdout=theirs, stderr=theirs, stdin=theirs, env=env)
    os.close(theirs)
    drawn = b""
    began = time.monotonic()
    while drawn.count("● live".encode()) < 3 and time.monotonic() - began < 30:
        drawn += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    try:
        while piece := os.read(ours, 65536):
            drawn += piece
    except OSError:
        pass  # a terminal that its last process has left
    os.close(ours)
    assert process.wait(20) == 0
    screen, _, left = drawn.rpartition(b"\x1b[?1049l")
    assert screen.startswith(b"\x1b[?1049h")
    for part in (screen, left):
        for words in ("Step 2", "0 of them failed", "enough in about 25 s", OLD, NEW):
            assert words in part.decode()
    assert "Traceback" not in drawn.decode()
