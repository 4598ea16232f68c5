"""What `up` and `down` do, in order.

`up` is one path from every state: healthy (return), being started by another (wait), dead or half-made (clear, then
from nothing).
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

from . import base, build, certs, cgroups, config, network, oci, preflight, slots, teardown, tools
from .api import Api, dns_objects, metrics_objects
from .layout import FIXED_FOLDERS, REGISTRY_PASSWORD, REGISTRY_USER, Cache, Slot
from .shell import locked, run, stop_all, tail_of, write_atomically
from .steps import ClusterError, Steps
from .supervisor import answers

CHECKOUT = Path(__file__).resolve().parents[2]
START_LIMIT = 120.0
RECOVERY_LIMIT = 60.0


def prepare(cache: Cache, steps: Steps) -> None:
    """Everything that a cluster needs, installed and built; what waits for the network runs beside what computes."""
    building = not all(build.is_built(cache, program) for program in build.ALL)
    preflight.check_disk(cache, building=building)
    if not tools.missing_packages():
        preflight.check_kernel()  # before the long builds, where that is possible
    for folder in (cache.bin, cache.locks, cache.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=3) as pool:
        jobs: list[Future[None]] = [pool.submit(_packages_and_base, cache, steps)]
        try:
            if building:
                go = tools.install_go(cache, steps)
                jobs.append(pool.submit(_build_all, cache, build.FIRST, go, steps, False))
                jobs.append(pool.submit(_build_all, cache, build.BESIDE, go, steps, True))
            tools.install_kubectl(cache, steps)
            tools.install_envoy(cache, steps)
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()
        except BaseException:
            stop_all()  # or the pool would wait for builds that nobody wants any more
            raise


def _packages_and_base(cache: Cache, steps: Steps) -> None:
    tools.install_packages(cache, steps)
    base.build(cache, steps)


def _build_all(cache: Cache, programs: tuple[build.Program, ...], go: Path, steps: Steps, aside: bool) -> None:
    for program in programs:
        build.build(cache, program, go, steps, aside=aside)


def build_base(cache: Cache, steps: Steps) -> None:
    """The base image alone, for what builds images beside the programs."""
    for folder in (cache.locks, cache.logs):
        folder.mkdir(parents=True, exist_ok=True)
    _packages_and_base(cache, steps)


def programs(cache: Cache) -> config.Programs:
    return tools.programs(
        cache,
        kube=build.folder(cache, build.KUBE) / "kube",
        containerd=build.folder(cache, build.CONTAINERD_PROGRAM) / "containerd",
        coredns=build.folder(cache, build.COREDNS) / "coredns",
        metrics=build.folder(cache, build.METRICS) / "metrics-server",
    )


def is_started(slot: Slot) -> bool:
    """Started to the end (the mark), and its init alive."""
    return _mark(slot).exists() and cgroups.processes(slot.name) != set()


def is_healthy(slot: Slot) -> bool:
    """Started, and the API server and the node are ready."""
    if not is_started(slot):
        return False
    api = Api(slot, timeout=2)
    return api.ready() and _node_ready(api, slot)


def _recovers(slot: Slot, steps: Steps) -> bool:
    """Whether a started cluster is ready, or gets there: a busy machine is no reason to throw its objects away."""
    if not is_started(slot):
        return False
    if is_healthy(slot):
        return True
    with steps.step(f"wait for {slot.name}, which runs but is not ready"):
        deadline = time.monotonic() + RECOVERY_LIMIT
        while is_started(slot) and time.monotonic() < deadline:
            if is_healthy(slot):
                return True
            time.sleep(0.5)
    return False


def up(cache: Cache, steps: Steps) -> Slot:
    begin = time.monotonic()
    preflight.check_folder(CHECKOUT)
    slot = slots.find(CHECKOUT)
    if slot and _recovers(slot, steps):
        write_tools(slot, cache)
        steps.say(f"The cluster of this checkout ({slot.name}) is running. {_age(slot, cache)}".rstrip())
        return slot
    prepare(cache, steps)
    preflight.check_kernel()
    slot, orphans = slots.claim(CHECKOUT)
    for orphan in orphans:
        with locked(_lock(orphan)), steps.step(f"clear {orphan.name}, whose checkout is gone"):
            teardown.clear(orphan)
            slots.release(orphan)
    with locked(_lock(slot)):
        if not _recovers(slot, steps):
            _start(slot, cache, steps)
    steps.say(f"Kubernetes {build.KUBERNETES} is up as {slot.name} in {time.monotonic() - begin:.1f} s.")
    steps.say(f"  KUBECONFIG={slot.kubeconfig}   programs in {slot.bin}   logs in {slot.logs}")
    return slot


def _start(slot: Slot, cache: Cache, steps: Steps) -> None:
    if teardown.leftovers(slot):
        with steps.step("clear what an earlier cluster left"):
            teardown.clear(slot)
    with steps.step("make certificates, configuration and network"):
        _lay_out(slot, cache)
    init = _spawn(slot)
    api = Api(slot)
    with steps.step("etcd, containerd and the registries answer"):
        targets = (f"unix:{slot.containerd_socket}", f"tcp:{slot.registry}", f"tcp:{slot.private_registry}")
        _await(slot, init, "containerd", lambda: all(answers(target, slot.pki / "ca.crt") for target in targets))
        images_import(slot, cache, [pause_archive(cache)])
    with steps.step("the API server is ready"):
        _await(slot, init, "kube-apiserver", api.ready)
    with steps.step("the node is ready"):
        _await(slot, init, "kube-apiserver", lambda: _applied(api, slot))
        _await(slot, init, "kubelet", lambda: _node_ready(api, slot))
    with steps.step("pods can be made (default service account)"):
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        _await(slot, init, "kube-controller-manager", lambda: _status(api, path) == 200)
    # An API that is announced and does not answer breaks what lists all of them: helm, the end of a namespace.
    with steps.step("the metrics API answers"):
        _await(slot, init, "metrics-server", lambda: _status(api, "/apis/metrics.k8s.io/v1beta1") == 200)
    write_atomically(_mark(slot), _fingerprint(cache))


def _lay_out(slot: Slot, cache: Cache) -> None:
    """Files, namespace, cgroups: all that the init finds there."""
    found = programs(cache)
    for folder in (slot.state, slot.run, slot.config, slot.volumes, slot.local, slot.logs, slot.state / "mounts"):
        folder.mkdir(parents=True, exist_ok=True)
    slot.volumes.chmod(0o777)
    for folder in FIXED_FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
    for log in slot.logs.glob("*.log"):
        log.replace(log.with_suffix(".log.before"))
    for audit in slot.local.glob("audit*.log"):
        audit.unlink()
    certs.make(slot)
    certs.write_kubeconfigs(slot)
    for path, text in config.files(slot, found).items():
        write_atomically(path, text)
    spec = {
        "components": [asdict(component) for component in config.components(slot, found)],
        "environment": config.component_environment(slot, found),
    }
    write_atomically(slot.config / "components.json", json.dumps(spec, indent=1))
    write_tools(slot, cache)
    cgroups.create(slot.name)
    network.create(slot)


def install_clients(cache: Cache, steps: Steps) -> None:
    """kubectl and helm alone: what a reader with a cluster of their own needs. Wants no root."""
    links = CHECKOUT / ".cluster" / "bin"
    if platform.system() != "Linux":
        link_clients(links, tools.find_clients(links))
        return
    for folder in (cache.bin, cache.locks, cache.logs):
        folder.mkdir(parents=True, exist_ok=True)
    tools.install_kubectl(cache, steps)
    tools.install_envoy(cache, steps)
    if not build.is_built(cache, build.HELM_PROGRAM):
        build.build(cache, build.HELM_PROGRAM, tools.install_go(cache, steps), steps)
    link_clients(links, built_clients(cache))


def built_clients(cache: Cache) -> dict[str, Path]:
    helm = build.folder(cache, build.HELM_PROGRAM) / "helm"
    return {"kubectl": tools.kubectl_program(cache), "helm": helm}


def link_clients(folder: Path, clients: Mapping[str, Path]) -> None:
    """kubectl and helm for the checkout's owner."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in clients.items():
        link = folder / name
        if not link.is_symlink() or link.readlink() != program:
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.symlink_to(program)
            temporary.replace(link)


def write_tools(slot: Slot, cache: Cache) -> None:
    """kubectl, helm, and a ctr that knows its socket."""
    link_clients(slot.bin, built_clients(cache))
    ctr = build.folder(cache, build.CONTAINERD_PROGRAM) / "ctr"
    text = f'#!/bin/sh\nexec {ctr} --address {slot.containerd_socket} --namespace k8s.io "$@"\n'
    if not (slot.bin / "ctr").exists() or (slot.bin / "ctr").read_text() != text:
        write_atomically(slot.bin / "ctr", text, 0o755)


def _spawn(slot: Slot) -> subprocess.Popen[bytes]:
    """Start the init, detached from this terminal, in the slot's namespaces."""
    command: list[str | Path] = ["nsenter", f"--net={network.namespace(slot)}", "unshare", "--mount", "--pid", "--fork"]
    command += [
        "--mount-proc",
        "--kill-child",
        "--",
        sys.executable,
        "-m",
        "cluster",
        "init",
        "--slot",
        str(slot.number),
    ]
    env = {"PATH": tools.search_path(), "PYTHONPATH": str(CHECKOUT / "tests"), "LANG": "C.UTF-8", "HOME": "/"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    with (slot.logs / "init.log").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=CHECKOUT, start_new_session=True
        )


def _await(slot: Slot, init: subprocess.Popen[bytes], component: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not ready():
        if init.poll() is not None:
            raise ClusterError(f"The cluster's init ended. {tail_of(slot.logs / 'init.log')}")
        if time.monotonic() > deadline:
            log = slot.logs / f"{component}.log"
            shown = tail_of(log if log.exists() else slot.logs / "init.log")
            raise ClusterError(f"{component} was not ready within {START_LIMIT:.0f} s. {shown}")
        time.sleep(0.05)


def _status(api: Api, path: str) -> int:
    try:
        return api.call("GET", path)[0]
    except (OSError, http.client.HTTPException):
        return 0


def _node_ready(api: Api, slot: Slot) -> bool:
    try:
        status, node = api.call("GET", f"/api/v1/nodes/{slot.name}")
    except (OSError, http.client.HTTPException):
        return False
    conditions = node["status"].get("conditions", []) if status == 200 else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _applied(api: Api, slot: Slot) -> bool:
    """The namespace kube-system appears a moment after the API server is ready."""
    ca = (slot.pki / "ca.crt").read_bytes()
    try:
        for path, document in (dns_objects(slot) | metrics_objects(slot, ca)).items():
            api.apply(path, document)
    except (OSError, http.client.HTTPException):
        return False
    return True


def pause_archive(cache: Cache) -> Path:
    program = build.folder(cache, build.PAUSE) / "pause"
    archive = program.with_name("pause.tar")
    if not archive.exists():
        oci.write_archive(archive, config.PAUSE_IMAGE, program)
    return archive


def images_import(slot: Slot, cache: Cache, archives: list[Path]) -> None:
    """Give images, as OCI archives, to the node."""
    ctr = build.folder(cache, build.CONTAINERD_PROGRAM) / "ctr"
    for archive in archives:
        run([ctr, "--address", slot.containerd_socket, "--namespace", "k8s.io", "images", "import", archive])


def down(steps: Steps) -> None:
    slot = slots.find(CHECKOUT)
    if not slot:
        steps.say("This checkout has no cluster.")
        return
    with locked(_lock(slot)), steps.step(f"end {slot.name}"):
        teardown.clear(slot)
        teardown.free(slot)


def current_slot() -> Slot:
    slot = slots.find(CHECKOUT)
    if not slot:
        raise ClusterError("This checkout has no cluster; run `make cluster`.")
    if not is_started(slot):
        raise ClusterError(f"The cluster of this checkout ({slot.name}) does not run; run `make cluster`.")
    return slot


def environment(slot: Slot, cache: Cache) -> dict[str, str]:
    """What the Makefile and the tests need to know."""
    return {
        "KUBECONFIG": str(slot.kubeconfig),
        "CLUSTER_BIN": str(slot.bin),
        "CLUSTER_NAME": slot.name,
        "CLUSTER_REGISTRY": slot.registry,
        "CLUSTER_PRIVATE_REGISTRY": slot.private_registry,
        "CLUSTER_PRIVATE_REGISTRY_USER": REGISTRY_USER,
        "CLUSTER_PRIVATE_REGISTRY_PASSWORD": REGISTRY_PASSWORD,
        "CLUSTER_VOLUMES": str(slot.volumes),
        "NODE_IP": str(slot.node_ip),
        "HOST_IP": str(slot.host_ip),
        "AUDIT_LOG": str(slot.audit_log),
    }


def build_environment(cache: Cache) -> dict[str, str]:
    """What building images needs; there without a cluster."""
    return {"TIDEGATE_CACHE": str(cache.root), "BASE_IMAGE": base.image(), **base.environment(cache)}


def _mark(slot: Slot) -> Path:
    return slot.run / "started"


def _lock(slot: Slot) -> Path:
    return slot.run.parent / "locks" / str(slot.number)


def _fingerprint(cache: Cache) -> str:
    return " ".join(build.folder(cache, program).name for program in build.ALL)


def _age(slot: Slot, cache: Cache) -> str:
    if _mark(slot).read_text() == _fingerprint(cache):
        return ""
    return "It runs programs of an earlier state of this checkout; `make cluster-down cluster` takes the new ones."
