"""The picture of a rollout: what it shows, and that it fits wherever it is drawn."""

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from rollouts import NEW, OLD, decided, live, model, numbers, says
from tidegate_cli.decisions import numbers_of
from tidegate_cli.draw import Canvas, Sample, draw, sample
from tidegate_cli.rollout import RolloutView, rollout_view
from tidegate_operator.core.types import Evidence, Numbers

NOW = dt.datetime(2026, 11, 24, 14, 12, 30, tzinfo=dt.UTC)
SAMPLES = [Sample(0.05 if at < 60 else 0.2, 0.15, min(1.0, at / 150)) for at in range(100)]


def drawn(
    view: RolloutView, width: int = 80, height: int = 24, note: str = "", samples: list[Sample] = SAMPLES
) -> list[str]:
    """The lines that a terminal would show."""
    console = Console(width=width, height=height, force_terminal=False)
    with console.capture() as captured:
        console.print(draw(view, samples, note, Canvas(width, height, NOW)))
    return [line.rstrip() for line in captured.get().splitlines()]


PICTURE = f"""\
 flights in ml   Step 2                          began 14 min 32 s ago   ● live
 ──────────────────────────────────────────────────────────────────────────────
 stable     {OLD}  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━───────   80 of 100   2 pods
 candidate  {NEW}  ━━━━━━━─────────────────────────────   20 of 100    1 pod

 steps      ✓ 5 ─── ● 20 ─── ○ 50 ─── ○ all ─── ○ bake
 standing   no strike, trial 1
 exposure   412 requests in this trial have met {NEW}, 0 of them failed

 errors     0 of 412 failed against 1 of 7,811
            harm ────────────── 0.0 of 5.3     proof ━━━━━━━━────── 1.7 of 3.0
 slow       2 of 392 slow against 40 of 7,811
            harm ━━──────────── 0.8 of 5.3     proof ━━──────────── 0.4 of 3.0

 next check enough in about 25 s, 180 requests
 now        step 2 of 3: revision {NEW} has 20 of 100 requests
 watched    weight ▁▁▁▁▁▁▁▁▂▂▂▂▂▂  harm ▂▂▂▂▂▂▂▂▂▂▂▂▂▂  proof ▁▂▂▂▃▃▃▄▄▄▅▅▅▆

 13:57:58  Rollout      {NEW}: spec asks for it instead of {OLD}
 14:10:00  Step         0 of 212 answers of {NEW} failed, 1 of 4011 of
                        {OLD} at 5 of 100 requests
"""


def test_a_rollout_in_a_small_terminal() -> None:
    assert "\n".join(drawn(rollout_view(model(), live()))) == PICTURE.rstrip("\n")


def test_in_a_wide_terminal_the_bars_are_longer_and_nothing_is_cut() -> None:
    wide = drawn(rollout_view(model(), live()), 150, 40)
    assert all(len(line) <= 150 for line in wide)
    assert " next check enough in about 25 s, 180 requests; proof needs about 640 more requests of its own" in wide
    assert f" 14:10:00  Step         0 of 212 answers of {NEW} failed, 1 of 4011 of {OLD} at 5 of 100 requests" in wide
    assert wide[2].count("━") == 85
    assert "…" not in "".join(wide)


BAD = numbers(
    trial=2,
    errors={
        "tried": {"requests": 9, "events": 7},
        "against": {"requests": 171, "events": 1},
        "harm": 5.41,
        "proof": -1.0,
    },
)
SUSPECT = {"revision": NEW, "step": 0, "weight": 0, "standing": "Suspect", "strikes": 1, "trial": 2}
BAKING = {"revision": OLD, "since": "2026-11-24T14:12:00Z", "strikes": 0, "trial": 1, "began": "2026-11-24T13:57:58Z"}
STRIKE = decided("Strike", "14:11:00", f"7 of 9 answers of {NEW} failed", numbers=BAD)


def _lines(view: RolloutView, *begins: str) -> list[str]:
    return [line for line in drawn(view) if line.startswith(tuple(f" {word}" for word in begins))]


def test_a_strike_is_shown_with_its_numbers_and_how_many_have_met_it() -> None:
    view = rollout_view(model(phase="Suspect", candidate=SUSPECT, decisions=[STRIKE]), None)
    assert _lines(view, "standing", "exposure", "counted", "errors") == [
        " standing   1 of 2 strikes, Suspect, trial 2",
        f" exposure   9 requests in this trial have met {NEW}, 7 of them failed",
        " counted    until 14:11:00, when something was last decided",
        " errors     7 of 9 failed against 1 of 171  harm is proven",
    ]


def test_a_proof_is_said() -> None:
    proven = numbers(slow={**numbers()["slow"], "proof": 3.1})
    found = rollout_view(model(), live(trial={"revision": NEW, "trial": 1, "numbers": proven}))
    assert _lines(found, "errors", "slow") == [
        " errors     0 of 412 failed against 1 of 7,811",
        " slow       2 of 392 slow against 40 of 7,811  no worse: proven",
    ]


def test_while_it_bakes_the_version_before_is_shown_and_the_new_one_is_on_trial() -> None:
    slots = {"a": {"revision": OLD, "weight": 5}, "b": {"revision": NEW, "weight": 95}}
    baking = model(
        phase="Baking", stable={"revision": NEW}, candidate=None, baking=BAKING, nextCheck=None, route={"slots": slots}
    )
    view = rollout_view(baking, live())
    assert [line.split()[:2] for line in _lines(view, "stable", "previous")] == [["stable", NEW], ["previous", OLD]]
    assert _lines(view, "steps") == [" steps      ✓ all ─── ● bake"], "those of Auto are forgotten by then"
    baking["spec"]["rollout"]["strategy"] = "Canary"
    steps = " steps      ✓ 5 ─── ✓ 20 ─── ✓ 50 ─── ✓ all ─── ● bake"
    assert _lines(rollout_view(baking, live()), "steps") == [steps]
    assert sample(view) == Sample(0.95, 0.8 / 5.298317, 0.4 / 2.995732)


def test_where_nothing_is_on_its_way_there_is_little_to_draw() -> None:
    idle = model(
        phase="Idle",
        stable={"revision": NEW},
        candidate=None,
        nextCheck=None,
        route={"slots": {"b": {"revision": NEW, "weight": 100}}},
        decisions=[],
        conditions=[says("Progressing", "False", "Complete", f"revision {NEW} has taken over")],
    )
    assert drawn(rollout_view(idle, live(trial=None))) == [
        " flights in ml   Idle                                                    ● live",
        " ──────────────────────────────────────────────────────────────────────────────",
        f" stable     {NEW}  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  100 of 100    1 pod",
        "",
        f" now        revision {NEW} has taken over",
    ]


def test_without_live_numbers_the_last_decisions_are_shown_and_it_says_why() -> None:
    last = decided("Step", "14:10:00", "good so far", numbers=numbers())
    view = rollout_view(model(decisions=[last]), None)
    found = drawn(view, note="these credentials may not get services/proxy in tidegate-system")
    assert found[0].endswith("no live numbers")
    assert " not live   these credentials may not get services/proxy in tidegate-system" in found
    assert " counted    until 14:10:00, when something was last decided" in found
    assert " errors     0 of 412 failed against 1 of 7,811" in found
    assert not any("pods" in line for line in found)


def test_what_is_known_of_another_trial_is_not_shown() -> None:
    """Between two reads a trial may have ended, or another one begun."""
    for other in ({"revision": NEW, "trial": 2}, {"revision": OLD, "trial": 1}):
        view = rollout_view(model(), live(trial={**other, "numbers": numbers()}))
        assert view.numbers is None
    view = rollout_view(model(decisions=[decided("Step", "14:10:00", "", numbers=numbers(trial=2))]), None)
    assert view.numbers is None


def test_what_stands_in_the_way_and_who_is_silent_is_said() -> None:
    wrong = [says("Degraded", "True", "ImagePullFailed", "the image cannot be pulled [/red]")]
    view = rollout_view(model(conditions=wrong), live(routers={"known": 2, "silent": 1}))
    assert _lines(view, "in the way", "routers") == [
        " in the way the image cannot be pulled [/red]",
        " routers    1 do not answer",
    ]


def test_a_broken_split_is_said() -> None:
    trial = {"revision": NEW, "trial": 1, "numbers": numbers(), "broken": "the routers do not divide as they should"}
    assert _lines(rollout_view(model(), live(trial=trial)), "split") == [
        " split      the routers do not divide as they should"
    ]


def test_a_shadow_gets_copies_and_a_version_that_comes_nothing_yet() -> None:
    slots = {"a": {"revision": OLD, "weight": 100}, "shadow": {"revision": NEW}}
    shadow = rollout_view(model(route={"slots": slots}), None)
    assert _lines(shadow, "candidate")[0].endswith("copies")
    coming = rollout_view(model(candidate=None, route={"slots": {"a": {"revision": OLD, "weight": 100}}}), None)
    assert [(each.role, each.revision, each.weight) for each in coming.versions] == [
        ("stable", OLD, 100),
        ("coming", NEW, 0),
    ]
    straight = rollout_view(model(candidate=None, route=None), None)
    assert [(each.role, each.weight) for each in straight.versions] == [("stable", None), ("coming", None)]


def test_of_many_steps_those_around_it_are_shown() -> None:
    many = model(candidate={"revision": NEW, "step": 12})
    many["spec"]["rollout"] = {"strategy": "Canary", "steps": [{"weight": at} for at in range(1, 21)]}
    (steps,) = _lines(rollout_view(many, None), "steps")
    assert steps.startswith(" steps      ✓ 11 ✓ 12 ● 13 ○ 14 ○ 15")
    assert len(steps) <= 80


def test_a_baked_rollout_without_a_bake_ends_with_all_requests() -> None:
    plain = model()
    plain["spec"]["rollout"]["bake"] = {"duration": "0s"}
    assert rollout_view(plain, None).steps == ("5", "20", "50", "all")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"metadata": None, "spec": [], "status": "?"},
        {"status": {"candidate": {}, "route": {"slots": {"a": None, "b": 7}}}},
        {"status": {"candidate": {"revision": NEW}, "decisions": [{}, {"numbers": {}}, {"numbers": 3}, None]}},
        {"status": {"candidate": {"revision": NEW, "began": "yesterday", "trial": "1", "step": "2", "strikes": None}}},
        {"status": {"nextCheck": {"at": "soon"}, "conditions": [{}, {"type": "Progressing", "status": "True"}]}},
        {"status": {"decisions": [{"at": 7, "what": None, "numbers": {"errors": {"harm": True}, "limits": None}}]}},
    ],
    ids=["empty", "broken", "no slots", "a bare candidate", "wrong types", "no time", "half a decision"],
)
@pytest.mark.parametrize("known", [None, {}, {"trial": {}, "pods": [], "routers": 3}, live()], ids=str)
def test_what_is_absent_is_unknown_and_no_error(said: dict[str, Any], known: dict[str, Any] | None) -> None:
    view = rollout_view(said, known)
    assert drawn(view)
    sample(view)


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (60, 16), (80, 24), (80, 12), (120, 30), (250, 60)], ids=str)
@pytest.mark.parametrize(
    "status",
    [
        {},
        {"decisions": [STRIKE] * 20},
        {"conditions": [says("Progressing", "True", "Any", "word " * 200)]},
    ],
    ids=["usual", "many decisions", "many words"],
)
def test_it_fits_wherever_it_is_drawn(size: tuple[int, int], status: dict[str, Any]) -> None:
    for known in (live(), None):
        found = drawn(rollout_view(model(**status), known), *size, note="" if known else "nobody leads " * 20)
        assert len(found) <= size[1]
        assert max(map(len, found)) <= size[0]


def test_with_room_for_them_all_decisions_are_shown_the_newest_last() -> None:
    made = [decided("Step", f"14:0{at}:00", f"step {at}") for at in range(9)]
    found = drawn(rollout_view(model(decisions=made), live()), 80, 40)
    assert [line.split()[-1] for line in found[-9:]] == [str(at) for at in range(9)]


def test_a_persons_decision_names_the_person() -> None:
    made = decided("Abort", "14:11:00", "late by an hour", by="ada")
    assert drawn(rollout_view(model(decisions=[made]), live()))[-1] == " 14:11:00  Abort        by ada: late by an hour"


def test_a_check_that_is_due_is_near() -> None:
    due = model(nextCheck={"at": "2026-11-24T14:12:29Z", "requests": 0})
    assert _lines(rollout_view(due, None), "next") == [" next check enough in a moment"]


def test_what_the_operator_answers_is_what_is_read() -> None:
    """As it encodes it."""
    counted = msgspec.convert(numbers(), Numbers)
    evidence = Evidence(NEW, 1, requests=412, broken="b", needs="n", numbers=counted)
    view = rollout_view(model(), json.loads(msgspec.json.encode(live(trial=evidence))))
    assert (view.numbers, view.numbers_of, view.broken, view.needs) == (numbers_of(numbers()), "", "b", "n")


def test_as_long_as_auto_has_chosen_no_weights_no_steps_are_shown() -> None:
    assert rollout_view(model(candidate={"revision": NEW, "step": 0}), None).steps == ()
    chosen = model(candidate={"revision": NEW, "step": 1, "ramp": [10, 50]})
    assert rollout_view(chosen, None).steps == ("10", "50", "all", "bake")
