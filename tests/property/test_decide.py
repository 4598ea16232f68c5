"""Whatever the world looks like, a plan leads to the same end, and there it stops."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

import worlds
from tidegate_operator.core.children import children
from tidegate_operator.core.decide import decide
from tidegate_operator.core.revision import revision
from tidegate_operator.core.types import Child, Desired, Kind, Observed, Plan, Pod, Stable, Status, Workload
from worlds import FLIGHTS, ME, NOW, RELEASE

replicas = st.integers(0, 4)


@st.composite
def desires(draw: st.DrawFn) -> Desired:
    return replace(
        FLIGHTS, replicas=draw(replicas), digest=draw(st.sampled_from([None, worlds.DIGEST, "sha256:" + "6" * 64]))
    )


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    """Children that are missing, intact, changed, going or a stranger's; pods of any revision in any state."""
    other = draw(desires())
    found: dict[Kind, Child] = {}
    for kind, manifest in children(ME, replace(other, replicas=2), RELEASE).items():
        state = draw(st.sampled_from(["missing", "intact", "changed", "going", "stranger", "left behind"]))
        changes = {
            "missing": None,
            "intact": {},
            "changed": {"fields": b'{"f:metadata":{"f:x":{}}}'},
            "going": {"deleting": True},
            "stranger": {"owner_uid": "somebody", "applied": None},
            "left behind": {"owner_uid": "predecessor"},
        }[state]
        if changes is not None:
            found[kind] = worlds.child(kind, manifest, **changes)
    numbers = st.integers(0, 5)
    workload = (
        draw(st.builds(Workload, numbers, numbers, numbers, numbers, numbers, numbers))
        if Kind.DEPLOYMENT in found
        else None
    )
    names = draw(st.lists(st.sampled_from([revision(other, RELEASE), "0ld"]), max_size=4))
    pods = tuple(Pod(f"p{n}", name, draw(st.booleans()), draw(st.booleans())) for n, name in enumerate(names))
    return Observed(found, workload, pods)


def carried_out(desired: Desired, observed: Observed, plan: Plan) -> Observed:
    """The world after the API server has done what the plan says, and everything that was going is gone."""
    after = {kind: child for kind, child in observed.children.items() if not child.deleting}
    for apply in plan.applies:
        after[apply.kind] = worlds.child(apply.kind, children(ME, desired, RELEASE)[apply.kind])
    for remove in plan.removes:
        del after[remove.kind]
    workload = observed.workload
    if Kind.DEPLOYMENT not in after:
        workload = None
    elif workload is None:
        workload = Workload(wanted=1)
    if plan.scale and workload:
        workload = replace(workload, wanted=plan.scale.replicas)
    return Observed(after, workload, observed.pods)


@given(desires(), observations())
def test_after_a_few_passes_there_is_nothing_left_to_do(desired: Desired, observed: Observed) -> None:
    status = Status()
    for _ in range(4):
        plan = decide(ME, desired, status, observed, RELEASE, NOW)
        observed, status = carried_out(desired, observed, plan), plan.status or status
    plan = decide(ME, desired, status, observed, RELEASE, NOW)
    assert (plan.happenings, plan.status, plan.applies, plan.scale, plan.removes) == ((), None, (), None, ())


@given(desires(), observations())
def test_an_object_that_is_not_ours_is_never_written_to(desired: Desired, observed: Observed) -> None:
    plan = decide(ME, desired, Status(), observed, RELEASE, NOW)
    strangers = {kind for kind, child in observed.children.items() if child.owner_uid != ME.uid}
    touched = {apply.kind for apply in plan.applies} | {remove.kind for remove in plan.removes}
    if plan.scale:
        touched.add(Kind.DEPLOYMENT)
    assert not touched & strangers


@given(desires(), observations())
def test_every_write_to_an_existing_object_names_its_uid(desired: Desired, observed: Observed) -> None:
    for apply in decide(ME, desired, Status(), observed, RELEASE, NOW).applies:
        there = observed.children.get(apply.kind)
        assert apply.uid == (there.uid if there else None)


@given(desires(), observations())
def test_only_a_version_that_has_taken_over_completely_is_called_stable(desired: Desired, observed: Observed) -> None:
    before = Status(stable=Stable("0ld", NOW))
    status = decide(ME, desired, before, observed, RELEASE, NOW).status
    assert status is not None
    target = revision(desired, RELEASE)
    assert status.stable is not None
    if status.stable.revision == target:
        assert desired.replicas > 0
        assert observed.children[Kind.DEPLOYMENT].owner_uid == ME.uid
        assert observed.workload is not None
        assert observed.workload.available == desired.replicas
        assert all(pod.revision == target for pod in observed.pods if not pod.deleting)
    else:
        assert status.stable == before.stable
