"""What the operator that leads knows at this moment, asked for through the API server: no port is opened for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from tidegate_cli.tolerant import mapping, mappings

if TYPE_CHECKING:
    from tidegate_cli.cluster import Cluster

_SELECTOR = "app.kubernetes.io/name=tidegate-operator"
_PORT = "metrics"
_TRIES = 3
"""Of two operators one leads, and the Service leads to either of them."""


@dataclass(slots=True)
class Live:
    """Where to ask. The Service is looked for once, and again when it does not answer any more."""

    cluster: "Cluster"
    namespace: str
    """Of the operator."""
    _service: str = field(default="", init=False)

    def read(self, namespace: str, name: str) -> tuple[Mapping[str, Any] | None, str]:
        """What it says of a model, as plain JSON; or None, and why not."""
        try:
            self._service = self._service or self._found()
            if not self._service:
                return None, f"no operator has a Service in {self.namespace}: see --operator-namespace"
            status, body = 0, ""
            for _ in range(_TRIES):
                status, body = self.cluster.through(self.namespace, self._service, _PORT, f"live/{namespace}/{name}")
                if status != 503:
                    break
        except click.ClickException as error:
            return None, error.message
        said = _read(body)
        if status == 200 and said:
            return said, ""
        self._service = ""
        return None, self._why(status, said)

    def _found(self) -> str:
        services = self.cluster.services(self.namespace, _SELECTOR)
        with_port = (each for each in services if any(p.get("name") == _PORT for p in _ports(each)))
        return next((str(mapping(each.get("metadata")).get("name") or "") for each in with_port), "")

    def _why(self, status: int, said: Mapping[str, Any]) -> str:
        if words := said.get("error"):
            return str(words)
        if status == 403:
            return f"these credentials may not get services/proxy in {self.namespace}"
        if status == 404 and said.get("kind") != "Status":
            return "the operator is older than this command and does not tell them"
        words = f": {said['message']}" if said.get("message") else ""
        return f"the operator answered {status}{words}"


def _ports(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(mapping(service.get("spec")).get("ports"))


def _read(body: str) -> Mapping[str, Any]:
    """Empty where it is no JSON object."""
    try:
        return mapping(json.loads(body))
    except ValueError:
        return {}
