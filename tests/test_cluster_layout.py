"""The test cluster's pure parts: which names and networks a checkout gets, and what the node is configured with."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

import pytest

from cluster import base, build, config, oci, tools
from cluster.api import dns_objects
from cluster.certs import certificates
from cluster.layout import SLOTS, Cache, Slot, free_slot

CHECKOUT = Path("/home/someone/tidegate")
OTHER = Path("/home/someone/else")
PROGRAMS = config.Programs(
    *(Path("/bin", name) for name in ("kube", "containerd", "coredns", "registry", "runc", "cni"))
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
        pytest.param({}, [("wg0", "10.0.0.0/8")], None, id="a route over everything leaves no slot"),
        pytest.param(dict.fromkeys(SLOTS, OTHER), [], None, id="all taken leaves no slot"),
    ],
)
def test_choice_of_a_slot(taken: dict[int, Path], routes: list[tuple[str, str]], expected: int | None) -> None:
    foreign = [(link, IPv4Network(net)) for link, net in routes]
    chosen = free_slot(taken, foreign, CHECKOUT)
    assert (chosen.number if chosen else None) == expected


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


def test_api_server_certificate_names_every_address_it_is_called_by() -> None:
    slot = Slot(2, CHECKOUT)
    (api,) = [certificate for certificate in certificates(slot) if certificate.file == "apiserver"]
    assert {"DNS:kubernetes.default.svc", f"IP:{slot.node_ip}", f"IP:{slot.api_service_ip}"} <= set(api.names)


@pytest.mark.parametrize("program", build.ALL, ids=lambda program: program.module)
def test_every_program_has_a_module_with_locked_dependencies(program: build.Program) -> None:
    folder = build.SOURCES / program.module
    requires = "require" in (folder / "go.mod").read_text()
    assert (folder / "go.sum").exists() == requires


def test_the_pinned_go_is_new_enough_for_every_module() -> None:
    assert tools.version(tools.GO.version) >= tools.needed_go()


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        pytest.param("Types: deb\nURIs: http://m.test/debian\nSuites: bookworm", "http://m.test/debian", id="deb822"),
        pytest.param("deb http://m.test/debian/ bookworm main", "http://m.test/debian/", id="one line"),
        pytest.param("deb [signed-by=/k] https://m.test/a/debian bookworm", "https://m.test/a/debian", id="a path"),
        pytest.param("# deb http://m.test/debian bookworm", None, id="a comment is none"),
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
