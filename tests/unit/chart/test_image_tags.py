"""The images' tag: it changes with what goes into them and with nothing else."""

import shutil
from pathlib import Path

import pytest

from cluster.steps import ClusterError
from images import content, remote, wheels

from .conftest import CHECKOUT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return content.snapshot(CHECKOUT, tmp_path / "checkout")


def test_a_copy_has_the_same_tag(checkout: Path) -> None:
    assert content.tag(checkout, None) == content.tag(CHECKOUT, None)


def test_it_begins_with_the_version(checkout: Path) -> None:
    assert content.tag(checkout, None).startswith(f"{content.version(CHECKOUT)}-")


@pytest.mark.parametrize(
    "name",
    ["operator/tidegate_operator/__init__.py", "server/Dockerfile", "requirements/server.txt", "pyproject.toml"],
)
def test_it_changes_with(checkout: Path, name: str) -> None:
    before = content.tag(checkout, None)
    with (checkout / name).open("a") as file:
        file.write("\n# another line\n")
    assert content.tag(checkout, None) != before


def test_it_changes_with_a_new_file_and_with_the_base(checkout: Path) -> None:
    before = content.tag(checkout, None)
    assert content.tag(checkout, "another-base:1") != before
    (checkout / "server" / "tidegate_server" / "new.py").touch()
    assert content.tag(checkout, None) != before


def test_words_and_bytecode_do_not_change_it(checkout: Path) -> None:
    before = content.tag(checkout, None)
    (checkout / "README.md").write_text("another text")
    (checkout / "server" / "tidegate_server" / "__pycache__").mkdir()
    (checkout / "server" / "tidegate_server" / "__pycache__" / "x.pyc").touch()
    assert content.tag(checkout, None) == before


def test_every_file_that_a_dockerfile_copies_is_in_the_build_context(checkout: Path) -> None:
    for dockerfile in {image.dockerfile for image in content.IMAGES}:
        for line in (checkout / dockerfile).read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                assert all((checkout / name).exists() for name in line.split()[1:-1]), line


def test_an_older_python_takes_the_entries_that_hold_for_it() -> None:
    lock = (
        "a==1 ; python_full_version < '3.12' \\\n    --hash=x\na==2 ; python_full_version >= '3.12' \\\n    --hash=y\n"
    )
    assert wheels.select(lock, (3, 11)) == "a==1 \\\n    --hash=x\n"
    assert wheels.select(lock, (3, 12)) == "a==2 \\\n    --hash=y\n"


def test_a_marker_of_another_kind_is_not_guessed_at() -> None:
    with pytest.raises(ClusterError, match="sys_platform"):
        wheels.select("a==1 ; sys_platform == 'win32'\n")


@pytest.mark.parametrize(
    ("context", "command"),
    [
        ("kind-dev", "kind load docker-image a b --name dev"),
        ("k3d-dev", "k3d image import a b --cluster dev"),
        ("minikube", "minikube image load a b"),
        ("production", "REGISTRY="),
    ],
)
def test_a_cluster_without_a_registry_is_told_how_to_get_the_images(context: str, command: str) -> None:
    assert command in remote.how_to_load(context, ["a", "b"])


def test_an_engine_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ClusterError, match="podman is not installed"):
        remote.find_engine("podman")
    with pytest.raises(ClusterError, match="None of docker, podman and buildah"):
        remote.find_engine(None)
