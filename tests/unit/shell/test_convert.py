"""From the API server's words to the core's types: what must not be taken at face value."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import worlds
from tidegate_contract import labels, source
from tidegate_contract.actions import Outcome
from tidegate_contract.resolution import Card
from tidegate_contract.route import FIRST_PORT, LAST_PORT, LONGEST_SECONDS, Route, Share, Slot
from tidegate_operator.api import v1alpha1
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.reasons import Type

CRASH = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z"}


def pod(ready: str, since: str, *, state: dict[str, Any], last: dict[str, Any]) -> r.Pod:
    status = {"name": "server", "ready": ready == "True", "state": state, "lastState": last}
    body = {
        "metadata": {"name": "p", "uid": "u"},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
            "containerStatuses": [status],
        },
    }
    return msgspec.convert(body, r.Pod)


@pytest.mark.parametrize(
    ("since", "state", "last", "code"),
    [
        pytest.param("2026-01-01T00:00:02Z", {}, {"terminated": CRASH}, 137, id="unready because of the crash"),
        pytest.param("2025-12-31T23:00:00Z", {}, {"terminated": CRASH}, 137, id="never ready since before the crash"),
        pytest.param("2026-01-08T00:00:00Z", {}, {"terminated": CRASH}, None, id="a crash of last week"),
        pytest.param("2026-01-08T00:00:00Z", {"terminated": CRASH}, {}, 137, id="ended at this moment"),
    ],
)
def test_a_crash_that_the_pod_was_ready_after_is_history(
    since: str, state: dict[str, Any], last: dict[str, Any], code: int | None
) -> None:
    (container,) = convert.pod(pod("False", since, state=state, last=last)).containers
    assert container.exit_code == code


def test_of_managed_fields_our_own_are_kept_and_those_of_others_in_the_spec() -> None:
    def entry(manager: str, operation: str, subresource: str, fields: str) -> dict[str, Any]:
        found = {"manager": manager, "operation": operation, "fieldsV1": json.loads(fields)}
        return found | ({"subresource": subresource} if subresource else {})

    paused, replicas, status = '{"f:spec":{"f:paused":{}}}', '{"f:spec":{"f:replicas":{}}}', '{"f:status":{}}'
    entries = [
        entry("kubectl-rollout", "Update", "", paused),
        entry("kubectl-annotate", "Update", "", '{"f:metadata":{}}'),
        entry(r.MANAGER, "Apply", "", '{"f:spec":{"f:selector":{}}}'),
        entry(r.MANAGER, "Update", "scale", replicas),
        entry("kube-controller-manager", "Update", "status", status),
    ]
    body = {"metadata": {"name": "d", "uid": "u", "managedFields": entries}, "spec": {}}
    item = msgspec.json.decode(msgspec.json.encode(body), type=r.Deployment)
    found = convert.child(core.Kind.DEPLOYMENT, item)
    assert found.fields == b'{"f:spec":{"f:selector":{}}}'
    assert found.others == (("kubectl-rollout", paused.encode()),)


@pytest.mark.parametrize(
    ("status", "since"),
    [
        pytest.param({}, None, id="not taken up yet"),
        pytest.param({"startTime": "2026-01-01T00:00:00Z"}, datetime(2026, 1, 1, tzinfo=UTC), id="no pod came"),
        pytest.param({"startTime": "2026-01-01T00:00:00Z", "active": 1}, None, id="one runs"),
        pytest.param({"startTime": "2026-01-01T00:00:00Z", "failed": 1}, None, id="one was deleted, another follows"),
        pytest.param({"startTime": "2026-01-01T00:00:00Z", "succeeded": 1}, None, id="one has done its work"),
    ],
)
def test_a_job_is_podless_if_it_never_had_one(status: dict[str, Any], since: datetime | None) -> None:
    item = msgspec.convert({"metadata": {"name": "j", "uid": "u"}, "status": status}, r.Job)
    assert convert.child(core.Kind.JOB, item).podless_since == since


def test_a_condition_of_somebody_else_is_not_ours_to_write() -> None:
    """The API server keeps it whatever we apply; counting it would be a difference for ever."""
    condition = {"status": "True", "reason": "R", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    found = convert.status(raw({"conditions": [condition | {"type": "Ready"}, condition | {"type": "Theirs"}]}))
    assert [c.type for c in found.conditions] == ["Ready"]


def raw(body: Any) -> msgspec.Raw:
    """As it stands in the cache."""
    return msgspec.Raw(msgspec.json.encode(body))


def sent(body: Any) -> Any:
    """As the API server has it: over JSON, and back."""
    return json.loads(msgspec.json.encode(body))


def test_a_status_that_another_version_wrote_is_read_as_far_as_it_goes() -> None:
    body = {
        "observedGeneration": 3,
        "phase": "Idle",
        "newer": {"than": "us"},
        "stable": {"revision": "abc", "since": "2026-01-01T00:00:00Z"},
    }
    found = convert.status(raw(body))
    assert found == core.Status(3, "Idle", stable=core.Stable("abc", datetime(2026, 1, 1, tzinfo=UTC)))


def test_no_status_is_an_empty_one() -> None:
    assert convert.status(raw({})) == core.Status()


times = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
hashes = st.text("0123456789abcdef", min_size=8, max_size=8)
digests = hashes.map(lambda h: "sha256:" + h * 8)
counts = st.builds(core.Count, st.integers(0, 10**9), st.integers(0, 10**9))
logarithms = st.floats(-1e9, 1e9)
counted = st.builds(core.Counted, counts, counts, logarithms, logarithms)
numbers = st.builds(
    core.Numbers,
    hashes,
    hashes,
    st.integers(1, 9),
    st.integers(0, 100),
    counted,
    counted,
    st.builds(core.Limits, logarithms, logarithms),
    st.integers(0, 4000),
    st.lists(texts, max_size=2).map(tuple),
)
decisions = st.builds(core.Decision, times, texts, hashes, texts, texts, st.none() | numbers)


def lists(of: st.SearchStrategy[Any], longest: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=longest).map(tuple)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """Every one that means something: one version or two share the requests, beside a shadow or none."""
    stable = draw(st.sampled_from([Slot.A, Slot.B]))
    weight = draw(st.integers(0, 100))
    one, two, three = draw(st.lists(hashes, min_size=3, max_size=3, unique=True))
    slots = {stable: Share(one, 100)}
    if draw(st.booleans()):
        other = Slot.B if stable is Slot.A else Slot.A
        slots = {stable: Share(one, 100 - weight), other: Share(two, weight)}
    if draw(st.booleans()):
        slots[Slot.SHADOW] = Share(three)
    seconds = draw(st.floats(0.001, LONGEST_SECONDS))
    return Route(draw(st.integers(FIRST_PORT, LAST_PORT)), draw(st.integers(1, 9)), stable, slots, seconds)


statuses = st.builds(
    core.Status,
    observed_generation=st.integers(0, 9),
    phase=st.sampled_from(["", "Idle", "Step 3"]),
    url=texts,
    revision=hashes,
    stable=st.none() | st.builds(core.Stable, hashes, times),
    candidate=st.none()
    | st.builds(
        core.Candidate,
        hashes,
        st.integers(0, 20),
        st.integers(0, 100),
        times,
        times,
        st.none() | times,
        st.sampled_from(core.Standing),
        st.integers(0, 2),
        st.integers(1, 9),
        st.lists(st.integers(1, 100), max_size=6).map(tuple),
        st.booleans(),
    ),
    next_check=st.none() | st.builds(core.NextCheck, times, st.integers(0, 10**9), times),
    baking=st.none() | st.builds(core.Baking, hashes, times, st.integers(0, 2), st.integers(1, 9), st.none() | times),
    route=st.none() | routes(),
    resolved=st.none() | st.builds(core.Resolved, hashes, texts, digests),
    rejected=lists(st.builds(core.Rejected, hashes, texts)),
    paused=st.booleans(),
    action=st.none() | st.builds(core.Answer, texts, texts, st.sampled_from(Outcome), texts),
    decisions=lists(decisions),
    replicas=st.integers(0, 9),
    selector=texts,
    conditions=lists(
        st.builds(
            core.Condition, st.sampled_from(Type), st.sampled_from(core.Truth), texts, texts, st.integers(0, 9), times
        )
    ),
)


@given(statuses)
def test_a_status_survives_the_way_there_and_back(status: core.Status) -> None:
    assert convert.status(raw(convert.status_body(status))) == status


@pytest.mark.parametrize(
    "told",
    [
        None,
        "a",
        {},
        {"port": FIRST_PORT, "generation": 1, "stable": "a", "slots": {"a": {"revision": "0a0a0a0a", "weight": 99}}},
    ],
    ids=["null", "a word", "empty", "weights of 99"],
)
def test_of_a_route_that_means_nothing_nothing_is_kept_and_the_rest_is(told: object) -> None:
    assert convert.status(raw({"phase": "Idle", "route": told})) == core.Status(phase="Idle")


def test_what_a_later_release_adds_to_candidate_and_route_is_left_out() -> None:
    share = {"revision": "0a0a0a0a", "weight": 100, "later": 1}
    body = {
        "candidate": {"revision": "0b0b0b0b", "step": 1, "weight": 5, "since": "2026-01-01T00:00:00Z", "later": 1},
        "route": {"port": FIRST_PORT, "generation": 7, "stable": "a", "slots": {"a": share}, "later": 1},
    }
    assert convert.status(raw(body)) == core.Status(
        candidate=core.Candidate("0b0b0b0b", 1, 5, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        route=Route(FIRST_PORT, 7, Slot.A, {Slot.A: Share("0a0a0a0a", 100)}),
    )


amounts = st.dictionaries(st.sampled_from(["cpu", "memory"]), texts).map(lambda found: tuple(sorted(found.items())))
uris = st.sampled_from(
    ["oci://registry.example/flights:1", "pvc://models/flights", "https://example.com:8443/x.tar.gz"]
)
contents = st.builds(
    lambda uri, **fields: core.Content(uri=uri, source=source.parse(uri), **fields),
    uris,
    digest=digests,
    image=texts,
    allow_pickle=st.booleans(),
    requests=amounts,
    limits=amounts,
    timeout=st.floats(0.1, 600),
    env=lists(st.tuples(texts, texts)),
    secret_name=st.none() | texts.filter(bool),
    pull_secrets=lists(texts),
    tools=st.none() | texts.filter(bool),
)
cards = st.builds(
    Card,
    texts,
    texts,
    texts,
    texts,
    st.dictionaries(texts, texts, max_size=3),
    st.dictionaries(texts, st.floats(-1, 1), max_size=3),
    texts,
    texts,
)
records = st.builds(
    core.Record,
    st.sampled_from(core.Role),
    times,
    st.none() | st.builds(core.Verdict, texts, texts, times, texts),
    lists(decisions),
    st.booleans(),
    st.none() | times,
)
revisions = st.builds(
    core.Revision,
    hashes,
    st.just("flights"),
    contents,
    hashes | st.just(""),
    st.booleans(),
    cards,
    records,
    uid=hashes,
    version=st.integers(1).map(str),
    deleting=st.booleans(),
)


def stored(revision: core.Revision) -> r.ModelRevision:
    """As the API server hands it out."""
    metadata: dict[str, Any] = {"name": f"flights-{revision.name}", "uid": revision.uid}
    metadata |= {"resourceVersion": revision.version, "labels": {labels.MODEL: revision.model}}
    if revision.deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return msgspec.convert(sent({"metadata": metadata} | convert.revision_body(revision)), r.ModelRevision)


@given(revisions)
def test_a_revision_survives_the_way_there_and_back(revision: core.Revision) -> None:
    """Its spec is immutable: a field that comes back otherwise would be refused at every later write of the record."""
    assert convert.revision(stored(revision)) == revision


def test_a_revision_whose_address_means_nothing_is_refused_in_words() -> None:
    item = stored(worlds.kept(version="7"))
    item.spec.uri = "ftp://nowhere"
    with pytest.raises(source.SourceError, match="must start with oci://"):
        convert.revision(item)


NUMBERS = core.Numbers("s", "r", 1, 5, core.Counted(core.Count(9, 1)), core.Counted(), core.Limits(5.3, 3.0), 2, ("e",))


def test_what_is_written_is_what_the_schema_takes() -> None:
    """Every key that the operator writes is a field of the API; server-side apply refuses any other."""
    body = convert.revision_body(
        worlds.kept(
            record=core.Record(
                core.Role.REJECTED, worlds.NOW, core.Verdict("Rejected", "", worlds.NOW), (), True, worlds.NOW
            )
        )
    )
    v1alpha1.ModelRevision.model_validate(sent(body))
    status = core.Status(
        1,
        "Step 3",
        "u",
        "r",
        core.Stable("r", worlds.NOW),
        core.Candidate("s", 2, 5, worlds.NOW, worlds.NOW, worlds.NOW, core.Standing.SUSPECT, 1, 2, (10, 50), True),
        core.Baking("q", worlds.NOW, 1, 2, worlds.NOW),
        core.NextCheck(worlds.NOW, 40, worlds.NOW),
        Route(FIRST_PORT, 1, Slot.A, {Slot.A: Share("r", 95), Slot.B: Share("s", 5), Slot.SHADOW: Share("t")}),
        core.Resolved("q", "u", "d"),
        (core.Rejected("r", "t"),),
        True,
        core.Answer("1", "Pause", Outcome.OBEYED, ""),
        (core.Decision(worlds.NOW, "Pause", "r", "ada", "", NUMBERS),),
        1,
        "s",
        (core.Condition(Type.READY, core.Truth.TRUE, "Serving", "", 1, worlds.NOW),),
    )
    v1alpha1.Status.model_validate(sent(convert.status_body(status)))


@pytest.mark.parametrize(
    "phase", ["Idle", "Preparing", "RollingBack", "Baking", "Suspect", "Step 1", f"Step {v1alpha1.MOST_STEPS}"]
)
def test_the_schema_takes_every_phase_that_is_written(phase: str) -> None:
    assert v1alpha1.Status.model_validate({"phase": phase}).phase == phase


@pytest.mark.parametrize("phase", ["", "Shifting", "Step", "Step x", "Step 100", "Idle."])
def test_a_phase_that_nobody_writes_is_refused(phase: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        v1alpha1.Status.model_validate({"phase": phase})


@pytest.mark.parametrize(
    ("conditions", "ended"),
    [
        pytest.param([], False, id="running"),
        pytest.param([{"type": "Complete", "status": "True"}], True, id="done"),
        pytest.param([{"type": "Failed", "status": "True"}], True, id="given up"),
        pytest.param(
            [{"type": "Suspended", "status": "True"}, {"type": "Failed", "status": "False"}], False, id="neither"
        ),
    ],
)
def test_a_job_has_ended_when_it_says_so(conditions: list[dict[str, str]], ended: bool) -> None:
    body = {"metadata": {"name": "j", "uid": "u"}, "status": {"conditions": conditions}}
    assert convert.child(core.Kind.JOB, msgspec.convert(body, r.Job)).ended is ended


def test_a_job_says_when_it_succeeded() -> None:
    body = {"metadata": {"name": "j", "uid": "u"}, "status": {"completionTime": "2026-01-02T03:04:05Z"}}
    found = convert.child(core.Kind.JOB, msgspec.convert(body, r.Job))
    assert found.succeeded_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_pod_says_by_its_labels_what_it_serves_or_what_it_resolves() -> None:
    def labelled(**found: str) -> core.Pod:
        return convert.pod(msgspec.convert({"metadata": {"name": "p", "uid": "u", "labels": found}}, r.Pod))

    assert labelled(**{labels.REVISION: "abc"}) == core.Pod("p", "abc")
    assert labelled(**{labels.REQUEST: "q"}) == core.Pod("p", "", "q")
