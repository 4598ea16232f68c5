"""The test cluster's pure parts: which names and networks a checkout gets, and what the node is configured with."""

from __future__ import annotations

import base64
import doctest
import json
import os
import re
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path
from types import ModuleType

import pytest

from cluster import base, build, cgroups, config, oci, shell, tools
from cluster.api import dns_objects, metrics_objects
from cluster.certs import certificates
from cluster.layout import SLOTS, Cache, Slot, free_slot, none_free
from cluster.steps import ClusterError
from deployed import changes
from images import remote, wheels

ROOT = Path(__file__).parents[1]
CHECKOUT = Path("/home/someone/tidegate")
OTHER = Path("/home/someone/else")
PROGRAMS = config.Programs(
    *(Path("/bin", name) for name in ("kube", "containerd", "coredns", "metrics", "registry", "runc", "cni"))
)


def test_a_slot_fixes_every_name_and_address() -> None:
    slot = Slot(3, CHECKOUT)
    assert (slot.name, slot.link) == ("tidegate-3", "tidegate3")
    assert slot.networks == (
        IPv4Network("10.219.3.0/30"),
        IPv4Network("10.220.3.0/24"),
        IPv4Network("10.221.3.0/24"),
    )
    assert (slot.host_ip, slot.node_ip) == (IPv4Address("10.219.3.1"), IPv4Address("10.219.3.2"))
    assert (slot.api_service_ip, slot.dns_ip) == (IPv4Address("10.221.3.1"), IPv4Address("10.221.3.10"))
    assert (slot.registry, slot.private_registry) == ("10.219.3.2:5000", "10.219.3.2:5001")


def test_no_two_slots_share_a_network_or_a_name() -> None:
    slots = [Slot(number, CHECKOUT) for number in SLOTS]
    networks = [network for slot in slots for network in slot.networks]
    assert len({address for network in networks for address in (network[0], network[-1])}) == 2 * len(networks)
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])
    assert len({slot.link for slot in slots}) == len(slots)


@pytest.mark.parametrize("number", SLOTS)
def test_kernel_limits_on_the_length_of_names_are_kept(number: int) -> None:
    slot = Slot(number, CHECKOUT)
    assert len(slot.link) <= 15
    assert len(f"{slot.containerd_socket}.ttrpc") <= 107


@pytest.mark.parametrize(
    ("taken", "routes", "expected"),
    [
        pytest.param({}, [], 1, id="the first checkout gets the first slot"),
        pytest.param({1: OTHER}, [], 2, id="another checkout's slot is left alone"),
        pytest.param({1: OTHER, 4: CHECKOUT}, [], 4, id="a checkout keeps its own slot"),
        pytest.param({}, [("tun0", "10.220.1.0/28")], 2, id="a slot whose pods a foreign route covers is passed over"),
        pytest.param({}, [("eth0", "0.0.0.0/0")], 1, id="the default route covers nothing"),
        pytest.param({}, [("tidegate1", "10.220.1.0/24")], 1, id="routes of the slot's own leftover link do not count"),
        pytest.param({}, [("wg0", "10.0.0.0/8")], 1, id="a broad route loses to ours, which are more specific"),
        pytest.param({}, [("wg0", "10.221.0.0/16")], None, id="a route over all of ours leaves no slot"),
        pytest.param(dict.fromkeys(SLOTS, OTHER), [], None, id="all taken leaves no slot"),
    ],
)
def test_choice_of_a_slot(taken: dict[int, Path], routes: list[tuple[str, str]], expected: int | None) -> None:
    foreign = [(link, IPv4Network(net)) for link, net in routes]
    chosen = free_slot(taken, foreign, CHECKOUT)
    assert (chosen.number if chosen else None) == expected


@pytest.mark.parametrize(
    ("taken", "routes", "said"),
    [
        pytest.param(
            dict.fromkeys(SLOTS, OTHER),
            [("wg0", "10.221.0.0/16")],
            "All 32 places for test clusters are taken; run `make cluster-down` in one of /home/someone/else.",
            id="all taken",
        ),
        pytest.param(
            {},
            [("wg0", "10.221.0.0/16"), ("eth0", "192.0.2.0/24")],
            "No place for a test cluster is left: it needs a part of 10.219.0.0/16, 10.220.0.0/16 and 10.221.0.0/16, "
            "which this machine routes elsewhere (10.221.0.0/16 on wg0); take those routes away.",
            id="a route in the way",
        ),
    ],
)
def test_why_no_slot_is_free(taken: dict[int, Path], routes: list[tuple[str, str]], said: str) -> None:
    assert none_free(taken, [(link, IPv4Network(net)) for link, net in routes]) == said


@pytest.mark.parametrize(
    ("env", "root"),
    [
        pytest.param({"TIDEGATE_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c", id="our own variable wins"),
        pytest.param({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/tidegate", id="then the desktop's"),
        pytest.param({"HOME": "/h"}, "/h/.cache/tidegate", id="then the home folder"),
    ],
)
def test_place_of_the_cache(env: dict[str, str], root: str) -> None:
    assert Cache.from_environment(env).root == Path(root)


def test_all_that_is_written_lies_in_folders_of_the_slot() -> None:
    slot = Slot(2, CHECKOUT)
    assert all(path.is_relative_to(slot.config) for path in config.files(slot, PROGRAMS))
    for component in config.components(slot, PROGRAMS):
        settings = [value for arg in component.argv for _, _, value in [arg.partition("=")] if value.startswith("/")]
        ours = (slot.state, slot.run, slot.local)
        assert all(any(Path(value).is_relative_to(folder) for folder in ours) for value in settings), component


def test_two_slots_share_no_file_address_or_certificate_name() -> None:
    first, second = Slot(1, CHECKOUT), Slot(2, OTHER)
    text = "\n".join(config.files(second, PROGRAMS).values()) + repr(config.components(second, PROGRAMS))
    text += repr(certificates(second)) + repr(dns_objects(second))
    text += repr(metrics_objects(second, b""))
    for mine in (
        first.name,
        str(first.state) + "/",
        str(first.run) + "/",
        *(str(net[0])[:-1] for net in first.networks),
    ):
        assert mine not in text


def test_audit_keeps_every_request_of_service_accounts() -> None:
    rules = config.audit_policy()["rules"]
    before = rules[: rules.index({"level": "Metadata", "userGroups": ["system:serviceaccounts"]})]
    assert all("resources" not in rule and rule["nonResourceURLs"] for rule in before)


def test_dns_service_points_at_the_node() -> None:
    slot = Slot(2, CHECKOUT)
    objects = dns_objects(slot)
    service = objects["/api/v1/namespaces/kube-system/services/kube-dns"]
    endpoints = objects["/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-node"]
    assert service["spec"]["clusterIP"] == config.kubelet(slot)["clusterDNS"][0] == "10.221.2.10"
    assert endpoints["endpoints"][0]["addresses"] == [str(slot.node_ip)]
    assert f"bind {slot.node_ip}\n" in config.corefile(slot)


def test_metrics_api_leads_to_the_node_under_a_name_of_its_certificate() -> None:
    slot = Slot(2, CHECKOUT)
    objects = metrics_objects(slot, b"authority")
    api = objects["/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"]["spec"]
    endpoints = objects["/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/metrics-server-node"]
    flags = config.metrics_flags(slot)
    (certificate,) = [found for found in certificates(slot) if found.file == "metrics-server"]
    assert base64.b64decode(api["caBundle"]) == b"authority"
    assert f"DNS:{api['service']['name']}.{api['service']['namespace']}.svc" in certificate.names
    assert endpoints["endpoints"][0]["addresses"] == [str(slot.node_ip)]
    assert f"--bind-address={slot.node_ip}" in flags
    assert f"--secure-port={endpoints['ports'][0]['port']}" in flags


def test_only_users_with_a_certificate_get_rights() -> None:
    slot = Slot(2, CHECKOUT)
    objects = dns_objects(slot) | metrics_objects(slot, b"")
    named = {subject["name"] for document in objects.values() for subject in document.get("subjects", [])}
    assert named == {"system:coredns", "system:metrics-server"}
    assert named <= {certificate.user for certificate in certificates(slot)}


def test_api_server_certificate_names_every_address_it_is_called_by() -> None:
    slot = Slot(2, CHECKOUT)
    (api,) = [certificate for certificate in certificates(slot) if certificate.file == "apiserver"]
    assert {"DNS:kubernetes.default.svc", f"IP:{slot.node_ip}", f"IP:{slot.api_service_ip}"} <= set(api.names)


@pytest.mark.parametrize("program", build.ALL + build.RIVALS, ids=lambda program: program.module)
def test_every_program_has_a_module_with_locked_dependencies(program: build.Program) -> None:
    folder = build.SOURCES / program.module
    requires = "require" in (folder / "go.mod").read_text()
    assert (folder / "go.sum").exists() == requires


def test_metrics_server_is_built_from_the_packages_that_kubernetes_has_already_built() -> None:
    """A module in two versions would be built twice, and all that imports it."""

    def locked(program: build.Program) -> dict[str, str]:
        text = (build.SOURCES / program.module / "go.mod").read_text()
        found = re.findall(
            r"^\t(\S+)(?: => \S+)? (v\S+)(?: // indirect)?$", text.partition("exclude (")[0], re.MULTILINE
        )
        return dict(found)  # a replacement stands below what it replaces, and wins

    kubernetes, metrics = locked(build.KUBE), locked(build.METRICS)
    both = kubernetes.keys() & metrics.keys()
    assert len(both) > 50
    assert {name: metrics[name] for name in both} == {name: kubernetes[name] for name in both}


def test_the_pinned_go_is_new_enough_for_every_module() -> None:
    assert tools.version(tools.GO.version) >= tools.needed_go()


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        pytest.param(
            "Types: deb\n# a comment\nURIs: http://m.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
            "http://m.test/debian",
            id="deb822",
        ),
        pytest.param(
            "Types: deb\nURIs: http://m.test/debian\nSuites: trixie\nComponents: main\nEnabled: no",
            None,
            id="what is switched off is none",
        ),
        pytest.param("deb http://m.test/debian/ bookworm main", "http://m.test/debian/", id="one line"),
        pytest.param(
            "deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] https://m.test/a/debian stable contrib main",
            "https://m.test/a/debian",
            id="a path",
        ),
        pytest.param("# deb http://m.test/debian bookworm main", None, id="a comment is none"),
        pytest.param(
            "deb https://third.test/debian all main\n"
            "deb [signed-by=/k/third.gpg] https://third.test/linux/debian bookworm stable\n"
            "deb [signed-by=/k/third.gpg] https://third.test/debian bookworm main\n\n"
            "Types: deb\nURIs: https://third.test/debian\nSuites: bookworm\nComponents: main\n"
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\n"
            "deb http://m.test/debian trixie main",
            "http://m.test/debian",
            id="what others call debian is passed over",
        ),
        pytest.param("deb https://third.test/linux/debian bookworm stable", None, id="and alone it is none"),
        pytest.param(
            "deb http://m.test/debian-security bookworm-security main", None, id="security is not the archive"
        ),
        pytest.param("deb http://m.test/ubuntu noble main", None, id="another distribution's is none"),
    ],
)
def test_debian_mirror_of_the_machine(sources: str, mirror: str | None) -> None:
    assert base.debian_mirror(sources) == mirror


def test_an_archive_is_an_image_that_names_its_program(tmp_path: Path) -> None:
    import tarfile

    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    oci.write_archive(tmp_path / "pause.tar", "localhost/pause:1", program)
    with tarfile.open(tmp_path / "pause.tar") as archive:
        blobs = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    (entry,) = json.loads(blobs["index.json"])["manifests"]
    manifest = json.loads(blobs["blobs/sha256/" + entry["digest"].removeprefix("sha256:")])
    image = json.loads(blobs["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
    assert image["config"] == {"Entrypoint": ["/pause"], "User": "65535:65535"}


def test_the_pods_network_is_the_slots() -> None:
    slot = Slot(5, CHECKOUT)
    (plugin,) = config.cni(slot)["plugins"]
    assert ip_network(plugin["ipam"]["ranges"][0][0]["subnet"]) == slot.pod_net


class Kernel:
    """A cgroup hierarchy of version 2 as far as controllers go: what a group may use is what those above hand down."""

    def __init__(self, root: Path, handed: str) -> None:
        self.root = root
        (root / "cgroup.controllers").write_text("cpu cpuset hugetlb io memory misc pids rdma")
        (root / "cgroup.subtree_control").write_text(handed)

    def group(self, name: str) -> Path:
        made = self.root / name
        (made / "system").mkdir(parents=True)
        (made / "cgroup.controllers").write_text((self.root / "cgroup.subtree_control").read_text())
        (made / "cgroup.subtree_control").write_text("")
        return made

    def write(self, file: Path, text: str) -> None:
        words = set(file.read_text().split())
        changed = words | {text[1:]} if text[0] == "+" else words - {text[1:]}
        file.write_text(" ".join(sorted(changed)))
        for child in self.root.glob("*/cgroup.controllers"):
            child.write_text((self.root / "cgroup.subtree_control").read_text())

    def handed(self, group: str = "") -> str:
        return (self.root / group / "cgroup.subtree_control").read_text()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A machine whose init hands down memory and pids."""
    root = tmp_path / "cgroup"
    root.mkdir()
    made = Kernel(root, "memory pids")
    monkeypatch.setattr(cgroups, "MOUNT", root)
    monkeypatch.setattr(cgroups, "ADDED", tmp_path / "run" / "cgroup-controllers")
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [root])
    monkeypatch.setattr(cgroups, "_write", made.write)
    return made


def gone(group: Path) -> None:
    """As the kernel removes a group: its files are none."""
    for file in group.glob("cgroup.*"):
        file.unlink()
    (group / "system").rmdir()
    group.rmdir()


def test_cgroup_version_2_hands_down_what_the_kubelet_uses_and_takes_back_what_was_added(kernel: Kernel) -> None:
    first, second = kernel.group("tidegate-1"), kernel.group("tidegate-2")
    cgroups.create("tidegate-1")
    cgroups.create("tidegate-2")
    assert (
        kernel.handed()
        == kernel.handed("tidegate-1")
        == kernel.handed("tidegate-2")
        == "cpu cpuset hugetlb memory pids"
    )
    gone(first)
    cgroups.remove("tidegate-1")
    assert kernel.handed() == "cpu cpuset hugetlb memory pids"  # the other cluster uses them
    gone(second)
    cgroups.remove("tidegate-2")
    assert kernel.handed() == "memory pids"
    assert not cgroups.ADDED.exists()


def test_a_root_that_hands_nothing_down_is_an_error(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.group("tidegate-1")
    monkeypatch.setattr(cgroups, "_write", lambda file, text: None)
    with pytest.raises(ClusterError, match="does not hand down its controllers cpu, memory, pids"):
        cgroups.create("tidegate-1")


def test_a_cgroup_that_takes_no_process_is_an_error(kernel: Kernel) -> None:
    with pytest.raises(ClusterError, match="takes no process"):
        cgroups.enter("tidegate-1")


@pytest.mark.parametrize("namespaces", [False, True], ids=["by its process group", "by its namespace, as root"])
def test_a_bound_command_ends_with_its_children_when_nobody_wants_it(
    namespaces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if namespaces and not shell.has_namespaces():
        pytest.skip("makes namespaces, which wants root")
    monkeypatch.setattr(shell, "has_namespaces", lambda: namespaces)
    began, late = tmp_path / "began", tmp_path / "late"
    script = f"(sleep 1; touch {late}) & touch {began}; wait"

    def interrupted(child: subprocess.Popen[bytes]) -> int:
        while not began.exists():
            time.sleep(0.01)
        monkeypatch.undo()
        monkeypatch.setattr(shell, "has_namespaces", lambda: namespaces)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shell.run_logged(["sh", "-c", script], tmp_path / "log")
    time.sleep(1.3)
    assert not late.exists()


def test_tools_of_another_system_are_those_of_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, name in ((ours, "kubectl"), (ours, "helm"), (theirs, "kubectl")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(tools, "search_path", lambda: f"{ours}:{theirs}")
    with pytest.raises(ClusterError, match="must be on the PATH; install helm\\."):
        tools.find_clients(ours)
    (theirs / "helm").symlink_to(ours / "helm")
    assert tools.find_clients(ours) == {"kubectl": theirs / "kubectl", "helm": theirs / "helm"}


def test_an_environment_without_pip_is_made_again(tmp_path: Path) -> None:
    broken = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", broken], check=True)
    (broken / "rest").touch()
    tools.make_environment(Cache(tmp_path / "cache"), broken)
    assert shell.succeeds([broken / "bin" / "python", "-m", "pip", "--version"])
    assert not (broken / "rest").exists()
    (broken / "kept").touch()
    tools.make_environment(Cache(tmp_path / "cache"), broken)
    assert (broken / "kept").exists()


def test_a_python_that_makes_no_environments_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_can_make_environments", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"no ensurepip\. Install its venv .* or name another by PYTHON="):
        tools.make_environment(Cache(tmp_path), tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("target", ["install", "uninstall", "bench-idle"])
def test_without_its_cluster_a_target_stops_and_asks_no_other_cluster(target: str, tmp_path: Path) -> None:
    """Else it would reach the one that kubectl knows, which may be somebody's production."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    programs = {"kubectl": "touch asked", "helm": "touch asked", "python": "touch asked"}
    programs["stub"] = 'case "$*" in *"cluster env"*) echo "cluster: none runs" >&2; exit 1;; esac'
    (tmp_path / "bin").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(tmp_path / "bin")
    for name, script in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "requirements").mkdir()
    for file in ("pyproject.toml", "requirements/dev.txt", ".venv/installed"):
        (tmp_path / file).touch()
    kept = {name: value for name, value in os.environ.items() if name not in ("CLUSTER", "REGISTRY", "MAKEFLAGS")}
    env = kept | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", target, "PYTHON=stub"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "cluster: none runs" in done.stderr
    assert not (tmp_path / "asked").exists()


def test_a_status_is_no_change_of_the_users_object_and_a_finalizer_or_a_label_is() -> None:
    mine = {"manager": "kubectl-create", "operation": "Update"}
    status = {"manager": "tidegate-operator", "operation": "Apply", "subresource": "status"}
    metadata = {"name": "small", "generation": 1, "resourceVersion": "7", "managedFields": [mine]}
    created = {"metadata": metadata, "spec": {"model": {"uri": "oci://r/m:1"}}}
    served = created | {"metadata": metadata | {"resourceVersion": "9", "managedFields": [mine, status]}, "status": {}}
    assert changes(created, served) == []
    held = metadata | {"resourceVersion": "9", "generation": 2, "finalizers": ["f"], "labels": {"a": "b"}}
    assert changes(created, {"metadata": held, "spec": {}}) == [
        "metadata.finalizers",
        "metadata.generation",
        "metadata.labels",
        "spec",
    ]


@pytest.mark.parametrize("module", [remote, wheels], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
