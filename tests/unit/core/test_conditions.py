"""What the conditions say about a choice: whether spec is in step, who paused it, what is on its way or missing."""

import json
import shlex
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

import worlds
from tidegate_contract.source import HttpsSource
from tidegate_operator.core import patch
from tidegate_operator.core.decide import decide
from tidegate_operator.core.revision import request_of
from tidegate_operator.core.types import (
    Apply,
    Condition,
    Container,
    Desired,
    Kind,
    Observed,
    Plan,
    Record,
    Rejected,
    Resolved,
    Role,
    Stable,
    Status,
    Truth,
    Verdict,
    Workload,
)
from worlds import FLIGHTS, LATER, ME, NOW, RELEASE, asking, in_force, kept, name, serving

OLD, NEW, OLDEST = (asking(digest="sha256:" + digit * 64) for digit in "567")
LOOSE = asking(digest=None)


def settled(desired: Desired = OLD, **changes: Any) -> Status:
    """The status of a model that serves."""
    found = decide(ME, desired, Status(), serving(desired), RELEASE, NOW).status
    assert found is not None
    return replace(found, **changes)


def look(desired: Desired, status: Status, world: Observed, now: datetime = LATER) -> Status:
    """The status after a look, whether it is written or not."""
    return decide(ME, desired, status, world, RELEASE, now).status or status


def said(status: Status, type: str) -> tuple[str, str, str]:
    return next((str(c.status), c.reason, c.message) for c in status.conditions if c.type == type)


def summary(status: Status) -> dict[str, tuple[str, str]]:
    return {str(c.type): (str(c.status), str(c.reason)) for c in status.conditions}


def rejected(*desired: Desired) -> tuple[Rejected, ...]:
    return tuple(Rejected(name(one), "") for one in desired)


BACK = serving(OLD, revisions=(kept(OLD), kept(NEW, record=worlds.recorded(Role.REJECTED, served=True))))
"""OLD serves again after NEW was rejected."""
COMMAND = "kubectl patch mdep flights -n ml --type=merge -p "


# ---------------------------------------------------------------- SpecInSync


def test_a_spec_that_is_served_is_in_step() -> None:
    assert said(settled(), "SpecInSync") == ("True", "InSync", f"spec asks for revision {name(OLD)}")


def test_a_spec_that_is_on_its_way_is_in_step() -> None:
    world = serving(OLD, revisions=(kept(OLD), kept(NEW, Role.CANDIDATE)))
    assert said(look(NEW, settled(), world), "SpecInSync") == ("True", "InSync", f"spec asks for revision {name(NEW)}")


def test_after_a_rollback_the_exact_patch_is_named() -> None:
    found = look(NEW, settled(rejected=rejected(NEW)), BACK)
    change = json.dumps(patch.to(in_force(OLD), NEW.content), separators=(",", ":"))
    assert said(found, "SpecInSync") == (
        "False",
        "RevisionRejected",
        f"spec asks for revision {name(NEW)}, revision {name(OLD)} should serve: it was rejected. "
        f"To say in spec what serves: {COMMAND}'{change}'",
    )
    assert said(found, "Progressing")[:2] == ("False", "Complete")
    assert found.phase == "Idle"


def printed(message: str) -> Any:
    """The patch as a shell hands it to kubectl."""
    command = message[message.index("kubectl patch") :]
    words = shlex.split(command)
    return json.loads(words[words.index("-p") + 1])


@pytest.mark.parametrize(
    "env",
    [
        pytest.param((("A", "b"),), id="plain"),
        pytest.param((("A", "it's"),), id="an apostrophe"),
        pytest.param((("A", '"$HOME" `x` \\'),), id="what a shell would take apart"),
    ],
)
def test_the_printed_patch_survives_the_shell(env: tuple[tuple[str, str], ...]) -> None:
    old = asking(OLD, env=env)
    world = serving(old, revisions=(kept(old), kept(NEW, Role.REJECTED)))
    found = look(NEW, settled(old, rejected=rejected(NEW)), world)
    assert printed(said(found, "SpecInSync")[2]) == patch.to(in_force(old), NEW.content)


def test_a_patch_that_is_too_long_for_a_message_is_not_printed_by_half() -> None:
    old = asking(OLD, env=(("A", "x" * 4096),))
    world = serving(old, revisions=(kept(old), kept(NEW, Role.REJECTED)))
    message = said(look(NEW, settled(old, rejected=rejected(NEW)), world), "SpecInSync")[2]
    assert len(message) <= 4096
    assert "kubectl patch" not in message or printed(message)


def test_a_version_that_waits_for_the_end_of_a_pause_is_out_of_step_because_of_it() -> None:
    found = look(replace(NEW, paused=True), settled(), serving(OLD))
    truth, reason, message = said(found, "SpecInSync")
    assert (truth, reason) == ("False", "Paused")
    assert message.startswith(
        f"spec asks for revision {name(NEW)}, revision {name(OLD)} should serve: "
        "spec.rollout.paused is true: no other version takes over until it is false. To say in spec what serves: "
    )


def test_what_nobody_has_read_yet_is_neither_in_step_nor_out_of_it() -> None:
    assert said(look(LOOSE, settled(), serving(OLD)), "SpecInSync") == (
        "Unknown",
        "Resolving",
        "the digest of what spec asks for is not known yet",
    )


def test_a_question_that_a_pause_keeps_from_being_asked_is_open_because_of_it() -> None:
    found = look(replace(LOOSE, paused=True), settled(), serving(OLD))
    assert said(found, "SpecInSync")[:2] == ("Unknown", "Paused")


def test_a_model_that_was_paused_before_its_digest_was_read_is_not_in_step() -> None:
    found = look(replace(LOOSE, paused=True), Status(), Observed())
    assert said(found, "SpecInSync")[:2] == ("Unknown", "Paused")


# ---------------------------------------------------------------- Progressing


@pytest.mark.parametrize(
    ("desired", "status", "words"),
    [
        pytest.param(
            replace(NEW, paused=True),
            settled(),
            "spec.rollout.paused is true: no other version takes over until it is false",
            id="by spec",
        ),
        pytest.param(
            NEW, settled(paused=True), "paused by a person: `tidegate resume flights -n ml` goes on", id="by a person"
        ),
    ],
)
def test_a_pause_says_whose_it_is_and_how_it_ends(desired: Desired, status: Status, words: str) -> None:
    assert said(look(desired, status, serving(OLD)), "Progressing") == ("False", "Paused", words)


@pytest.mark.parametrize(("desired", "status"), [(replace(OLD, paused=True), settled()), (OLD, settled(paused=True))])
def test_a_pause_that_holds_nothing_back_is_not_in_the_way(desired: Desired, status: Status) -> None:
    assert summary(look(desired, status, serving(OLD))) == summary(settled())


def test_reading_the_digest_is_on_its_way_while_the_old_version_serves() -> None:
    found = look(LOOSE, settled(), serving(OLD))
    assert said(found, "Progressing") == (
        "True",
        "Resolving",
        "reading the digest of oci://registry.example/flights:1",
    )
    assert said(found, "Ready")[:2] == ("True", "Serving")
    assert found.phase == "Idle"


def test_going_back_is_said_until_the_last_pod_of_what_was_left_is_gone() -> None:
    """NEW had taken over and was rejected; one of its pods is still there."""
    status = settled(stable=Stable(name(NEW), NOW), rejected=rejected(NEW))
    half = replace(BACK, pods=(*BACK.pods, *worlds.pods(NEW, 1, prefix="left")))
    found = look(NEW, status, half)
    assert said(found, "Progressing") == ("True", "RollingBack", f"going back to revision {name(OLD)} pod by pod")
    assert found.phase == "RollingBack"
    after = look(NEW, status, BACK)
    assert (said(after, "Progressing")[:2], after.phase) == (("False", "Complete"), "Idle")
    assert after.stable == Stable(name(OLD), LATER)


def test_a_pod_that_is_lost_long_after_a_rollback_is_no_rollback() -> None:
    assert BACK.workload is not None
    lost = replace(BACK, workload=replace(BACK.workload, available=1))
    found = look(NEW, settled(rejected=rejected(NEW)), lost)
    assert (said(found, "Progressing")[:2], found.phase) == (("True", "AwaitingPods"), "Idle")


# ---------------------------------------------------------------- Degraded, Ready, ArtifactAvailable


def missing(status: Status) -> Plan:
    """OLD serves, and its ModelRevision was deleted by hand; a pause keeps spec's NEW from taking over."""
    return decide(ME, replace(NEW, paused=True), status, serving(OLD, revisions=()), RELEASE, LATER)


def test_a_revision_that_is_gone_is_named_and_nothing_of_it_is_touched() -> None:
    found = missing(settled())
    assert found.writes == ()
    assert found.status is not None
    assert said(found.status, "Degraded") == (
        "True",
        "RevisionMissing",
        f"ModelRevision flights-{name(OLD)} is gone, so its pods cannot be made again; what runs is left running: "
        "restore it from a backup, or give spec another version",
    )


def test_a_model_whose_revision_is_gone_still_answers() -> None:
    found = missing(settled()).status
    assert found is not None
    assert said(found, "Ready")[:2] == ("True", "Serving")


def test_what_runs_of_a_revision_that_is_gone_may_still_fetch_its_bundle() -> None:
    https = asking(OLD, uri="https://example.com/x.tar", source=HttpsSource("https://example.com/x.tar", 443))
    world = serving(https, revisions=())
    plan = decide(ME, replace(NEW, paused=True), settled(https), world, RELEASE, LATER)
    assert [write for write in plan.writes if isinstance(write, Apply) and write.kind == Kind.NETWORK_POLICY] == []


def test_a_child_that_is_refused_is_said_although_every_pod_serves() -> None:
    world = serving(OLD)
    left = {ref: child for ref, child in world.children.items() if ref[0] != Kind.SERVICE}
    found = look(OLD, settled(), replace(world, children=left, refused={(Kind.SERVICE, "flights"): "quota"}))
    assert said(found, "Degraded")[:2] == ("True", "ChildRefused")


def test_a_failure_of_what_spec_asks_for_does_not_hide_that_the_old_one_serves() -> None:
    world = serving(OLD, revisions=(kept(OLD), kept(NEW, Role.CANDIDATE)))
    broken = worlds.pods(NEW, 1, ready=False, containers=(Container("server", exit_code=1, exit_message="no"),))
    numbers = Workload(generation=2, observed_generation=2, wanted=2, total=3, updated=1, available=2)
    found = look(NEW, settled(), replace(world, pods=(*world.pods, *broken), workload=numbers))
    assert said(found, "Ready")[:2] == ("True", "Serving")
    assert said(found, "Degraded")[:2] == ("True", "Crashed")
    assert said(found, "Progressing")[:2] == ("True", "Blocked")


def test_bytes_that_a_resolver_has_read_are_there_although_a_pause_holds_the_version() -> None:
    desired = replace(LOOSE, paused=True)
    digest = "sha256:" + "9" * 64
    status = settled(resolved=Resolved(request_of(desired), worlds.URI, digest))
    assert said(look(desired, status, serving(OLD)), "ArtifactAvailable") == (
        "True",
        "Verified",
        f"oci://registry.example/flights:1 was read and has the digest {digest}",
    )


def test_bytes_that_have_served_are_not_said_to_be_unread() -> None:
    before = settled(NEW)
    found = look(NEW, replace(settled(rejected=rejected(NEW)), conditions=before.conditions), BACK)
    assert "no pod has read" not in said(found, "ArtifactAvailable")[2]


# ---------------------------------------------------------------- DeploymentAltered

ADDED: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:hostNetwork": {}}}}}


def altered(*others: tuple[str, dict[str, Any]]) -> Observed:
    """OLD serves, and others have written to its Deployment."""
    world = serving(OLD)
    ref = (Kind.DEPLOYMENT, ME.name)
    entries = tuple((manager, json.dumps(fields).encode()) for manager, fields in others)
    return replace(world, children={**world.children, ref: replace(world.children[ref], others=entries)})


def test_what_others_add_to_the_deployment_is_told_and_not_fought() -> None:
    world = altered(("kubectl-edit", ADDED), ("kubectl-rollout", {"f:spec": {"f:paused": {}}}))
    found = decide(ME, OLD, settled(), world, RELEASE, LATER)
    assert found.writes == ()
    assert found.status is not None
    assert said(found.status, "DeploymentAltered") == (
        "True",
        "AddedByOthers",
        "others have added spec.template.spec.hostNetwork (by kubectl-edit), spec.paused (by kubectl-rollout): "
        "it belongs to no revision and stays until it is taken out: `kubectl edit deployment flights -n ml`",
    )
    assert said(found.status, "Degraded")[:2] == ("False", "AsExpected")
    assert [(h.warning, h.reason) for h in found.happenings] == [(True, "AddedByOthers")]


def test_what_was_taken_out_again_is_told_once() -> None:
    before = look(OLD, settled(), altered(("kubectl-edit", ADDED)))
    found = decide(ME, OLD, before, serving(OLD), RELEASE, LATER)
    assert found.status is not None
    assert said(found.status, "DeploymentAltered")[:2] == ("False", "AsMade")
    assert [(h.warning, h.reason) for h in found.happenings] == [(False, "AsMade")]


def test_many_additions_are_counted() -> None:
    many: dict[str, Any] = {"f:spec": {f"f:field{number}": {} for number in range(7)}}
    message = said(look(OLD, settled(), altered(("x", many))), "DeploymentAltered")[2]
    assert "spec.field4 (by x), and 2 more: " in message


# ---------------------------------------------------------------- and all of them together


def test_bytes_that_nobody_has_read_are_not_there_because_they_were_rejected() -> None:
    """Paused in front of a pinned version, a person rejects it before any pod has seen it."""
    never = Record(Role.REJECTED, NOW, Verdict("Rejected", "", NOW))
    world = replace(BACK, revisions=(kept(OLD), kept(OLDEST, record=never)))
    found = look(OLDEST, settled(rejected=rejected(OLDEST)), world)
    assert said(found, "ArtifactAvailable")[:2] == ("Unknown", "Pending")


def test_every_condition_is_always_there_and_in_one_order() -> None:
    for desired, status, world in (
        (OLD, Status(), Observed()),
        (LOOSE, Status(), Observed()),
        (NEW, settled(rejected=rejected(NEW)), BACK),
        (replace(NEW, paused=True), settled(), serving(OLD, revisions=())),
    ):
        assert list(summary(look(desired, status, world))) == [
            "Ready",
            "Progressing",
            "Degraded",
            "ArtifactAvailable",
            "SpecInSync",
            "NameConflict",
            "DeploymentAltered",
        ]


def test_the_times_have_whole_seconds_because_the_api_server_keeps_no_more() -> None:
    exact = NOW.replace(microsecond=999_999)
    found = look(FLIGHTS, Status(), serving(revisions=(kept(role=Role.CANDIDATE),)), exact)
    assert found.stable == Stable(name(), NOW)
    assert {condition.since for condition in found.conditions} == {NOW}
    assert {decision.at for decision in found.decisions} == {NOW}


def test_a_condition_that_holds_on_keeps_its_time() -> None:
    before = settled()
    after = look(NEW, before, serving(OLD), NOW + timedelta(hours=1))
    ready = next(condition for condition in after.conditions if condition.type == "Ready")
    assert ready == Condition("Ready", Truth.TRUE, "Serving", "the model answers", 1, NOW)
