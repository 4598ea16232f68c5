"""`tidegate wait`: the end of a rollout as an exit code, whatever happens meanwhile and however few looks see it."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from pretended import Api, Object
from rollouts import NEW, OLD, decided, model, says
from tidegate_cli.main import main
from tidegate_cli.view import view
from tidegate_cli.wait import EXIT_HELD, EXIT_PROMOTED, EXIT_REJECTED, End, Seen, after, asked

THIRD = "0a1b2c3d"
COMPLETE = says("Progressing", "False", "Complete", "it has taken over")
IN_SYNC = says("SpecInSync", "True", "InSync", "spec asks for it")
DONE = model(phase="Idle", stable={"revision": NEW}, candidate=None, conditions=[COMPLETE, IN_SYNC])
BAKING = model(phase="Baking", stable={"revision": NEW}, candidate=None, baking={"revision": OLD})
WHY = f"{NEW} is rejected: 7 of 9 answers of {NEW} failed"
OUT = says("SpecInSync", "False", "RevisionRejected", f"spec asks for revision {NEW}, revision {OLD} should serve: ...")
REJECTED = model(
    revision=OLD,
    candidate=None,
    rejected=[{"revision": NEW, "retryToken": ""}],
    conditions=[OUT],
    decisions=[decided("Rollback", "14:12:00", WHY, revision=OLD)],
)
ASKED_SERVES = model(phase="Idle", revision=OLD, candidate=None, conditions=[COMPLETE, IN_SYNC])


def unobserved(found: Object) -> Object:
    """The same before the operator has seen the spec that has just been applied."""
    return {**found, "metadata": {**found["metadata"], "generation": 4}}


def held(reason: str, message: str = "m", **status: Any) -> Object:
    return model(conditions=[says("Progressing", "False", reason, message), IN_SYNC], **status)


NOTHING = Seen()


def ended(found: Object, seen: Seen = NOTHING, *, baked: bool = False) -> End | None:
    return after(seen, view(found), baked=baked)[1]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (DONE, EXIT_PROMOTED),
        (BAKING, EXIT_PROMOTED),
        (REJECTED, EXIT_REJECTED),
        (held("Paused"), EXIT_HELD),
        (held("AwaitingApproval"), EXIT_HELD),
        (held("Held"), EXIT_HELD),
        (held("Inconclusive"), EXIT_HELD),
        (model(conditions=[says("Degraded", "True", "InvalidSpec", "m")], candidate=None), EXIT_HELD),
        (
            model(revision=OLD, candidate=None, conditions=[says("Progressing", "False", "Paused", "by a person")]),
            EXIT_HELD,
        ),
        (model(), None),
        (held("Suspected"), None),
        (held("Blocked"), None),
        (unobserved(ASKED_SERVES), None),
        (unobserved(DONE), None),
        (unobserved(REJECTED), None),
        (unobserved(held("Paused")), None),
        ({"metadata": {"generation": 1}}, None),
        (
            model(candidate=None, revision=OLD, conditions=[says("SpecInSync", "Unknown", "Resolving", "m")]),
            None,
        ),
    ],
    ids=[
        "it has taken over",
        "it bakes",
        "it is rejected",
        "paused",
        "a person has to approve",
        "its time is over",
        "nothing is heard of it",
        "spec means nothing",
        "paused before it began",
        "on its way",
        "suspected",
        "blocked",
        "applied a moment ago, another one serves",
        "applied a moment ago, this one serves",
        "applied a moment ago, the one before was rejected",
        "applied a moment ago, the one before was paused",
        "no status yet",
        "its address is being read",
    ],
)
def test_what_a_look_says(found: Object, code: int | None) -> None:
    end = ended(found)
    assert (end.code if end else None) == code


def test_baked_waits_for_the_end_of_the_bake() -> None:
    assert ended(BAKING, baked=True) is None
    assert ended(DONE, baked=True) == End(EXIT_PROMOTED, f"{NEW} has taken over, and the version before has gone")


def test_a_strike_while_it_bakes_is_waited_out() -> None:
    suspect = model(candidate={"revision": NEW, "standing": "Suspect", "strikes": 1})
    seen, end = after(Seen(), view(BAKING), baked=True)
    assert (seen, end) == (Seen(NEW, wanted=True), None)
    seen, end = after(seen, view(suspect), baked=True)
    assert end is None
    assert ended(REJECTED, seen, baked=True) == End(EXIT_REJECTED, f"{NEW} is rejected: Rollback by tidegate: {WHY}")


def test_a_rejection_of_which_no_decision_is_kept_says_what_spec_is_answered() -> None:
    old = {**REJECTED, "status": {**REJECTED["status"], "decisions": []}}
    assert ended(old) == End(EXIT_REJECTED, f"{NEW} is rejected: {OUT['message']}")


def test_a_rejection_under_another_retry_token_is_none() -> None:
    again = model(rejected=[{"revision": NEW, "retryToken": ""}])
    again["spec"]["rollout"]["retryToken"] = "2"
    assert ended(again) is None


def test_a_named_revision_that_is_not_known_yet_is_waited_for() -> None:
    """Somebody may apply it in a moment; what holds another one up is not its matter."""
    for found in (ASKED_SERVES, model(), held("AwaitingApproval"), DONE):
        assert after(Seen(THIRD), view(found), baked=False) == (Seen(THIRD), None)


def test_a_named_revision_that_serves_is_promoted_though_spec_asks_for_another() -> None:
    assert ended(model(), Seen(OLD)) == End(EXIT_PROMOTED, f"{OLD} has taken over")


def test_another_version_in_its_place_is_the_end_of_waiting() -> None:
    seen, end = after(Seen(), view(model()), baked=False)
    assert (seen, end) == (Seen(NEW, wanted=True), None)
    other = model(revision=THIRD, candidate={"revision": THIRD, "step": 0})
    assert ended(unobserved(other), seen) is None
    assert ended(other, seen) == End(EXIT_HELD, f"another version took the place of {NEW}: {THIRD} is to serve")


@pytest.mark.parametrize(
    ("conditions", "revision"),
    [
        ([IN_SYNC], NEW),
        ([OUT], NEW),
        ([says("SpecInSync", "False", "Paused", f"spec asks for revision {THIRD}, none should serve yet")], THIRD),
        ([says("SpecInSync", "False", "Paused", "spec asks for something")], ""),
        ([says("SpecInSync", "Unknown", "Resolving")], ""),
        ([{**IN_SYNC, "observedGeneration": 2}], ""),
        ([], ""),
    ],
)
def test_which_revision_spec_asks_for(conditions: list[Object], revision: str) -> None:
    assert asked(view(model(conditions=conditions))) == revision


# ---------------------------------------------------------------- the command


class Turning(dict[str, Object]):
    """A model that is another one at each look; the last one stays."""

    def __init__(self, *looks: Object | None) -> None:
        super().__init__()
        self.looks = list(looks)

    def get(self, key: str, default: Any = None) -> Any:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_cli.wait._POLL_SECONDS", 0.01)


def _wait(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["wait", "flights", *arguments])


def test_a_promotion_is_told_line_by_line_and_ends_with_0(api: Api) -> None:
    later = model(phase="Step 3", candidate={"revision": NEW, "step": 2, "weight": 50, "ramp": [5, 20, 50]})
    api.models = Turning(unobserved(ASKED_SERVES), model(), model(), later, BAKING)
    result = _wait()
    assert (result.exit_code, result.stdout) == (EXIT_PROMOTED, f"ml/flights: {NEW} has taken over\n")
    said = f"GatheringEvidence: step 2 of 3: revision {NEW} has 20 of 100 requests"
    assert result.stderr.splitlines() == [
        "the operator has not seen the latest spec yet",
        f"Step 2: {NEW} at step 2 of 3, 20 of 100: {said}",
        f"Step 3: {NEW} at step 3 of 3, 50 of 100: {said}",
    ]


@pytest.mark.parametrize(
    ("last", "code", "words"),
    [
        (REJECTED, 2, f"{NEW} is rejected: Rollback by tidegate: {WHY}"),
        (held("Held", "its time is over"), 3, f"{NEW} does not go on by itself: Held: its time is over"),
    ],
    ids=["rejected", "held"],
)
def test_each_end_has_its_exit_code_and_its_sentence(last: Object, code: int, words: str, api: Api) -> None:
    api.models = Turning(model(), last)
    result = _wait("--revision", NEW)
    assert (result.exit_code, result.stdout) == (code, f"ml/flights: {words}\n")


def test_what_is_not_decided_in_time_ends_with_4(api: Api) -> None:
    api.models["flights"] = model()
    result = _wait("--timeout", "50ms")
    assert result.exit_code == 4
    assert result.stdout.startswith(f"ml/flights: {NEW} is not decided in time: Step 2: ")


def test_what_stands_in_the_way_is_told(api: Api) -> None:
    wrong = says("Degraded", "True", "ImagePullFailed", "no such image")
    api.models["flights"] = model(conditions=[says("Progressing", "True", "Blocked", "it must go first"), wrong])
    result = _wait("--timeout", "20ms")
    assert "Blocked: it must go first (ImagePullFailed: no such image)" in result.stderr


def test_an_api_server_that_is_away_for_a_while_is_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.models["flights"] = model()
    api.refused = {"": (503, "")}
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        api.refused, api.models["flights"] = {}, DONE

    monkeypatch.setattr("tidegate_cli.wait.time.sleep", sleep)
    result = _wait()
    assert (result.exit_code, len(sleeps)) == (EXIT_PROMOTED, 1)
    assert result.stderr.splitlines()[0].endswith("answered 503; trying again")


@pytest.mark.parametrize(
    ("arguments", "refused", "words"),
    [
        ((), {"": (403, "")}, "may not read ModelDeployments"),
        ((), {}, "there is no ModelDeployment ml/flights"),
        (("--timeout", "soon"), {}, "'soon' is no duration: write 90s, 30m or 1h30m"),
        (("--nonsense",), {}, "No such option"),
        (("more",), {}, "unexpected extra argument"),
    ],
    ids=["no access", "no model", "no duration", "no option", "too many arguments"],
)
def test_every_failure_is_1_because_2_says_that_a_version_was_rejected(
    arguments: tuple[str, ...], refused: dict[str, tuple[int, str]], words: str, api: Api
) -> None:
    api.refused = refused
    result = _wait(*arguments)
    assert (result.exit_code, words in result.output) == (1, True), result.output


def test_without_a_name_it_is_1_too() -> None:
    assert CliRunner().invoke(main, ["wait"]).exit_code == 1


def test_a_model_that_is_deleted_meanwhile_is_a_failure(api: Api) -> None:
    api.models = Turning(model(), None)
    result = _wait()
    assert (result.exit_code, "there is no ModelDeployment ml/flights" in result.output) == (1, True)


def test_who_does_not_want_to_wait_any_more_stops_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.models["flights"] = model()

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tidegate_cli.wait.time.sleep", interrupted)
    result = _wait()
    assert (result.exit_code, result.stdout) == (130, "")
    assert "the rollout goes on" in result.stderr
