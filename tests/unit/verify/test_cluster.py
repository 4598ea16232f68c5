"""The simulated API server answers as a real one does."""

import pytest

from tidegate_operator.core.types import ABSENT, Kind, Manifest
from verify import cluster
from verify.cluster import ConflictError, RefusedError
from verify.themes import serving
from verify.values import Truth

SERVICE = (Kind.SERVICE, "flights")


def truth() -> Truth:
    return serving("A")


def manifest(of: Truth, kind: Kind) -> Manifest:
    kid = of.kid((kind, "flights"))
    assert kid
    assert kid.manifest
    return kid.manifest.value


def test_an_apply_of_the_same_changes_nothing() -> None:
    before = truth()
    assert cluster.apply_child(before, SERVICE, manifest(before, Kind.SERVICE), "0", None, 7) is before


def test_an_apply_with_a_uid_never_creates() -> None:
    before = truth()
    without = cluster.gone(before, SERVICE)
    with pytest.raises(ConflictError):
        cluster.apply_child(without, SERVICE, manifest(before, Kind.SERVICE), "0", None, 7)


def test_an_apply_without_a_uid_creates() -> None:
    before = truth()
    after = cluster.apply_child(cluster.gone(before, SERVICE), SERVICE, manifest(before, Kind.SERVICE), None, ABSENT, 7)
    found = after.kid(SERVICE)
    assert found
    assert found.uid == 7


def test_an_apply_without_a_uid_takes_over_what_is_there_unless_it_must_be_absent() -> None:
    before = truth()
    changed = manifest(before, Kind.SERVICE) | {"spec": {"type": "ClusterIP"}}
    assert cluster.apply_child(before, SERVICE, changed, None, None, 7) is not before
    with pytest.raises(ConflictError):
        cluster.apply_child(before, SERVICE, changed, None, ABSENT, 7)


@pytest.mark.parametrize("uid", ["1", "7"])
def test_a_removal_with_the_uid_of_another_object_is_refused(uid: str) -> None:
    with pytest.raises(ConflictError):
        cluster.delete_child(truth(), SERVICE, uid)


def test_a_quota_refuses_new_revisions_only() -> None:
    before = truth().but(quota=True)
    record = before.kept[0].record.value
    with pytest.raises(RefusedError):
        cluster.keep(before.but(kept=()), record, 7)
    assert cluster.keep(before, record, 7) is before


def test_a_status_is_written_on_its_own_version_only() -> None:
    before = truth()
    assert before.model
    edited = before.but(model=before.model.but(generation=9))
    with pytest.raises(ConflictError):
        cluster.write_status(edited, before.model.status.value, before.model)
    assert cluster.write_status(edited, before.model.status.value, None) is edited


def test_the_controller_rolls_pod_by_pod_and_never_below_what_is_wanted() -> None:
    kid = truth().deployment
    assert kid
    assert kid.numbers
    ready = []
    after: Truth | None = serving("A").but(pods=truth().pods.but(serving=(("0ld", 2, 0),)))
    while after:
        ready.append(sum(count for _, count, _ in after.pods.serving))
        last = after
        after = cluster.rolled(after)
    assert min(ready) >= 2
    assert last.pods == truth().pods
