"""kubectl for tests: plain objects in, plain objects out, and waiting that says what it last saw."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


class KubectlError(Exception):
    """kubectl refused; the message is the API server's."""


@dataclass(frozen=True)
class Kube:
    """One cluster, reached by the kubeconfig in the environment."""

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        found = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False, env=os.environ
        )
        if found.returncode:
            raise KubectlError(found.stderr.strip())
        return found.stdout

    def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        found: Object = json.loads(self.run("get", kind, name, "-o", "json", *in_namespace(namespace)))
        return found

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        try:
            return self.get(kind, name, namespace)
        except KubectlError as error:
            if "NotFound" in str(error):
                return None
            raise

    def items(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        arguments = ["get", kind, "-o", "json", *in_namespace(namespace), *(["-l", selector] if selector else [])]
        found: list[Object] = json.loads(self.run(*arguments))["items"]
        return found

    def delete(self, kind: str, name: str, namespace: str = "", *, wait: bool = True) -> None:
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}", *in_namespace(namespace))

    def patch(self, kind: str, name: str, patch: Object, namespace: str = "") -> None:
        self.run("patch", kind, name, "--type=merge", "-p", json.dumps(patch), *in_namespace(namespace))


def in_namespace(namespace: str) -> list[str]:
    return ["-n", namespace] if namespace else []


def wait_for(what: str, check: Callable[[], Any], seconds: float = 60.0, pause: float = 0.2) -> Any:
    """The first truthy answer of `check`; fails with its last answer when the time is over."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s; last seen: {found!r}")
        time.sleep(pause)


def conditions(model: Object | None) -> dict[str, tuple[str, str]]:
    """Type to (status, reason)."""
    found = (model or {}).get("status", {}).get("conditions", [])
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in found}


def message(model: Object, type: str) -> str:
    found: str = next(c["message"] for c in model["status"]["conditions"] if c["type"] == type)
    return found
