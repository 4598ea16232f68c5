"""The chart on the real cluster: upgrade, one namespace only, uninstall; the models never notice."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import deployed
from deployed import LOCAL, SYSTEM, Address, Caller, Figure, Pushed, model, until_drained, until_ready
from kube import Kube, conditions, wait_for

LOCAL_ONLY = pytest.mark.skipif(not LOCAL, reason="gives an image of the local node a second name")
CHART = str(Path(__file__).parents[2] / "charts" / "tidegate")


def helm(*arguments: str) -> None:
    subprocess.run(["helm", *arguments, "--namespace", SYSTEM], check=True, capture_output=True, text=True)


def upgrade(*settings: str) -> None:
    """Upgrade with these settings on top of the installed ones, and wait for the operator."""
    helm("upgrade", "tidegate", CHART, "--reuse-values", *settings, "--wait", "--timeout", "2m")


def pods(kube: Kube, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in kube.items("pods", namespace, "models.tidegate.dev/model")}


@pytest.fixture
def serving(kube: Kube, namespace: str, good: Pushed) -> str:
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    until_ready(kube, namespace)
    return namespace


@pytest.fixture
def values(tmp_path: Path) -> Path:
    """The values of the installed release."""
    found = subprocess.run(
        ["helm", "get", "values", "tidegate", "--namespace", SYSTEM, "-o", "yaml"],
        check=True,
        capture_output=True,
        text=True,
    )
    path = tmp_path / "values.yaml"
    path.write_text(found.stdout)
    return path


@pytest.fixture
def restored(values: Path) -> Iterator[None]:
    """The release as it was, whatever the test did to it."""
    yield
    helm("upgrade", "--install", "tidegate", CHART, "--values", str(values), "--reset-values", "--wait")


@pytest.mark.usefixtures("restored")
def test_an_upgrade_that_changes_no_image_restarts_no_model(kube: Kube, serving: str) -> None:
    before, operator = pods(kube, serving), kube.items("pods", SYSTEM)[0]["metadata"]["uid"]
    upgrade("--set", "podAnnotations.upgraded=yes")
    wait_for(
        "the old operator gone",
        lambda: operator not in {pod["metadata"]["uid"] for pod in kube.items("pods", SYSTEM)},
        60,
    )
    kube.run("annotate", "mdep", "small", "touched=yes", "-n", serving)
    until_ready(kube, serving)
    time.sleep(3)
    assert pods(kube, serving) == before


@pytest.mark.usefixtures("restored")
def test_a_new_release_restarts_no_model_and_new_models_take_its_server(
    kube: Kube, serving: str, good: Pushed, address: Callable[..., Address]
) -> None:
    """The new release's server cannot even be pulled: what runs stays with the image that it was made with."""
    before = pods(kube, serving)
    revision = kube.get("mdep", "small", serving)["status"]["stable"]["revision"]
    upgrade("--set", "image.server=nowhere.invalid/server:next", "--set", "image.tools=nowhere.invalid/tools:next")
    kube.apply(model(serving, good, scaling={"replicas": 3}))
    until_ready(kube, serving)
    assert kube.get("mdep", "small", serving)["status"]["stable"]["revision"] == revision
    assert before <= pods(kube, serving), "a new pod is made of the old image, and no old one is restarted"
    assert address(serving).infer([-1.5, 1.5]) == [0, 1]
    fresh = model(serving, good, scaling={"replicas": 0}) | {"metadata": {"name": "fresh", "namespace": serving}}
    kube.apply(fresh)
    until_ready(kube, serving, "fresh")
    kept = kube.items("modelrevisions", serving, "models.tidegate.dev/model=fresh")
    assert [found["spec"]["image"] for found in kept] == ["nowhere.invalid/server:next"]


@LOCAL_ONLY
@pytest.mark.usefixtures("restored")
def test_another_server_image_in_spec_rolls_the_model_over_and_loses_no_request(
    kube: Kube, serving: str, good: Pushed, address: Callable[..., Address], figure: Figure
) -> None:
    """The node knows the same image by another name; to the operator it is another server."""
    operator = kube.get("deployment", "tidegate-operator", SYSTEM)
    variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    image = next(variable["value"] for variable in variables if variable["name"] == "TIDEGATE_SERVER_IMAGE")
    subprocess.run(["ctr", "images", "tag", "--force", image, f"{image}-next"], check=True, capture_output=True)
    before = kube.get("mdep", "small", serving)["status"]["stable"]["revision"]
    server = {"resources": deployed.SMALL, "image": f"{image}-next"}
    with Caller(address(serving), [-1.5, 1.5]) as caller:
        kube.apply(model(serving, good, scaling={"replicas": 2}, server=server))
        until_ready(kube, serving)
        assert kube.get("mdep", "small", serving)["status"]["stable"]["revision"] != before
        until_drained()
    figure("answers while another server image takes over", dict(caller.answers), "none lost")
    assert set(caller.answers) == {"[0, 1]"}


@pytest.mark.usefixtures("restored")
def test_uninstalling_leaves_the_model_serving_and_installing_takes_it_over(
    kube: Kube, serving: str, values: Path, address: Callable[..., Address]
) -> None:
    there, before = address(serving), pods(kube, serving)
    assert there.infer([-1.5, 1.5]) == [0, 1]
    helm("uninstall", "tidegate", "--wait")
    wait_for("no operator", lambda: not kube.items("pods", SYSTEM), 60)
    assert there.infer([-1.5, 1.5]) == [0, 1]
    assert pods(kube, serving) == before
    kube.delete("poddisruptionbudget", "small", serving)
    time.sleep(3)
    assert kube.find("poddisruptionbudget", "small", serving) is None, "something still acts"
    helm("upgrade", "--install", "tidegate", CHART, "--values", str(values), "--wait")
    wait_for("the budget is back", lambda: kube.find("poddisruptionbudget", "small", serving), 60)
    until_ready(kube, serving)
    assert pods(kube, serving) == before


@pytest.mark.usefixtures("restored")
def test_an_operator_of_one_namespace_serves_it_and_no_other(kube: Kube, serving: str, good: Pushed) -> None:
    other = f"{serving}-other"
    deployed.space(kube, other)
    try:
        upgrade("--set", f"watchNamespaces={{{serving}}}")
        assert kube.find("clusterrole", "tidegate-operator") is None
        wait_for("two operators", lambda: len(kube.items("pods", SYSTEM)) == 2, 60)
        kube.apply(model(other, good))
        kube.apply(model(serving, good, scaling={"replicas": 1}))
        until_ready(kube, serving)
        wait_for("no budget", lambda: not kube.items("poddisruptionbudgets", serving), 15)
        assert conditions(kube.get("mdep", "small", other)) == {}
    finally:
        kube.delete("namespace", other, wait=False)
