"""A digest that spec leaves open is read once, by a Job, before any pod of the model runs."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

import worlds
from tidegate_contract import labels, resolution
from tidegate_contract.resolution import Card, Resolution
from tidegate_contract.source import OciSource
from tidegate_operator.core.children import resolver_name, seal
from tidegate_operator.core.decide import decide
from tidegate_operator.core.revision import request_of
from tidegate_operator.core.types import (
    ABSENT,
    Apply,
    Child,
    Container,
    Desired,
    Keep,
    Kind,
    Observed,
    Plan,
    Pod,
    Ref,
    Remove,
    Resolved,
    Role,
    Status,
)
from worlds import FLIGHTS, LATER, ME, NOW, RELEASE, URI, asking, in_force, kept, name, serving, straight

LOOSE = asking(digest=None)
REQUEST = request_of(LOOSE)
JOB: Ref = (Kind.JOB, resolver_name(ME, REQUEST))
DEPLOYMENT: Ref = (Kind.DEPLOYMENT, "flights")
FOUND = "sha256:" + "9" * 64
PINNED = asking(digest=FOUND)
"""What spec says once somebody has read it."""
CARD = Card(name="flights", format="skops")


def job(**changes: Any) -> Child:
    manifest = straight(LOOSE, None, LOOSE.content, 2)[JOB]
    return worlds.child(Kind.JOB, manifest, **changes)


def resolver(message: str = "", code: int | None = 0, *, request: str = REQUEST, **changes: Any) -> Pod:
    container = Container("resolve", exit_code=code, exit_message=message)
    pod = Pod("flights-resolve", "", request, ended=code is not None, containers=(container,))
    return replace(pod, **changes)


ANSWER = resolution.encode(Resolution(FOUND, CARD))


def look(world: Observed, desired: Desired = LOOSE, status: Status = Status(), now: datetime = LATER) -> Plan:  # noqa: B008
    return decide(ME, desired, status, world, RELEASE, now)


def refs(found: Plan) -> list[Ref]:
    """What is applied."""
    return [(w.kind, w.manifest["metadata"]["name"]) for w in found.writes if isinstance(w, Apply)]


def settled(desired: Desired = FLIGHTS) -> Status:
    found = decide(ME, desired, Status(), serving(desired), RELEASE, NOW).status
    assert found is not None
    return found


def said(found: Plan, type: str) -> tuple[str, str, str]:
    assert found.status is not None
    return next((str(c.status), c.reason, c.message) for c in found.status.conditions if c.type == type)


def with_job(world: Observed, *pods: Pod, **changes: Any) -> Observed:
    return replace(world, children={**world.children, JOB: job(**changes)}, pods=(*world.pods, *pods))


def test_without_a_digest_a_job_is_made_and_neither_a_revision_nor_a_pod() -> None:
    found = look(Observed())
    wanted = straight(LOOSE, None, replace(LOOSE.content, image=RELEASE.server_image), 2)
    assert found.writes == tuple(Apply(ref[0], seal(manifest), None, ABSENT) for ref, manifest in wanted.items())
    assert JOB in refs(found)
    assert DEPLOYMENT not in refs(found)


def test_the_job_and_its_pod_say_which_question_they_answer_and_are_not_among_the_servers() -> None:
    manifest = straight(LOOSE, None, LOOSE.content, 2)[JOB]
    said = {labels.MODEL: "flights", labels.COMPONENT: "resolver", labels.REQUEST: REQUEST}
    assert manifest["metadata"]["labels"] == manifest["spec"]["template"]["metadata"]["labels"] == said


def test_while_the_job_reads_it_is_left_alone() -> None:
    status = look(Observed()).status
    assert status is not None
    world = with_job(Observed(children={ref: worlds.child(ref[0], m) for ref, m in _wanted_without_pods().items()}))
    assert look(world, status=status) == Plan()


def _wanted_without_pods() -> dict[Ref, Any]:
    return straight(LOOSE, None, replace(LOOSE.content, image=RELEASE.server_image), 2)


def test_its_answer_becomes_a_revision_first_and_pods_when_that_is_kept() -> None:
    first = look(with_job(Observed(), resolver(ANSWER), ended=True))
    (keep,) = (write for write in first.writes if isinstance(write, Keep))
    assert keep.revision == worlds.kept(
        PINNED, request=REQUEST, card=CARD, uid=None, version=ABSENT, role=Role.CANDIDATE, record=keep.revision.record
    )
    assert keep.revision.record.role == Role.CANDIDATE
    assert DEPLOYMENT not in refs(first)
    assert first.status is not None
    assert first.status.resolved == Resolved(REQUEST, URI, FOUND)
    assert first.status.revision == name(PINNED)

    second = look(
        with_job(Observed(revisions=(replace(keep.revision, uid="u"),)), resolver(ANSWER), ended=True),
        status=first.status,
    )
    assert DEPLOYMENT in refs(second)
    assert second.writes[-1] == Remove(*JOB, "Job-uid"), "nobody needs the Job any more"


def test_the_pods_get_the_digest_that_was_read() -> None:
    found = straight(LOOSE, in_force(PINNED), None, 2)
    assert found == worlds.wanted(PINNED)


def test_the_job_is_kept_until_its_answer_is_in_a_revision() -> None:
    """The status knows it already, and the pod that said it is gone: the next look must not ask anew."""
    status = Status(1, resolved=Resolved(REQUEST, URI, FOUND))
    found = look(with_job(Observed(), ended=True), status=status)
    assert not [write for write in found.writes if isinstance(write, Remove)]
    assert JOB not in refs(look(Observed(), status=status)), "and is not made for what is known"


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param((), id="no pod is left to read from"),
        pytest.param((resolver("what?"),), id="its words are no answer"),
        pytest.param((resolver(code=1),), id="it failed"),
        pytest.param((resolver(ANSWER, request="00000000"),), id="it answers another question"),
    ],
)
def test_a_job_that_ended_without_an_answer_is_removed_and_then_made_anew(pods: tuple[Pod, ...]) -> None:
    ended = look(with_job(Observed(), *pods, ended=True))
    assert [write for write in ended.writes if isinstance(write, Remove)] == [Remove(*JOB, "Job-uid")]
    assert JOB in refs(look(Observed(pods=pods)))


def test_an_answer_counts_only_from_a_run_that_ended_well() -> None:
    found = look(with_job(Observed(), resolver(ANSWER, code=1)))
    assert not [write for write in found.writes if isinstance(write, Keep)]


@pytest.mark.parametrize(
    ("desired", "status"),
    [(replace(LOOSE, paused=True), Status()), (LOOSE, Status(1, paused=True))],
    ids=["by spec", "by a person"],
)
def test_while_paused_no_job_is_made_and_one_that_runs_is_removed(desired: Desired, status: Status) -> None:
    assert JOB not in refs(look(Observed(), desired, status))
    found = look(with_job(Observed()), desired, status)
    assert [write for write in found.writes if isinstance(write, Remove)] == [Remove(*JOB, "Job-uid")]


def test_another_question_has_another_job_and_the_old_one_goes() -> None:
    again = replace(LOOSE, retry_token="again")
    found = look(with_job(Observed()), again)
    assert (Kind.JOB, resolver_name(ME, request_of(again))) in refs(found)
    assert found.writes[-1] == Remove(*JOB, "Job-uid")


def test_a_job_that_somebody_changed_is_not_written_to() -> None:
    """The API server refuses a change of what it runs, for ever."""
    found = look(with_job(Observed(), fields=b""))
    assert JOB not in refs(found)
    assert not [write for write in found.writes if isinstance(write, Remove)]


def test_a_job_that_reads_with_what_spec_says_no_more_is_replaced() -> None:
    """Another Secret, another place: it could go on failing for ever."""
    secret = asking(LOOSE, pull_secrets=("login",))
    found = look(with_job(Observed()), secret)
    assert found.writes[-1] == Remove(*JOB, "Job-uid")
    assert JOB not in refs(found)
    assert JOB in refs(look(Observed(), secret))


def test_a_job_whose_answer_is_known_is_not_replaced() -> None:
    secret = asking(LOOSE, pull_secrets=("login",))
    found = look(with_job(Observed(), resolver(ANSWER), ended=True), secret)
    assert not [write for write in found.writes if isinstance(write, Remove)]


def test_a_job_of_somebody_else_is_neither_believed_nor_removed() -> None:
    world = with_job(Observed(), owner_uid="somebody", applied=None, ended=True)
    found = look(world)
    assert JOB not in refs(found)
    assert not [write for write in found.writes if isinstance(write, Remove)]


def test_a_failure_of_the_resolver_is_shown_while_the_old_version_goes_on_serving() -> None:
    waiting = Container(
        "resolve", waiting="ErrImagePull", waiting_message='pull "registry.example/flights:2": not found'
    )
    reference = "registry.example/flights:2"
    new = asking(LOOSE, uri=f"oci://{reference}", source=OciSource(reference))
    world = serving(FLIGHTS)
    pod = Pod("r", "", request_of(new), containers=(waiting,))
    found = look(replace(world, pods=(*world.pods, pod)), new, settled())
    assert said(found, "Degraded")[:2] == ("True", "ArtifactPullFailed")
    assert "oci://registry.example/flights:2 cannot be pulled" in said(found, "Degraded")[2]
    assert said(found, "ArtifactAvailable")[:2] == ("False", "ArtifactPullFailed")
    assert said(found, "Progressing")[:2] == ("True", "Blocked")
    assert said(found, "Ready")[:2] == ("True", "Serving")
    assert DEPLOYMENT not in refs(found)
    assert found.status is not None
    assert found.status.revision == name(FLIGHTS)


def test_an_old_failure_of_the_resolver_is_forgotten_with_its_answer() -> None:
    broken = replace(resolver(code=1, message="no route"), name="a")
    world = with_job(Observed(), broken, resolver(ANSWER, name="b"), ended=True)
    assert said(look(world), "Degraded")[:2] == ("False", "AsExpected")


def test_pods_of_a_resolver_are_no_servers() -> None:
    """They keep no version from being complete."""
    world = serving(FLIGHTS)
    found = look(replace(world, pods=(*world.pods, resolver())), FLIGHTS, settled())
    assert found == Plan()


def test_the_revision_of_an_answer_keeps_the_request_so_that_a_restore_need_not_ask_again() -> None:
    one = kept(PINNED, request=REQUEST, record=worlds.recorded(Role.STABLE))
    found = look(Observed(revisions=(one,)))
    assert JOB not in refs(found)
    assert DEPLOYMENT in refs(found)
    assert found.status is not None
    assert found.status.resolved == Resolved(REQUEST, URI, FOUND)


@pytest.mark.parametrize(
    ("seconds", "removed"),
    [pytest.param(3599, False, id="it rests"), pytest.param(3600, True, id="it was long enough")],
)
def test_a_job_whose_answer_cannot_be_read_is_told_and_made_anew_after_a_rest(seconds: int, removed: bool) -> None:
    since = LATER - timedelta(seconds=seconds)
    found = look(with_job(Observed(), resolver("what?"), ended=True, succeeded_at=since), status=Status())
    assert said(found, "Degraded")[:2] == ("True", "Crashed")
    assert "answer cannot be read" in said(found, "Degraded")[2]
    assert "after an hour" in said(found, "Degraded")[2]
    assert [write for write in found.writes if isinstance(write, Remove)] == (
        [Remove(*JOB, "Job-uid")] if removed else []
    )
    assert found.look_again == 10.0


def test_a_job_whose_pod_is_gone_is_made_anew_at_once() -> None:
    found = look(with_job(Observed(), ended=True, succeeded_at=LATER), status=Status())
    assert Remove(*JOB, "Job-uid") in found.writes


@pytest.mark.parametrize(
    ("since", "pods", "reason"),
    [
        pytest.param(LATER - timedelta(seconds=15), (), "PodsRefused", id="no pod for too long"),
        pytest.param(LATER - timedelta(seconds=14), (), "AsExpected", id="not for long enough"),
        pytest.param(None, (), "AsExpected", id="it has had one, or the controller has not seen it yet"),
        pytest.param(LATER - timedelta(hours=1), (resolver(code=None),), "AsExpected", id="a pod that reads for long"),
    ],
)
def test_a_job_without_a_pod_is_told_since_nothing_else_tells_of_it(
    since: datetime | None, pods: tuple[Pod, ...], reason: str
) -> None:
    found = look(with_job(Observed(), *pods, podless_since=since), status=Status())
    assert said(found, "Degraded")[1] == reason
    assert found.look_again == (None if pods or since is None else 10.0)
    if reason == "PodsRefused":
        assert f"`kubectl describe job {JOB[1]} -n ml` has the words" in said(found, "Degraded")[2]
        assert said(found, "Progressing")[:2] == ("True", "Blocked")
