"""From what the kubelet says to one reason: a row for every cause."""

from dataclasses import replace

import pytest

from tidegate_contract.source import HttpsSource, OciSource, PvcSource
from tidegate_operator.core.failures import Failure, failure, refusal, refused_before, refutation
from tidegate_operator.core.sources import describe
from tidegate_operator.core.types import Condition, Container, Content, Kind, Pod, Status, Truth, Workload
from worlds import DIGEST, FLIGHTS, NOW

OCI = FLIGHTS.content

PVC = replace(OCI, source=PvcSource("models", "flights/v1"))
HTTPS = replace(OCI, source=HttpsSource("https://example.com/x.tar.gz", 443), secret_name="login")


def pod(*containers: Container, unschedulable: str = "", name: str = "p") -> Pod:
    return Pod(name, "r", unschedulable=unschedulable, containers=containers)


def waiting(reason: str, message: str, name: str = "server") -> Pod:
    return pod(Container(name, waiting=reason, waiting_message=message))


def ended(code: int, message: str = "", reason: str = "Error", name: str = "server") -> Pod:
    return pod(Container(name, exit_code=code, exit_reason=reason, exit_message=message))


ROWS = [
    pytest.param(
        OCI,
        waiting("ErrImagePull", 'failed to pull "registry.example/flights:1": not found'),
        "ArtifactPullFailed",
        "oci://registry.example/flights:1 cannot be pulled",
        id="the bundle's image is not there",
    ),
    pytest.param(
        replace(OCI, source=OciSource(f"registry.example:5001/flights:1@{DIGEST}")),
        waiting("ErrImagePull", f'failed to pull and unpack image "registry.example:5001/flights@{DIGEST}": denied'),
        "ArtifactPullFailed",
        "if the registry wants credentials",
        id="the bundle's image, of which the runtime leaves out the tag",
    ),
    pytest.param(
        OCI,
        waiting("ErrImagePull", 'failed to pull "registry.example/flights-server:1": not found'),
        "ImagePullFailed",
        "check spec.server.image",
        id="the server's image, whose name begins like the bundle's",
    ),
    pytest.param(
        OCI,
        waiting("ImagePullBackOff", 'Back-off pulling image "registry.example/server:9"'),
        "ImagePullFailed",
        "check spec.server.image",
        id="the server's image is not there",
    ),
    pytest.param(
        HTTPS,
        waiting("CreateContainerConfigError", 'secret "login" not found', "fetch"),
        "SecretNotFound",
        "create the Secret login",
        id="the Secret is not there",
    ),
    pytest.param(
        PVC,
        pod(unschedulable='0/1 nodes are available: persistentvolumeclaim "models" not found'),
        "ClaimNotFound",
        "create the claim models",
        id="the claim is not there",
    ),
    pytest.param(
        PVC,
        pod(unschedulable="pod has unbound immediate PersistentVolumeClaims"),
        "ClaimNotBound",
        "give the claim models a volume",
        id="the claim has no volume",
    ),
    pytest.param(
        OCI,
        pod(unschedulable="0/1 nodes are available: 1 Insufficient memory"),
        "Unschedulable",
        "1 Insufficient memory; free capacity",
        id="the pods do not fit",
    ),
    pytest.param(
        OCI,
        waiting("CreateContainerError", "no such device"),
        "ContainerConfigError",
        "container server cannot be made: no such device",
        id="the runtime refuses the container",
    ),
    pytest.param(
        OCI,
        ended(3, '{"reason":"GoldenMismatch","message":"row 3: want 1, got 0"}'),
        "GoldenMismatch",
        "oci://registry.example/flights:1: row 3: want 1, got 0",
        id="the server says why it gave up",
    ),
    pytest.param(
        OCI,
        ended(137, reason="OOMKilled"),
        "OutOfMemory",
        "raise spec.server.resources.limits.memory",
        id="the model does not fit into memory",
    ),
    pytest.param(
        OCI,
        ended(1, "Traceback (most recent call last):\n  x\nImportError: no module"),
        "Crashed",
        "container server ended with exit code 1: ImportError: no module",
        id="the server crashed",
    ),
]


@pytest.mark.parametrize(("content", "found", "reason", "words"), ROWS)
def test_a_cause_has_a_reason_and_a_sentence(content: Content, found: Pod, reason: str, words: str) -> None:
    result = failure(content, Workload(), [found])
    assert result is not None
    assert result.reason == reason
    assert words in result.message


def test_pods_that_the_api_server_refuses_are_named() -> None:
    result = failure(OCI, Workload(refused="exceeded quota"), [])
    assert result is not None
    assert (result.reason, result.message) == ("PodsRefused", "the API server refuses the pods: exceeded quota")


def test_a_child_that_the_api_server_refuses_is_named() -> None:
    result = refusal({(Kind.DEPLOYMENT, "flights"): "spec.nodeSelector: Invalid value"})
    assert result is not None
    assert result.reason == "ChildRefused"
    assert "refuses the Deployment: spec.nodeSelector: Invalid value" in result.message


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(replace(ended(3), ready=True), id="ready again after a crash"),
        pytest.param(replace(ended(3), deleting=True), id="on its way out"),
        pytest.param(ended(0), id="an init container that is done"),
        pytest.param(waiting("ContainerCreating", ""), id="starting"),
        pytest.param(pod(), id="nothing known"),
    ],
)
def test_what_is_no_failure_is_not_called_one(found: Pod) -> None:
    assert failure(OCI, Workload(), [found]) is None


def test_the_first_pod_by_name_speaks_for_all() -> None:
    """Whatever order the cache has, the sentence is the same, and the status is not written anew."""
    one, two = replace(ended(1, "a"), name="a"), replace(ended(2, "b"), name="b")
    assert failure(OCI, Workload(), [one, two]) == failure(OCI, Workload(), [two, one])


GOLDEN = ended(3, '{"reason":"GoldenMismatch","message":"row 3: want 1, got 0"}')
BYTES = ended(3, '{"reason":"DigestMismatch","message":"other bytes"}')
NEEDS_ROOM, AT_WORK = pod(unschedulable="no node"), pod(Container("server", ready=True))


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        pytest.param([GOLDEN], "GoldenMismatch", id="the only one"),
        pytest.param([BYTES, GOLDEN], "DigestMismatch", id="each of two"),
        pytest.param([GOLDEN, NEEDS_ROOM], "GoldenMismatch", id="one has no node"),
        pytest.param([GOLDEN, replace(AT_WORK, deleting=True)], "GoldenMismatch", id="another one goes"),
        pytest.param([GOLDEN, replace(pod(), ended=True)], "GoldenMismatch", id="another one was evicted"),
        pytest.param([], "", id="none is there"),
        pytest.param([NEEDS_ROOM], "", id="none has a node"),
        pytest.param([GOLDEN, replace(AT_WORK, ready=True)], "", id="one serves"),
        pytest.param([GOLDEN, pod()], "", id="one only starts"),
        pytest.param([replace(GOLDEN, ready=True)], "", id="it serves by now"),
        pytest.param([GOLDEN, ended(1, "Traceback")], "", id="one fails by chance"),
        pytest.param([ended(3, '{"reason":"LoadFailed","message":"no memory"}')], "", id="it may load another time"),
    ],
)
def test_a_version_is_refuted_only_where_each_of_its_pods_says_so(pods: list[Pod], reason: str) -> None:
    named = [replace(each, name=f"p{n}") for n, each in enumerate(pods)]
    found = refutation(OCI, reversed(named))
    assert (found.reason if found else "") == reason
    assert found is None or describe(OCI.source) in found.message


def says(failure: Failure, *, owner: str = "") -> Status:
    return Status(conditions=(Condition("Degraded", Truth.TRUE, failure.reason, failure.message + owner, 1, NOW),))


@pytest.mark.parametrize("owner", ["", ". Owner: flights team@example.com. Runbook: https://example.com/x"])
@pytest.mark.parametrize("words", ["exceeded quota: x, used: 1", "two\nlines; it is tried again", ""])
def test_what_a_status_says_of_a_refusal_says_the_same_again(words: str, owner: str) -> None:
    found = refusal({("Service", "flights"): words})
    assert found
    assert refusal(refused_before(says(found, owner=owner))) == found


def test_a_refusal_in_words_of_another_release_is_a_refusal_too() -> None:
    assert refusal(refused_before(says(Failure("ChildRefused", "the server said no")))) is not None


def test_a_status_that_complains_of_something_else_says_nothing_of_refusals() -> None:
    assert refused_before(says(Failure("LoadFailed", "no such file"))) == {}
    assert refused_before(Status()) == {}
