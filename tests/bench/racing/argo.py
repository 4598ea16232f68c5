"""Argo Rollouts with Prometheus, as processes of this machine beside the cluster's API server.

Its pods are Tidegate's: the same template, without what belongs to Tidegate's own data plane. Its traffic router is the
one for SMI, which only writes a TrafficSplit; the clients of the race follow that object and are the mesh.
"""

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import deployed
from bench.racing.clients import Clients, Side
from bench.racing.settings import SETTINGS
from bench.racing.watching import Watch
from bench.soak import PATIENCE
from cluster import build, tools
from cluster.layout import Cache
from cluster.shell import run
from cluster.steps import Steps
from kube import Kube, Object, wait_for

NAME = "small"
STABLE, CANARY = f"{NAME}-stable", f"{NAME}-canary"
PORT = 8080
SETTLE = "10s"
"""From the canary's pods being there to its first request: by then Prometheus has found them."""
HELD = "45m"
"""At a weight of 5, longer than any limit of a race."""
ARGO_MODULE = "github.com/argoproj/argo-rollouts"
OWN_LABELS = "models.tidegate.dev/"
TRAFFIC_SPLITS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "trafficsplits.split.smi-spec.io"},
    "spec": {
        "group": "split.smi-spec.io",
        "scope": "Namespaced",
        "names": {"kind": "TrafficSplit", "plural": "trafficsplits", "singular": "trafficsplit"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def scraped(namespace: str, kubeconfig: str) -> Object:
    """Prometheus' settings: the pods of a namespace, each second, by the hash of their template."""
    relabel = [
        {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "metrics", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_label_rollouts_pod_template_hash"], "target_label": "hash"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
    pods = {"role": "pod", "kubeconfig_file": kubeconfig, "namespaces": {"names": [namespace]}}
    job = {"job_name": "pods", "kubernetes_sd_configs": [pods], "relabel_configs": relabel}
    return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}


def template_of(deployment: Object, revision: str, **env: object) -> Object:
    """The pods of a Deployment that Tidegate made, for another version of the model and another controller."""
    template: Object = copy.deepcopy(deployment["spec"]["template"])
    labels = template["metadata"]["labels"]
    template["metadata"]["labels"] = {"app": NAME} | {k: v for k, v in labels.items() if not k.startswith(OWN_LABELS)}
    spec = template["spec"]
    for name in ("serviceAccount", "serviceAccountName"):  # it has no rights, and is made in that namespace alone
        spec.pop(name, None)
    for constraint in spec.get("topologySpreadConstraints", []):
        constraint["labelSelector"] = {"matchLabels": {"app": NAME}}
    (server,) = spec["containers"]
    said = {"TIDEGATE_REVISION": revision} | {name: str(value) for name, value in env.items()}
    kept = [entry for entry in server["env"] if entry["name"] not in said]
    server["env"] = [*kept, *({"name": name, "value": value} for name, value in said.items())]
    return template


def rollout(template: Object, replicas: int, settings: str) -> Object:
    steps: list[Object] = [
        {"setCanaryScale": {"replicas": replicas}},
        {"pause": {"duration": SETTLE}},
        {"setWeight": 5},
        {"pause": {"duration": HELD}},
        {"setWeight": 50},
        {"pause": {"duration": HELD}},
    ]
    analysis: Object = {
        "templates": [{"templateName": settings}],
        "startingStep": 2,  # where the canary gets its weight
        "args": [
            {"name": "canary", "valueFrom": {"podTemplateHashValue": "Latest"}},
            {"name": "stable", "valueFrom": {"podTemplateHashValue": "Stable"}},
        ],
    }
    canary = {
        "canaryService": CANARY,
        "stableService": STABLE,
        "trafficRouting": {"smi": {}},
        "abortScaleDownDelaySeconds": 2,
        "analysis": analysis,
        "steps": steps,
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": {"app": NAME}},
            "template": template,
            "strategy": {"canary": canary},
        },
    }


@dataclass
class Split:
    """The weights of the TrafficSplit and the addresses of its Services, as they were last seen."""

    clients: Clients | None = None
    weights: dict[str, float] = field(default_factory=dict)
    addresses: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    withdrawn: float | None = None
    """When the canary's weight went from something to nothing."""

    @property
    def sides(self) -> list[Side]:
        return [(weight, self.addresses.get(service, [])) for service, weight in self.weights.items()]

    def saw_weights(self, line: str) -> None:
        before = self.weights.get(CANARY, 0.0)
        self.weights = {backend["service"]: float(backend["weight"]) for backend in json.loads(line)}
        if before and not self.weights[CANARY]:
            self.withdrawn = time.monotonic()
        self._tell()

    def saw_addresses(self, line: str) -> None:
        service, _, told = line.partition(" ")
        found = json.loads(told) if told.strip() else []
        ready = [endpoint for endpoint in found or [] if endpoint["conditions"].get("ready")]
        self.addresses[service] = [(address, PORT) for endpoint in ready for address in endpoint["addresses"]]
        self._tell()

    def _tell(self) -> None:
        if self.clients and self.weights and self.addresses.get(STABLE):
            self.clients.ask(self.sides)


class Argo:
    """Its namespace, in which a stable version serves; and one release after another."""

    def __init__(self, kube: Kube, namespace: str, deployment: Object) -> None:
        self._kube, self._namespace, self._deployment = kube, namespace, deployment
        self._replicas: int = deployment["spec"]["replicas"]
        (server,) = deployment["spec"]["template"]["spec"]["containers"]
        env = {entry["name"]: entry.get("value", "") for entry in server["env"]}
        self._stable = template_of(deployment, f"{env['TIDEGATE_REVISION']}")
        self._split = Split()

    def set_up(self, prometheus: str) -> None:
        services = [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": PORT}]},
            }
            for name in (STABLE, CANARY)
        ]
        deployed.space(self._kube, self._namespace)
        self._apply(*services, *(settings.template(name, prometheus) for name, settings in SETTINGS.items()))
        self.reset()

    def reset(self) -> None:
        """Stable alone."""
        self._apply(rollout(self._stable, self._replicas, "docs"))

        def alone() -> bool:
            found = self._kube.get("rollouts.argoproj.io", NAME, self._namespace)
            status = found.get("status", {})
            return (
                status.get("observedGeneration") == str(found["metadata"]["generation"])
                and status.get("phase") == "Healthy"
                and len(self._kube.items("pods", self._namespace)) == self._replicas
            )

        wait_for("Argo's stable version alone", alone, PATIENCE)

    @contextlib.contextmanager
    def followed(self, clients: Clients) -> Iterator[None]:
        """The clients are its mesh."""
        self._split = split = Split(clients)
        services = "{.metadata.labels.kubernetes\\.io/service-name} {.endpoints}"
        with (
            Watch(self._namespace, ["trafficsplits.split.smi-spec.io", NAME], "{.spec.backends}", split.saw_weights),
            Watch(self._namespace, ["endpointslices"], services, split.saw_addresses),
        ):
            yield

    def release(self, system: str, fails: float) -> str:
        """Ask for a version of which this share of the answers fails; its revision."""
        revision = uuid.uuid4().hex[:8]
        self._apply(rollout(template_of(self._deployment, revision, FAILS=fails), self._replicas, system))
        return revision

    @property
    def withdrawn(self) -> float | None:
        return self._split.withdrawn

    @property
    def over(self) -> bool:
        return self.withdrawn is not None

    @property
    def why(self) -> str:
        status = self._kube.get("rollouts.argoproj.io", NAME, self._namespace)["status"]
        return str(status.get("message", "")) if status.get("abort") else ""

    def _apply(self, *objects: Object) -> None:
        for each in objects:
            each["metadata"]["namespace"] = self._namespace
        self._kube.apply(*objects)


def built() -> tuple[Path, Path]:
    """The controller and Prometheus, built if they are not there."""
    cache, steps = Cache.from_environment(os.environ), Steps()
    if not all(build.is_built(cache, program) for program in build.RIVALS):
        go = tools.install_go(cache, steps)
        for program in build.RIVALS:
            build.build(cache, program, go, steps)
    controller, prometheus = (build.folder(cache, program) / program.programs[0] for program in build.RIVALS)
    return controller, prometheus


def definitions() -> Path:
    """The folder of its CRDs, from the module that it is built from."""
    go = tools.install_go(Cache.from_environment(os.environ), Steps())
    said = run([go, "mod", "download", "-json", ARGO_MODULE], cwd=build.SOURCES / build.ARGO.module)
    return Path(json.loads(said)["Dir"]) / "manifests/crds"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(log: Path, *argv: str | Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen([str(part) for part in argv], stdout=out, stderr=subprocess.STDOUT)
        try:
            yield
        except BaseException:
            print(f"the end of {log.name}:", *log.read_text().splitlines()[-8:], sep="\n", file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def standing(kube: Kube, namespace: str, deployment: Object, folder: Path) -> Iterator[Argo]:
    """Its definitions, its processes and its stable version, until the context ends."""
    controller, prometheus = built()
    crds = definitions()
    brought = not kube.find("crd", "rollouts.argoproj.io")
    kube.run("apply", "--server-side", "-k", str(crds))
    kube.apply(TRAFFIC_SPLITS)
    kubeconfig = os.environ["KUBECONFIG"]
    settings, port = folder / "prometheus.yml", _free_port()
    settings.write_text(json.dumps(scraped(namespace, kubeconfig)))  # JSON is YAML
    address = f"http://127.0.0.1:{port}"
    asked = [
        f"--config.file={settings}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    asked += ["--scrape.discovery-reload-interval=1s", "--log.level=warn"]
    ports = [f"--metricsPort={_free_port()}", f"--healthzPort={_free_port()}"]
    flags = [f"--kubeconfig={kubeconfig}", "--namespaced", f"--namespace={namespace}", "--leader-elect=false", *ports]
    deployed.space(kube, namespace)
    try:
        with (
            _process(folder / "prometheus.log", prometheus, *asked),
            _process(folder / "controller.log", controller, *flags),
        ):
            wait_for("Prometheus", lambda: _answers(f"{address}/-/ready"), PATIENCE)
            argo = Argo(kube, namespace, deployment)
            argo.set_up(address)
            yield argo
            kube.delete("rollouts.argoproj.io", NAME, namespace)
    finally:
        kube.delete("namespace", namespace, wait=False)
        if brought:
            kube.run("delete", "-k", str(crds), "--ignore-not-found", "--wait=false")
            kube.delete("crd", TRAFFIC_SPLITS["metadata"]["name"], wait=False)
