"""What changes of a model behind routers cost its clients: requests without a pause, on the real cluster, meanwhile.

    .venv/bin/python tests/bench/soak.py                    20,000 requests through each change, about half an hour
    .venv/bin/python tests/bench/soak.py --requests 100000  as `make soak`
    .venv/bin/python tests/bench/soak.py --short ramp       one of them, in the form of CI

Lost is every answer that is not 200, counted by the client, which never asks again; half of the requests come by a
connection of their own. The model never fails. Needs the cluster and the operator of `make cluster images install`.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

import deployed
import models
from bench import arrivals
from bench.arrivals import Seen
from bench.load import post
from bench.scenarios.report import Report, percentile
from deployed import PLAIN_HTTP, SYSTEM, Pushed, model, until_ready
from kube import Kube, KubectlError, Object, conditions, wait_for
from tidegate_contract import labels
from tidegate_contract.router import AGENT_PORT
from tidegate_operator.core.router import NAME
from tidegate_server.offline.push import push

RATE, FRESH = 220.0, 0.5
"""Requests a second, and the share of them that come by a connection of their own."""
CONNECT_SECONDS = 5.0
"""To get a connection: on a busy machine a second without one does not tell that it is lost."""
SERVERS = f"{labels.COMPONENT}={labels.SERVER}"
OPERATORS = "app.kubernetes.io/name=tidegate-operator"
ROUTERS = f"{labels.COMPONENT}={labels.ROUTER}"
SERVER: Object = {"resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}}
"""Processors as by default: with less of them its pods would be the last ones on a busy node."""
APPROVAL: Object = {"approval": {}}
WEIGHTS = (1, 5, 25, 50)
STEPS: list[Object] = [step for weight in WEIGHTS for step in ({"weight": weight}, APPROVAL)]
ROWS = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [0.0]} for name in ("x", "y")]}
REQUEST = post("/v2/models/small/infer", json.dumps(ROWS).encode())
PATIENCE = 90.0


@dataclass
class Stage:
    """A namespace with one model behind routers, and what is done to it."""

    kube: Kube
    namespace: str
    versions: tuple[Pushed, Pushed]
    report: Report
    requests: int
    away_seconds: float
    """How long whoever is away stays away."""
    count: int = 0
    spec: Object = field(default_factory=dict)

    def apply(self, **spec: object) -> None:
        """The model, with these parts of its spec."""
        self.spec |= {"server": SERVER, "traffic": {"via": "Router"}, "scaling": {"replicas": 2}} | spec
        self.kube.apply(model(self.namespace, self.versions[0], **self.spec))

    def another(self, **rollout: object) -> None:
        """Another version is asked for, to be taken up in this way."""
        self.versions = self.versions[::-1]
        self.count += 1
        self.apply(rollout=rollout | {"retryToken": str(self.count), "bake": {"duration": "0s"}})

    def says(self, verb: str) -> None:
        """By the command line."""
        command = [str(Path(sys.executable).with_name("tidegate")), verb, "small", "-n", self.namespace]
        subprocess.run(command, check=True, capture_output=True)

    def model(self) -> Object:
        return self.kube.get("mdep", "small", self.namespace)

    def says_of_routers(self) -> tuple[str, str]:
        return conditions(self.model()).get("MetricsAvailable", ("", ""))

    def weight(self) -> int:
        return int(self.model()["status"].get("candidate", {}).get("weight", 0))

    def until_asked(self, weight: int) -> None:
        """Wait until a person has to approve this weight."""

        def asks() -> bool:
            progressing = conditions(self.model()).get("Progressing")
            return self.weight() == weight and progressing == ("False", "AwaitingApproval")

        wait_for(f"{weight} %, to be approved", asks, PATIENCE)

    def until_ready(self) -> None:
        until_ready(self.kube, self.namespace, seconds=PATIENCE)

    def pods(self, selector: str) -> list[Object]:
        return self.kube.items("pods", self.namespace, selector)

    def delete(self, pod: Object) -> None:
        self.kube.delete("pod", pod["metadata"]["name"], self.namespace, wait=False)


Change = Callable[[Stage], None]

# ---------------------------------------------------------------- what nobody may notice


def ramp(stage: Stage) -> None:
    """A candidate gets 1, 5, 25 and 50 of 100 requests."""
    stage.another(strategy="Canary", steps=STEPS)
    for weight in WEIGHTS:
        stage.until_asked(weight)
        if weight < 50:
            stage.says("approve")


def promotion(stage: Stage) -> None:
    """The candidate takes over, and the old version goes."""
    stage.says("promote")
    stage.until_ready()


def abort(stage: Stage) -> None:
    """A candidate with half of the requests is taken back."""
    stage.another(strategy="Canary", steps=[{"weight": 50}, APPROVAL])
    stage.until_asked(50)
    stage.says("abort")
    wait_for("its pods are gone", lambda: len(stage.pods(SERVERS)) == 2, PATIENCE)
    stage.versions = stage.versions[::-1]
    stage.apply(rollout={"retryToken": str(stage.count)})
    stage.until_ready()


def scale_in(stage: Stage) -> None:
    """From three pods to one, and back to two."""
    for replicas in (3, 1, 2):
        stage.apply(scaling={"replicas": replicas})
        stage.until_ready()


def blue_green(stage: Stage) -> None:
    """The other version stands beside in full and takes over all at once."""
    stage.another(strategy="BlueGreen")
    stage.until_asked(0)
    stage.says("approve")
    stage.until_ready()


def new_server(stage: Stage) -> None:
    """The same model in another server: another environment, as another image, makes another revision."""
    stage.count += 1
    template = {"env": [{"name": "RELEASE", "value": str(stage.count)}]}
    stage.apply(server=SERVER | {"template": template}, rollout={"strategy": "Immediate"})
    stage.until_ready()


def eviction_of_the_only_pod(stage: Stage) -> None:
    """Its requests wait for the next one."""
    stage.apply(scaling={"replicas": 1})
    wait_for("one pod", lambda: len(stage.pods(SERVERS)) == 1, PATIENCE)
    (pod,) = stage.pods(SERVERS)
    evict(stage, pod)
    wait_for("it is gone", lambda: pod["metadata"]["uid"] not in uids(stage.pods(SERVERS)), PATIENCE)
    stage.until_ready()
    stage.apply(scaling={"replicas": 2})
    stage.until_ready()


def router_upgrade(stage: Stage) -> None:
    """Both routers are replaced, one after the other."""
    stage.kube.run("rollout", "restart", f"deployment/{NAME}", "-n", stage.namespace)
    stage.kube.run("rollout", "status", f"deployment/{NAME}", "-n", stage.namespace, "--timeout=180s")
    until_two_routers(stage.kube, stage.namespace)


def end_of_a_router(stage: Stage) -> None:
    """SIGTERM."""
    stage.delete(stage.pods(ROUTERS)[0])
    until_two_routers(stage.kube, stage.namespace)


def kill_of_the_operator(stage: Stage) -> None:
    """SIGKILL, twice in the middle of a rollout."""
    stage.another(strategy="Canary", steps=[{"weight": 50}, APPROVAL])
    time.sleep(0.5)
    kill_operators(stage.kube)
    stage.until_asked(50)
    stage.says("promote")
    kill_operators(stage.kube)
    stage.until_ready()


def api_server_away(stage: Stage) -> None:
    """Nobody hears anything of the cluster, and the router's pods go on."""
    folder = Path(os.environ["CLUSTER_VOLUMES"]).parent
    (api,) = processes(lambda command, _: "kube-apiserver" in command[:2] and any(str(folder) in c for c in command))
    os.kill(api, signal.SIGSTOP)
    time.sleep(stage.away_seconds)
    os.kill(api, signal.SIGCONT)
    wait_for("the API server answers", lambda: answers(stage.kube), PATIENCE)
    stage.until_ready()


def operator_away(stage: Stage) -> None:
    """No operator is there while all pods of stable are replaced."""
    with no_operator(stage.kube):
        end = time.monotonic() + stage.away_seconds
        while time.monotonic() < end:
            replace_all(stage)
            time.sleep(min(10.0, max(0.0, end - time.monotonic())))
    stage.until_ready()


def routers_that_say_nothing(stage: Stage) -> None:
    """The operator is cut off from all routers: they go on, stable is served, and none of them is ended."""
    before = uids(stage.pods(ROUTERS))
    with cut_off(stage, [pod["status"]["podIP"] for pod in stage.pods(ROUTERS)]):
        wait_for("the model says so", lambda: stage.says_of_routers() == ("False", "RoutersSilent"), PATIENCE)
        time.sleep(stage.away_seconds)
        assert uids(stage.pods(ROUTERS)) == before, "a router was ended while none answered"
    wait_for("the model says so", lambda: stage.says_of_routers() == ("True", "AllAnswer"), PATIENCE)
    stage.until_ready()


def a_router_that_says_nothing(stage: Stage) -> None:
    """The operator is cut off from one router: it is replaced, and then none for five minutes."""
    known = uids(stage.pods(ROUTERS))
    silent, _ = stage.pods(ROUTERS)
    ended: set[str] = set()
    end = time.monotonic() + stage.away_seconds
    with cut_off(stage, [silent["status"]["podIP"]]):
        while time.monotonic() < end:
            there = uids(stage.pods(ROUTERS))
            ended |= known - there
            known |= there
            time.sleep(1)
    stage.report.figure("routers ended", f"{len(ended)} in {stage.away_seconds:.0f} s")
    assert len(ended) <= 1 + stage.away_seconds // 300, "two were ended within five minutes"
    until_two_routers(stage.kube, stage.namespace)
    stage.until_ready()


def move(stage: Stage) -> None:
    """From routers to Services and back."""
    stage.apply(traffic={"via": "Service"}, rollout={"retryToken": str(stage.count)})
    wait_for("there is no route", lambda: "route" not in stage.model()["status"], PATIENCE)
    stage.until_ready()
    stage.apply(traffic={"via": "Router"})
    wait_for("there is a route", lambda: "route" in stage.model()["status"], PATIENCE)
    stage.until_ready()


LOSSLESS: tuple[Change, ...] = (
    ramp,
    promotion,
    abort,
    blue_green,
    scale_in,
    new_server,
    eviction_of_the_only_pod,
    router_upgrade,
    end_of_a_router,
    kill_of_the_operator,
    operator_away,
    api_server_away,
    move,
    routers_that_say_nothing,
    a_router_that_says_nothing,
)

# ---------------------------------------------------------------- what costs something


def kill_of_a_router(stage: Stage) -> None:
    """SIGKILL of both its containers."""
    kill_pod(stage.pods(ROUTERS)[0])
    time.sleep(2)
    wait_for("both routers are ready", lambda: ready_routers(stage.pods(ROUTERS)) == 2, PATIENCE)


def kill_of_a_pod(stage: Stage) -> None:
    """SIGKILL of one serving pod of two."""
    kill_pod(stage.pods(SERVERS)[0])
    time.sleep(2)
    stage.until_ready()


COSTLY: tuple[Change, ...] = (kill_of_a_router, kill_of_a_pod)

# ---------------------------------------------------------------- means


@contextlib.contextmanager
def cut_off(stage: Stage, ips: list[str]) -> Iterator[None]:
    """Let no operator reach the agents at these addresses."""
    operators = ", ".join(pod["status"]["podIP"] for pod in stage.kube.items("pods", SYSTEM, OPERATORS))
    rule = f"ip saddr {{ {operators} }} ip daddr {{ {', '.join(ips)} }} tcp dport {AGENT_PORT} drop"
    in_cluster = ["nsenter", f"--net=/run/netns/{os.environ['CLUSTER_NAME']}", "nft"]
    table = f"table inet soak {{ chain c {{ type filter hook forward priority 0; {rule}; }}; }}"
    subprocess.run([*in_cluster, table], check=True)
    try:
        yield
    finally:
        subprocess.run([*in_cluster, "delete table inet soak"], check=True)


def evict(stage: Stage, pod: Object) -> None:
    metadata = {"name": pod["metadata"]["name"], "namespace": stage.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{stage.namespace}/pods/{metadata['name']}/eviction"
    stage.kube.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def replace_all(stage: Stage) -> None:
    """All serving pods at once."""
    old = stage.pods(SERVERS)
    for pod in old:
        stage.delete(pod)
    wait_for("they are gone", lambda: not uids(old) & uids(stage.pods(SERVERS)), PATIENCE)


def uids(pods: list[Object]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


def ready_routers(pods: list[Object]) -> int:
    return sum(holds(pod, "Ready") for pod in pods)


def holds(pod: Object, type: str) -> bool:
    return any(c["type"] == type and c["status"] == "True" for c in pod["status"].get("conditions", []))


def until_two_routers(kube: Kube, namespace: str) -> None:
    def stand() -> bool:
        pods = kube.items("pods", namespace, ROUTERS)
        return ready_routers(pods) == len(pods) == 2

    wait_for("two routers", stand, 120)


def answers(kube: Kube) -> bool:
    try:
        return "ok" in kube.run("get", "--raw", "/readyz", "--request-timeout=2s")
    except KubectlError:
        return False


def processes(meant: Callable[[list[str], str], bool]) -> list[int]:
    """Those of this machine, by their command and their cgroups."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if command[0] and meant(command, (folder / "cgroup").read_text()):
                found.append(int(folder.name))
    return found


def kill_pod(pod: Object) -> None:
    """Every process of its containers, but for the one that holds its network."""
    uid = pod["metadata"]["uid"]
    found = processes(lambda command, groups: uid in groups and "pause" not in command[0])
    assert found, f"pod {pod['metadata']['name']} has no process here"
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def kill_operators(kube: Kube) -> None:
    pods = kube.items("pods", SYSTEM, OPERATORS)
    assert pods, "there is no operator"
    for pod in pods:
        kill_pod(pod)


@contextlib.contextmanager
def no_operator(kube: Kube) -> Iterator[None]:
    replicas = kube.get("deployment", "tidegate-operator", SYSTEM)["spec"]["replicas"]
    scale_operator(kube, 0)
    wait_for("no operator", lambda: not kube.items("pods", SYSTEM, OPERATORS), 60)
    try:
        yield
    finally:
        scale_operator(kube, replicas)


def scale_operator(kube: Kube, replicas: int) -> None:
    kube.run("scale", "deployment/tidegate-operator", "-n", SYSTEM, f"--replicas={replicas}")
    kube.run("rollout", "status", "deployment/tidegate-operator", "-n", SYSTEM, "--timeout=120s")


class Load:
    """Clients of the model's Service, from the begin of the context until so many requests were asked, at least."""

    def __init__(self, ip: str, requests: int, rate: float = RATE) -> None:
        self._ip = ip
        self._rate = rate
        self._seconds = 1.05 * requests / rate  # they come at random moments
        self.seen: list[Seen] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        """A load whose change takes longer goes on in further rounds."""
        seconds = self._seconds
        while True:
            options = {"rate": self._rate, "fresh": FRESH, "seconds": seconds, "patience": CONNECT_SECONDS}
            flags = [f"--{name}={value}" for name, value in options.items()]
            argv = [sys.executable, arrivals.__file__, self._ip, "80", *flags]
            out = subprocess.run(argv, input=REQUEST, stdout=subprocess.PIPE, check=True).stdout
            self.seen.append(Seen(**json.loads(out)))
            if self._over.is_set():
                return
            seconds = 10.0

    def __enter__(self) -> "Load":
        self._thread.start()
        time.sleep(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def asked(self) -> int:
        return sum(seen.asked for seen in self.seen)

    @property
    def lost(self) -> Counter[str]:
        return Counter(why for seen in self.seen for _, _, why in seen.lost)

    def when(self, began: float) -> str:
        """When requests that were lost were asked: the first and the last."""
        due = sorted(due - began for seen in self.seen for due, _, _ in seen.lost)
        return f"{due[0]:.2f} to {due[-1]:.2f}" if due else ""

    @property
    def took(self) -> list[float]:
        return [took for seen in self.seen for took in seen.took]


def run(change: Change, stage: Stage) -> Load:
    """One change under load."""
    stage.report.scenario = change.__name__
    began = time.monotonic()
    ip = stage.kube.get("service", "small", stage.namespace)["spec"]["clusterIP"]
    # Six pods start at once when a model moves: on two processors half a second can pass meanwhile in which nobody
    # answers, and at the full rate that fills the queues of two pods.
    with Load(ip, stage.requests, RATE / 2 if change is move else RATE) as load:
        change(stage)
        took = time.monotonic() - began
    slowest, p99 = max(load.took, default=0.0), percentile(load.took or [0.0], 0.99)
    stage.report.figure("it took; p99 and slowest answer", f"{took:.0f} s; {p99 * 1e3:.0f} ms; {slowest * 1e3:.0f} ms")
    lost = ", ".join(f"{count} {why}" for why, count in load.lost.most_common()) or "none"
    if load.lost:
        stage.report.figure("when, in seconds since it began", load.when(began))
    said = f"{load.lost.total()} of {load.asked} ({lost})"
    if change in COSTLY:
        stage.report.figure("requests lost", said)
    else:
        stage.report.bar("requests lost", said, "0", passed=not load.lost)
    return load


@contextlib.contextmanager
def staged(kube: Kube, registry: str, report: Report, requests: int, away_seconds: float) -> Iterator[Stage]:
    """A model that serves through routers, in a namespace of its own."""
    namespace = f"soak-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        first, second = (
            pushed(registry, name, models.bundle(Path(folder) / name, threshold))
            for name, threshold in (("soak-a", 0.1), ("soak-b", 0.7))
        )
    deployed.space(kube, namespace)
    try:
        stage = Stage(kube, namespace, (first, second), report, requests, away_seconds)
        stage.apply(rollout={"strategy": "Immediate"})
        stage.until_ready()
        until_two_routers(stage.kube, stage.namespace)
        yield stage
    finally:
        kube.delete("namespace", namespace, wait=False)


def pushed(registry: str, name: str, bundle: models.Bundle) -> Pushed:
    sent = push(bundle.directory, f"{registry}/tests/{name}:1", plain_http=PLAIN_HTTP)
    return Pushed(sent.uri, sent.bundle_digest, bundle)


def main() -> int:
    names = {change.__name__: change for change in (*LOSSLESS, *COSTLY)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="CHANGE", help=f"of {', '.join(names)}; all of them by default")
    parser.add_argument("--requests", type=int, default=20_000, help="through each change, at least")
    parser.add_argument("--away", type=float, default=60.0, metavar="SECONDS", help="of the API server, the operator")
    parser.add_argument("--short", action="store_true", help="2,000 requests, 15 seconds")
    options = parser.parse_args()
    if unknown := set(options.changes) - names.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    requests, away = (2_000, 15.0) if options.short else (options.requests, options.away)
    report = Report(short=options.short)
    with staged(Kube(), os.environ["CLUSTER_REGISTRY"], report, requests, away) as stage:
        for name in options.changes or names:
            run(names[name], stage)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
