"""The example from training to a rollout that is rejected, on a cluster that has Tidegate: `make demo` ends with it.

Trains, packs, pushes, applies, waits, predicts; then lets other versions take over (story.py). Every step says what it
is and how long it took, and runs the command that you would run by hand. Needs kubectl on the PATH, and $KUBECONFIG if
it is not where kubectl looks.
"""

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flights_data as data
import pandas as pd
import predict
import story
from steps import NAME, DemoError, Place, pack, push, run, step, tidegate

HERE = Path(__file__).resolve().parent
NAMESPACE = "ml"
TAG = "2013-02"

PLACEHOLDER_URI = f"oci://REGISTRY/{NAME}:{TAG}"
PLACEHOLDER_DIGEST = "sha256:" + "0" * 64

PLACEHOLDER_NAMESPACE = f"namespace: {NAMESPACE}\n"
PLACEHOLDER_NAMESPACE_NAME = f"name: {NAMESPACE}\n"

LOOK_SECONDS = 0.5

ANOTHER = {
    "spec": {
        "rollout": {
            "strategy": "Canary",
            "steps": [{"weight": 5}, {"approval": {}}, {"weight": 50}, {"approval": {}}],
            "bake": {"duration": "1m"},
        },
        "server": {"template": {"env": [{"name": "RELEASE", "value": "2"}]}},
    }
}
"""The same bytes in another environment are another version."""

NEXT = f"""
What to try next, with KUBECONFIG={{kubeconfig}}

  # in words, as it changes; what was decided, and why; at a glance; conditions and Events
  {{tidegate}} status {NAME} -n {{namespace}} -w
  {{tidegate}} history {NAME} -n {{namespace}}
  kubectl get mdep -n {{namespace}}
  kubectl describe mdep {NAME} -n {{namespace}}

  # it comes back
  kubectl delete deployment -l models.tidegate.dev/model={NAME} -n {{namespace}}

  # ask it; the second one in another terminal
  kubectl port-forward -n {{namespace}} svc/{NAME} 8080:80
  {{python}} {{here}}/predict.py --count 40

Another version, by hand: it gets 5 of 100 requests, 50 when somebody approves, and then all.

  kubectl patch mdep {NAME} -n {{namespace}} --type merge -p '{{another}}'
  {{tidegate}} status {NAME} -n {{namespace}}
  {{tidegate}} approve {NAME} -n {{namespace}}
  {{tidegate}} promote {NAME} -n {{namespace}}

A digest that is not the bundle's: the new pod refuses it, the old ones go on answering. Then the right one again.

  kubectl patch mdep {NAME} -n {{namespace}} --type merge -p '{{wrong}}'
  kubectl get mdep {NAME} -n {{namespace}} -w
  kubectl patch mdep {NAME} -n {{namespace}} --type merge -p '{{right}}'
"""


def model_path(namespace: str) -> str:
    """Where the API server has the object."""
    return f"/apis/models.tidegate.dev/v1alpha1/namespaces/{namespace}/modeldeployments/{NAME}"


def service_path(namespace: str) -> str:
    """Where the API server leads to the model."""
    return f"/api/v1/namespaces/{namespace}/services/{NAME}:80/proxy"


def filled(file: str, values: dict[str, str]) -> str:
    """One of the example's YAML files, with each placeholder replaced by its value."""
    text = (HERE / file).read_text()
    for placeholder, value in values.items():
        if text.count(placeholder) != 1:
            raise DemoError(f"{file} should hold {placeholder.strip()} once")
        text = text.replace(placeholder, value)
    return text


def manifests(uri: str, digest: str, namespace: str) -> dict[str, str]:
    """The files to apply, in their order: name and content."""
    model = {
        PLACEHOLDER_URI: uri,
        PLACEHOLDER_DIGEST: digest,
        PLACEHOLDER_NAMESPACE: f"namespace: {namespace}\n",
    }
    return {
        "namespace.yaml": filled("namespace.yaml", {PLACEHOLDER_NAMESPACE_NAME: f"name: {namespace}\n"}),
        "flights.yaml": filled("flights.yaml", model),
    }


@dataclass(frozen=True, slots=True)
class State:
    """What the object says about itself at one moment."""

    conditions: tuple[tuple[str, str], ...] = ()
    """Type, and the rest of the condition as one line."""
    done: bool = False
    """It is ready, and what serves is what was asked for."""


def state(document: dict[str, Any]) -> State:
    """The part of a ModelDeployment that the demo waits for and shows."""
    status: dict[str, Any] = document.get("status", {})
    conditions: list[dict[str, Any]] = status.get("conditions", [])
    generation = document["metadata"]["generation"]
    ready = any(
        c["type"] == "Ready" and c["status"] == "True" and c["observedGeneration"] == generation for c in conditions
    )
    revision = status.get("revision")
    return State(
        conditions=tuple((c["type"], _sentence(c)) for c in conditions),
        done=ready and revision is not None and status.get("stable", {}).get("revision") == revision,
    )


def _sentence(condition: dict[str, Any]) -> str:
    line = f"{condition['type']}={condition['status']} {condition['reason']}"
    return f"{line}: {condition['message']}" if condition.get("message") else line


def news(before: State, after: State) -> list[str]:
    """The conditions that are new or say something else now."""
    known = dict(before.conditions)
    return [line for kind, line in after.conditions if known.get(kind) != line]


@contextlib.contextmanager
def api_server() -> Iterator[str]:
    """The address of `kubectl proxy`, which runs while the context is open.

    It leads to the object and, through the API server, to the model's Service. A port-forward would
    not do: it needs a pod that runs already, and ends with it.
    """
    process = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        _, found, address = line.strip().rpartition(" ")
        if not found:
            raise DemoError("kubectl proxy did not start: is there a cluster behind this kubeconfig?")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def first_answer(client: predict.Client, one: pd.DataFrame) -> bool:
    """Whether the model answers an infer request by now."""
    try:
        predict.ask(client, one)
    except (predict.RefusedError, OSError, http.client.HTTPException):
        return False
    return True


def wait(proxy: str, namespace: str, one: pd.DataFrame, since: float, limit: float) -> float:
    """Ask the model about `one` until it answers and watch the object until it is ready, showing what changes.

    Returns the seconds from `since` to the first prediction; DemoError after `limit` seconds.
    """
    api, service = predict.Client(proxy), predict.Client(proxy + service_path(namespace), timeout=5.0)
    seen, answered, looked = State(), 0.0, 0.0
    with contextlib.closing(api), contextlib.closing(service):
        while not (answered and seen.done):
            now = time.monotonic() - since
            if now > limit:
                raise DemoError(f"not ready after {limit:.0f} s: kubectl describe mdep {NAME} -n {namespace}")
            if not answered and first_answer(service, one):
                answered = time.monotonic() - since
                print(f"    {answered:6.1f} s  a prediction is answered", flush=True)
            if now - looked >= LOOK_SECONDS:
                looked = now
                current = look(api, namespace)
                for line in news(seen, current):
                    print(f"    {time.monotonic() - since:6.1f} s  {line}", flush=True)
                seen = current
            time.sleep(0.1)
    return answered


def look(api: predict.Client, namespace: str) -> State:
    """The object as it is now. Raises DemoError."""
    try:
        return state(api.get(model_path(namespace)))
    except (predict.RefusedError, OSError, http.client.HTTPException) as error:
        raise DemoError(f"the ModelDeployment cannot be read: {error}") from error


def short(path: str | Path) -> str:
    """A path as one would type it here."""
    place = Path(path)
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else str(place)


def hints(digest: str, namespace: str = NAMESPACE) -> str:
    """What to type next."""

    def patch(value: str) -> str:
        return f'{{"spec":{{"model":{{"digest":"{value}"}}}}}}'

    return NEXT.format(
        namespace=namespace,
        kubeconfig=os.environ.get("KUBECONFIG", "~/.kube/config"),
        tidegate=short(tidegate()),
        python=short(sys.executable),
        here=short(HERE),
        another=json.dumps(ANOTHER, separators=(",", ":")),
        wrong=patch("sha256:" + "f" * 64),
        right=patch(digest),
    )


def demo(place: Place, limit: float) -> None:
    """All steps, in order. Raises DemoError at the first that fails."""
    work, namespace = place.work, place.namespace
    bundle = work / "bundle"
    with step("train on January and February 2013"):
        run(sys.executable, HERE / "train.py", "--output", work)
    with step("pack the model as a bundle"):
        pack(work / "model.skops", work / "train.parquet", bundle)
    with step("push it to the registry"):
        uri, digest = push(place, bundle, TAG)
    files = manifests(uri, digest, namespace)
    for file, text in files.items():
        (work / file).write_text(text)
    with api_server() as proxy:
        url = proxy + service_path(namespace)
        with step("apply, and wait for the first prediction"):
            run("kubectl", "apply", "-f", work / "namespace.yaml")
            one = predict.spread(data.read(3), 1)
            before = first_answer(predict.Client(url), one)
            applied = time.monotonic()
            run("kubectl", "apply", "-f", work / "flights.yaml")
            seconds = wait(proxy, namespace, one, applied, limit)
        with step("predict flights of March"):
            run(sys.executable, HERE / "predict.py", "--url", url)
        if before:
            print("\nAn earlier version was answering all the time, so there is no first prediction to time.")
        else:
            print(f"\nFrom kubectl apply to the first prediction: {seconds:.1f} s")
        print("Now two other versions, one after the other, while clients send 100 requests a second.", flush=True)
        digest = story.tell(place, files["flights.yaml"], bundle, url)
    print(hints(digest, namespace))


def main(arguments: Sequence[str] | None = None) -> None:
    local = os.environ.get("CLUSTER_REGISTRY")
    registry = os.environ.get("REGISTRY") or local or None
    parser = argparse.ArgumentParser(description="Train, pack, push, apply, predict, roll out.")
    parser.add_argument(
        "--registry",
        default=registry,
        required=registry is None,
        metavar="HOST[:PORT][/PATH]",
        help="where the bundle is pushed to and the nodes pull it from; $REGISTRY, or else $CLUSTER_REGISTRY",
    )
    parser.add_argument(
        "--plain-http",
        action="store_true",
        default=bool(os.environ.get("PLAIN_HTTP")),
        help="the registry speaks no TLS, as the local one does; or PLAIN_HTTP=1 in the environment",
    )
    parser.add_argument("--namespace", default=NAMESPACE, metavar="NAME", help="for the model; made if it is not there")
    parser.add_argument("--work", type=Path, default=Path("dist/flights"), metavar="DIR", help="for what it makes")
    parser.add_argument("--limit", type=float, default=180.0, metavar="SECONDS", help="give up waiting after this")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        plain_http = options.plain_http or options.registry == local
        demo(Place(options.registry, plain_http, options.namespace, options.work), options.limit)
    except DemoError as error:
        sys.exit(f"\n{error}")


if __name__ == "__main__":
    main()
