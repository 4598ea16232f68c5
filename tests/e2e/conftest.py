"""What every test on the real cluster needs: the cluster, the installed operator, bundles in its registry, a namespace.

`make cluster images install` provides the first two; with CLUSTER=current they are the
reader's own, and REGISTRY is where bundles go (PLAIN_HTTP=1 if it has no TLS).
"""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import deployed
import models
from deployed import LOCAL, PLAIN_HTTP, SYSTEM, Address, Figure, Pushed
from facts import Told, in_time, is_fact
from kube import Kube, wait_for
from tidegate_server.offline.push import push


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.cluster)


FIGURES = pytest.StashKey[list[tuple[str, str, str]]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    def note(what: str, value: object, bar: str) -> None:
        request.config.stash.setdefault(FIGURES, []).append((what, str(value), bar))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("measured")
        for what, value, bar in figures:
            terminalreporter.write_line(f"{what:<72} {value:<28} {bar}")


@pytest.fixture(scope="session")
def kube() -> Kube:
    found = Kube()
    deployment = found.find("deployment", "tidegate-operator", SYSTEM)
    assert deployment, f"no operator in namespace {SYSTEM}: run `make install`"
    return found


@pytest.fixture(scope="session")
def registry() -> str:
    found = os.environ.get("REGISTRY") or os.environ.get("CLUSTER_REGISTRY")
    assert found, "no registry: run through make, or set REGISTRY"
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="session")
def pushed(registry: str) -> Callable[[str, models.Bundle], Pushed]:
    def send(name: str, found: models.Bundle) -> Pushed:
        sent = push(found.directory, f"{registry}/tests/{name}:1", plain_http=PLAIN_HTTP)
        return Pushed(sent.uri, sent.bundle_digest, found)

    return send


@pytest.fixture(scope="session")
def good(folder: Path, pushed: Callable[[str, models.Bundle], Pushed]) -> Pushed:
    """The first version of a model."""
    return pushed("good", models.bundle(folder / "good"))


@pytest.fixture(scope="session")
def better(folder: Path, pushed: Callable[[str, models.Bundle], Pushed]) -> Pushed:
    """The second version of it."""
    return pushed("better", models.bundle(folder / "better", threshold=0.7))


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    deployed.space(kube, name)
    yield name
    kube.delete("namespace", name, wait=False)


@pytest.fixture(scope="session")
def api_server() -> Iterator[str]:
    """The address of `kubectl proxy`, by which the API server leads to any Service."""
    with subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield "http://" + process.stdout.readline().split()[-1]
        process.terminate()


@pytest.fixture
def address(kube: Kube, api_server: str) -> Callable[..., Address]:
    """The address of a model's Service: routed on the local cluster, through the API server elsewhere."""

    def found(namespace: str, name: str = "small") -> Address:
        if LOCAL:
            return Address(f"http://{kube.get('service', name, namespace)['spec']['clusterIP']}")
        return Address(f"{api_server}/api/v1/namespaces/{namespace}/services/{name}:80/proxy")

    return found


@pytest.fixture
def told(kube: Kube, namespace: str, figure: Figure) -> Told:
    def wait(reason: str) -> None:
        wait_for("a fact in a pod's status", lambda: any(map(is_fact, kube.items("pods", namespace))), 90, 0.1)
        in_time(kube, namespace, reason, figure)

    return wait
