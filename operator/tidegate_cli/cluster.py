"""The API server as the command line reads it: three GETs, each answered in plain JSON."""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tidegate_contract.names import GROUP, KIND, PLURAL, VERSION

_TIMEOUT_SECONDS = (5, 30)
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ForbiddenError(click.ClickException):
    """The credentials are known and may not do this."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection, and the namespace that its context prefers."""

    custom: Any
    core: Any
    server: str
    namespace: str

    def models(self, namespace: str | None) -> list[dict[str, Any]]:
        """ModelDeployments of a namespace, or of all of them for None."""
        if namespace is None:
            answer = self._get(self.custom.list_cluster_custom_object, GROUP, VERSION, PLURAL)
        else:
            answer = self._get(self.custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL)
        return list(answer.get("items") or [])

    def model(self, namespace: str, name: str) -> dict[str, Any]:
        """One ModelDeployment."""
        return self._get(
            self.custom.get_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            what=f"{namespace}/{name}",
        )

    def events(self, namespace: str, uid: str) -> list[dict[str, Any]] | None:
        """The Events of one object; None, unknown, for who may not read Events."""
        selector = f"involvedObject.kind={KIND},involvedObject.uid={uid}"
        try:
            answer = self._get(self.core.list_namespaced_event, namespace, field_selector=selector)
        except ForbiddenError:
            return None
        return list(answer.get("items") or [])

    def _get(self, call: Callable[..., Any], *args: Any, what: str = "", **kwargs: Any) -> dict[str, Any]:
        """One call, read as raw JSON: the client's typed models refuse answers that lack a field.

        Raises click.ClickException with a sentence.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = call(*args, **kwargs, _preload_content=False, _request_timeout=_TIMEOUT_SECONDS)
        except ApiException as error:
            refusal = ForbiddenError if error.status == 403 else click.ClickException
            raise refusal(self._explain(error.status, what)) from error
        except HTTPError as error:
            raise click.ClickException(
                f"{self.server} cannot be reached; check the context, or whether the cluster is up"
            ) from error
        document: dict[str, Any] = json.loads(answer.data)
        return document

    def _explain(self, status: int, what: str) -> str:
        if status == 404 and what:
            return f"there is no ModelDeployment {what}; `tidegate status -A` lists all of them"
        return {
            401: f"{self.server} does not accept these credentials; renew the kubeconfig",
            403: "these credentials may not read ModelDeployments here; ask for the right to get and list them",
            404: "the cluster does not know ModelDeployments; install tidegate into it first",
        }.get(status, f"{self.server} answered {status}")


def connect(context: str | None) -> Cluster:
    """Connect as the kubeconfig says, or as a pod does where there is none.

    Raises click.ClickException.
    """
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    # The library reads the variable when it is imported, and prints its own lines about every retry.
    path = os.environ.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    namespace = "default"
    try:
        try:
            contexts, current = config.list_kube_config_contexts(path)  # type: ignore[no-untyped-call]
            chosen = next((item for item in contexts if item["name"] == context), None) if context else current
            if chosen is None:
                raise click.ClickException(f"the kubeconfig has no context {context!r}")
            namespace = chosen.get("context", {}).get("namespace") or namespace
            api = config.new_client_from_config(path, context)  # type: ignore[no-untyped-call]
        except ConfigException:
            if context is not None:
                raise
            config.load_incluster_config()  # type: ignore[no-untyped-call]
            namespace = _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else namespace
            api = client.ApiClient()
    except ConfigException as error:
        raise click.ClickException(
            "there is no usable kubeconfig; set KUBECONFIG, or make a cluster with `make cluster`"
        ) from error
    return Cluster(client.CustomObjectsApi(api), client.CoreV1Api(api), api.configuration.host, namespace)
