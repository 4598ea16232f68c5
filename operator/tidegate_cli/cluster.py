"""The API server as the command line knows it: GETs, and the two calls of who acts; each answered in plain JSON."""

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from tidegate_contract import labels
from tidegate_contract.names import GROUP, KIND, PLURAL, REVISION_KIND, REVISION_PLURAL, VERSION

_FIELD_MANAGER = "tidegate-cli"
_TIMEOUT_SECONDS = (5, 30)
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ForbiddenError(click.ClickException):
    """The credentials are known and may not do this."""


class AwayError(click.ClickException):
    """The API server does not answer, or has no answer at the moment; it may have one later."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection, and the namespace that its context prefers."""

    custom: Any
    core: Any
    authentication: Any
    server: str
    namespace: str

    def models(self, namespace: str | None) -> list[dict[str, Any]]:
        """ModelDeployments of a namespace, or of all of them for None."""
        if namespace is None:
            answer = self._call(self.custom.list_cluster_custom_object, GROUP, VERSION, PLURAL)
        else:
            answer = self._call(self.custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL)
        return list(answer.get("items") or [])

    def model(self, namespace: str, name: str) -> dict[str, Any]:
        """One ModelDeployment."""
        return self._call(
            self.custom.get_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            told={404: _absent(namespace, name)},
        )

    def revisions(self, namespace: str, model: str) -> list[dict[str, Any]]:
        """The ModelRevisions of a model, which may be gone itself; in no order."""
        answer = self._call(
            self.custom.list_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            REVISION_PLURAL,
            label_selector=f"{labels.MODEL}={model}",
            told={
                403: f"these credentials may not read {REVISION_KIND}s here; ask for the right to list them",
                404: f"the cluster does not know {REVISION_KIND}s; install tidegate, or bring it up to date",
            },
        )
        return list(answer.get("items") or [])

    def events(self, namespace: str, uid: str) -> list[dict[str, Any]] | None:
        """The Events of one object; None, unknown, for who may not read Events."""
        selector = f"involvedObject.kind={KIND},involvedObject.uid={uid}"
        try:
            answer = self._call(self.core.list_namespaced_event, namespace, field_selector=selector)
        except ForbiddenError:
            return None
        return list(answer.get("items") or [])

    def services(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Services by their labels."""
        answer = self._call(
            self.core.list_namespaced_service,
            namespace,
            label_selector=selector,
            told={403: f"these credentials may not list Services in {namespace}"},
        )
        return list(answer.get("items") or [])

    def through(self, namespace: str, service: str, port: str, path: str) -> tuple[int, str]:
        """What a Service answers to a GET that goes through the API server: status and body.

        The library's own method would quote the slashes of the path. Raises AwayError.
        """
        from urllib3.exceptions import HTTPError

        api = self.core.api_client
        path = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy/{path}"
        asked = api.param_serialize(
            "GET", path, header_params={"Accept": "application/json"}, auth_settings=["BearerToken"]
        )
        try:
            answer = api.call_api(*asked, _request_timeout=_TIMEOUT_SECONDS)
            return answer.status, (answer.read() or b"").decode(errors="replace")
        except HTTPError as error:
            raise self._away() from error

    def user(self) -> str:
        """The user name of these credentials, as the API server knows it."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._call(
            self.authentication.create_self_subject_review,
            review,
            told={
                403: "these credentials may not ask who they are; ask for the ClusterRole system:basic-user",
                404: f"{self.server} cannot say who you are: it is older than Kubernetes 1.28",
            },
        )
        name = ((answer.get("status") or {}).get("userInfo") or {}).get("username")
        if not name:
            raise click.ClickException(f"{self.server} does not say who you are; an action needs a name")
        return str(name)

    def annotate(self, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a ModelDeployment, and touch nothing else of it."""
        self._call(
            self.custom.patch_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            {"metadata": {"annotations": dict(annotations)}},
            field_manager=_FIELD_MANAGER,
            _content_type="application/merge-patch+json",
            told={
                403: f"these credentials may not act on {KIND}s here; ask for the right to patch them",
                404: _absent(namespace, name),
            },
        )

    def _call(
        self, call: Callable[..., Any], *args: Any, told: Mapping[int, str] = MappingProxyType({}), **kwargs: Any
    ) -> dict[str, Any]:
        """One call, answered as raw JSON: the client's typed models refuse answers that lack a field.

        `told` are sentences by status, where the usual ones would not fit.
        Raises click.ClickException with a sentence.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = call(*args, **kwargs, _preload_content=False, _request_timeout=_TIMEOUT_SECONDS)
        except ApiException as error:
            passing = AwayError if _passes(error.status) else click.ClickException
            refusal = ForbiddenError if error.status == 403 else passing
            raise refusal(self._explain(error.status, error.body, told)) from error
        except HTTPError as error:
            raise self._away() from error
        document: dict[str, Any] = json.loads(answer.data)
        return document

    def _away(self) -> AwayError:
        return AwayError(f"{self.server} cannot be reached; check the context, or whether the cluster is up")

    def _explain(self, status: int, body: object, told: Mapping[int, str]) -> str:
        if (words := _denial(body)) is not None:
            return f"a policy of the cluster forbids it: {words}"
        usual = {
            401: f"{self.server} does not accept these credentials; renew the kubeconfig",
            403: "these credentials may not read ModelDeployments here; ask for the right to get and list them",
            404: "the cluster does not know ModelDeployments; install tidegate into it first",
        }
        return {**usual, **told}.get(status, f"{self.server} answered {status}")


def _passes(status: int) -> bool:
    """Whether an answer says nothing of what was asked for."""
    return status in (0, 429) or status >= 500


def _absent(namespace: str, name: str) -> str:
    return f"there is no ModelDeployment {namespace}/{name}; `tidegate status -A` lists all of them"


def _denial(body: object) -> str | None:
    """What an admission policy or webhook says, in the Status that the API server answers with; None if none speaks."""
    try:
        message = json.loads(body)["message"] if isinstance(body, str | bytes) else ""
    except (ValueError, TypeError, KeyError):
        return None
    found = re.search(r"denied (?:the )?request: (.*)", str(message), re.DOTALL)
    return found[1] if found else None


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
    return Cluster(
        client.CustomObjectsApi(api),
        client.CoreV1Api(api),
        client.AuthenticationV1Api(api),
        api.configuration.host,
        namespace,
    )
