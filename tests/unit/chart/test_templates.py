"""What the chart makes: Pod Security `restricted`, exact rights, nothing that an uninstall or upgrade could break."""

import asyncio
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from answering import ENVIRONMENT, answering
from cluster.tools import ENVOY
from images.local import ENVOY_REFERENCE
from routed import NAMESPACE, Cluster
from tidegate_cluster.api import Api
from tidegate_cluster.connection import Connection
from tidegate_operator import settings
from tidegate_operator.core.router import NAME
from tidegate_router.watch import Watch

from .conftest import CHART, CHECKOUT, Document

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one operator": {"replicas": 1},
    "three operators": {"replicas": 3},
    "two namespaces": {"watchNamespaces": ["a", "b"]},
    "everything": {
        "replicas": 3,
        "imagePullSecrets": ["pull"],
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "policies": {"operatorStatusOnly": True},
    },
}
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", *POLICIES}
WRITTEN = {"get", "list", "watch", "create", "patch", "delete"}


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def operator(documents: list[Document]) -> Document:
    (deployment,) = of_kind(documents, "Deployment")
    return deployment


def pod(documents: list[Document]) -> Document:
    found: Document = operator(documents)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pod_passes_restricted(render: Any, variant: str) -> None:
    spec = pod(render(VARIANTS[variant]))
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "volumes", "initContainers"} & spec.keys()
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPort" not in port for port in container["ports"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_has_a_namespace_says_which(render: Any, variant: str) -> None:
    allowed = {"tidegate-system", *VARIANTS[variant].get("watchNamespaces", ())}
    for document in render(VARIANTS[variant]):
        if document["kind"] in CLUSTER_WIDE:
            assert "namespace" not in document["metadata"]
        else:
            assert document["metadata"]["namespace"] in allowed


def test_the_rights_are_the_same_cluster_wide_and_in_each_namespace(render: Any) -> None:
    (everywhere,) = [
        role for role in of_kind(render(), "ClusterRole") if role["metadata"]["name"].endswith("-operator")
    ]
    documents = render({"watchNamespaces": ["a", "b"]})
    roles = {
        role["metadata"]["namespace"]: role["rules"]
        for role in of_kind(documents, "Role")
        if role["metadata"]["name"] == "tidegate-operator"
    }
    assert roles == {"a": everywhere["rules"], "b": everywhere["rules"]}
    assert not of_kind(documents, "ClusterRoleBinding")
    bound = {binding["metadata"]["namespace"] for binding in of_kind(documents, "RoleBinding")}
    assert bound == {"a", "b", "tidegate-system"}


def grants(documents: list[Document]) -> set[tuple[str, str, str, str]]:
    """(group, resource, verb, name) of all that the operator's account may do; no name where it holds for all."""
    bindings = of_kind(documents, "RoleBinding") + of_kind(documents, "ClusterRoleBinding")
    assert all(
        binding["subjects"] == [{"kind": "ServiceAccount", "name": "tidegate-operator", "namespace": "tidegate-system"}]
        for binding in bindings
    )
    bound = {(binding["roleRef"]["kind"], binding["roleRef"]["name"]) for binding in bindings}
    return {
        (group, resource, verb, name)
        for role in of_kind(documents, "Role") + of_kind(documents, "ClusterRole")
        if (role["kind"], role["metadata"]["name"]) in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def rights(documents: list[Document]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of all that it may do, to whatever name."""
    return {(group, resource, verb) for group, resource, verb, _ in grants(documents)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_right_is_wider_than_it_must_be(render: Any, variant: str) -> None:
    found = rights(render(VARIANTS[variant]))
    assert not [right for right in found if "*" in "".join(right)]
    assert not [right for right in found if right[1] in {"configmaps", "pods/exec", "roles", "nodes"}]
    assert {verb for _, resource, verb in found if resource == "modeldeployments"} == {"get", "list", "watch"}
    assert {verb for _, resource, verb in found if resource == "modeldeployments/status"} == {"patch"}
    assert {(group, verb) for group, resource, verb in found if resource == "modelrevisions"} == {
        ("models.tidegate.dev", verb) for verb in WRITTEN
    }
    assert {(group, verb) for group, resource, verb in found if resource == "jobs"} == {
        ("batch", verb) for verb in WRITTEN
    }
    of_any_name = {right[:3] for right in grants(render(VARIANTS[variant])) if not right[3]}
    assert {resource for _, resource, verb in of_any_name if verb == "delete"} == {
        "poddisruptionbudgets",
        "modelrevisions",
        "jobs",
        "deployments",
        "services",
    }
    assert {resource for _, resource, verb in found if verb == "update"} == {"leases"}
    assert {verb for _, resource, verb in found if resource == "pods"} == {"list", "watch"}
    assert {verb for _, resource, verb in found if resource == "pods/eviction"} == {"create"}
    assert {verb for _, resource, verb in found if resource == "namespaces"} == {"get"}
    assert not {verb for *_, verb in found} & {"deletecollection", "impersonate", "escalate"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_secrets_bindings_and_roles_are_those_of_the_routers_alone(render: Any, variant: str) -> None:
    guarded = {"secrets", "rolebindings", "clusterroles"}
    assert {found[1:] for found in grants(render(VARIANTS[variant])) if found[1] in guarded} == {
        *(("secrets", verb, NAME) for verb in WRITTEN - {"list", "watch", "delete"}),
        *(("secrets", verb, "tidegate-key") for verb in ("get", "create", "patch")),
        *(("rolebindings", verb, NAME) for verb in WRITTEN - {"list", "watch"}),
        *(("rolebindings", verb, "") for verb in ("list", "watch")),
        ("clusterroles", "bind", NAME),
    }


def test_of_accounts_the_routers_alone_may_be_deleted(render: Any) -> None:
    found = grants(render())
    assert {name for _, resource, verb, name in found if (resource, verb) == ("serviceaccounts", "delete")} == {NAME}


def test_the_key_of_all_tokens_can_be_read_in_the_operators_own_namespace_alone(render: Any) -> None:
    holders = [
        (role["kind"], role["metadata"]["name"], role["metadata"].get("namespace"))
        for role in of_kind(render(), "Role") + of_kind(render(), "ClusterRole")
        if any("tidegate-key" in rule.get("resourceNames", ()) for rule in role["rules"])
    ]
    assert holders == [("Role", "tidegate-operator-key", "tidegate-system")]


def test_the_operator_needs_no_right_on_the_policies_that_the_chart_installs(render: Any) -> None:
    assert not [right for right in rights(render(VARIANTS["everything"])) if "admission" in right[0]]


def test_the_lease_is_the_only_one_that_may_be_read_or_changed(render: Any) -> None:
    (role,) = [role for role in of_kind(render(), "Role") if role["metadata"]["name"] == "tidegate-operator-lease"]
    assert role["metadata"]["namespace"] == "tidegate-system"
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["tidegate-operator"],
            "verbs": ["get", "update"],
        },
    ]


def test_people_with_the_clusters_own_roles_can_use_models(render: Any) -> None:
    view, edit = (
        next(role for role in of_kind(render(), "ClusterRole") if role["metadata"]["name"] == name)
        for name in ("tidegate-view", "tidegate-edit")
    )
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert {label for label in view["metadata"]["labels"] if label.startswith(prefix)} == {
        f"{prefix}{role}" for role in ("view", "edit", "admin")
    }
    assert {label for label in edit["metadata"]["labels"] if label.startswith(prefix)} == {
        f"{prefix}{role}" for role in ("edit", "admin")
    }
    rest = {role["metadata"]["name"] for role in of_kind(render({"rbac": {"aggregate": False}}), "ClusterRole")}
    assert rest == {"tidegate-operator", NAME}


def may(documents: list[Document], *names: str) -> dict[str, set[str]]:
    """Verbs by resource that these ClusterRoles give together."""
    found: dict[str, set[str]] = {}
    for role in of_kind(documents, "ClusterRole"):
        for rule in role["rules"] if role["metadata"]["name"] in names else ():
            assert rule["apiGroups"] == ["models.tidegate.dev"]
            for resource in rule["resources"]:
                found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_viewers_read_models_their_scale_and_their_revisions(render: Any) -> None:
    assert may(render(), "tidegate-view") == {
        "modeldeployments": {"get", "list", "watch"},
        "modeldeployments/status": {"get", "list", "watch"},
        "modeldeployments/scale": {"get"},
        "modelrevisions": {"get", "list", "watch"},
    }


def test_editors_write_models_and_their_scale_and_neither_status_nor_revisions(render: Any) -> None:
    assert may(render(), "tidegate-view", "tidegate-edit") == {
        "modeldeployments": {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
        "modeldeployments/status": {"get", "list", "watch"},
        "modeldeployments/scale": {"get", "update", "patch"},
        "modelrevisions": {"get", "list", "watch"},
    }


def test_an_uninstall_keeps_the_definitions(render: Any) -> None:
    kept = {
        found["metadata"]["name"]: found["metadata"]["annotations"]["helm.sh/resource-policy"]
        for found in of_kind(render(), "CustomResourceDefinition")
    }
    assert kept == {"modeldeployments.models.tidegate.dev": "keep", "modelrevisions.models.tidegate.dev": "keep"}
    assert not of_kind(render({"crds": {"install": False}}), "CustomResourceDefinition")


def of_routers(documents: list[Document]) -> list[Document]:
    return [role for role in of_kind(documents, "ClusterRole") if role["metadata"]["name"] == NAME]


def test_an_uninstall_keeps_what_routers_may_read(render: Any) -> None:
    (role,) = of_routers(render())
    assert role["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


async def test_routers_may_do_what_their_agent_asks_for_and_no_more(render: Any) -> None:
    cluster, asked = Cluster(), set()

    async def handle(request: web.Request) -> web.StreamResponse:
        *_, group, _, _, namespace, resource = request.path.split("/")
        assert (request.method, namespace) == ("GET", NAMESPACE)
        asked.add((group, resource, "watch" if "watch" in request.query else "list"))
        return await cluster.handle(request)

    async with answering(handle) as url, aiohttp.ClientSession() as session:
        watch = Watch(Api(Connection(url, session), lambda verb, code: None), NAMESPACE, lambda name: None)
        following = [asyncio.create_task(reflector.run()) for reflector in watch.reflectors]
        async with asyncio.timeout(5):
            while len(asked) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    (role,) = of_routers(render())
    assert {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    } == asked


def test_a_second_release_leaves_the_routers_role_to_the_first(render: Any) -> None:
    assert of_routers(render({"watchNamespaces": ["a"]}))
    assert not of_routers(render({"rbac": {"router": False}}))


def test_the_charts_definitions_are_the_generated_ones(render: Any) -> None:
    generated = (CHECKOUT / "manifests" / "crd.yaml").read_text()
    assert (CHART / "files" / "crd.yaml").read_text() == generated
    rendered = [definition["spec"] for definition in of_kind(render(), "CustomResourceDefinition")]
    assert rendered == [definition["spec"] for definition in yaml.safe_load_all(generated)]


def environment(documents: list[Document]) -> dict[str, str]:
    (container,) = pod(documents)["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def test_the_images_come_from_the_registry_with_the_charts_tag(render: Any) -> None:
    documents = render()
    assert pod(documents)["containers"][0]["image"] == "r.example/t/tidegate-operator:0.1.0"
    found = environment(documents)
    assert found["TIDEGATE_SERVER_IMAGE"] == "r.example/t/tidegate-server:0.1.0"
    assert found["TIDEGATE_TOOLS_IMAGE"] == "r.example/t/tidegate-tools:0.1.0"


def test_envoy_is_the_official_image_of_the_version_that_the_tests_run(render: Any) -> None:
    found = environment(render())["TIDEGATE_ENVOY_IMAGE"]
    assert found == f"docker.io/envoyproxy/envoy:distroless-v{ENVOY.version}"


def test_envoy_can_be_pulled_from_somewhere_else(render: Any) -> None:
    found = environment(render({"image": {"envoy": ENVOY_REFERENCE, "tag": "x"}}))
    assert found["TIDEGATE_ENVOY_IMAGE"] == ENVOY_REFERENCE


def test_one_image_can_be_named_by_digest(render: Any) -> None:
    digest = f"other.example/server@sha256:{'0' * 64}"
    found = environment(render({"image": {"server": digest, "tag": "x"}}))
    assert found["TIDEGATE_SERVER_IMAGE"] == digest
    assert found["TIDEGATE_TOOLS_IMAGE"] == "r.example/t/tidegate-tools:x"


def test_the_settings_reach_the_operator_as_plain_numbers(render: Any) -> None:
    found = environment(render({"watchNamespaces": ["a", "b"], "traffic": {"via": "Router"}}))
    assert {name: value for name, value in found.items() if not name.endswith("_IMAGE")} == {
        "TIDEGATE_NAMESPACE": "",
        "TIDEGATE_POD_NAME": "",
        "TIDEGATE_POD_IP": "",
        "TIDEGATE_IMAGE_PULL_POLICY": "IfNotPresent",
        "TIDEGATE_WATCH_NAMESPACES": "a,b",
        "TIDEGATE_TRAFFIC_VIA": "Router",
        "TIDEGATE_LEASE_NAME": "tidegate-operator",
        "TIDEGATE_LOG_LEVEL": "INFO",
        "TIDEGATE_BUNDLE_MAX_BYTES": "4294967296",
        "TIDEGATE_RESYNC_SECONDS": "300",
        "TIDEGATE_LEASE_SECONDS": "15",
        "TIDEGATE_LEASE_RENEW_SECONDS": "5",
        "TIDEGATE_LEASE_DEADLINE_SECONDS": "10",
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operator_understands_what_the_chart_tells_it(render: Any, variant: str) -> None:
    told = environment(render(VARIANTS[variant]))
    by_kubernetes = {name for name, value in told.items() if not value}
    given = {"TIDEGATE_NAMESPACE", "TIDEGATE_POD_NAME", "TIDEGATE_POD_IP"}
    assert by_kubernetes - {"TIDEGATE_WATCH_NAMESPACES"} == given
    found = settings.read(told | {name: ENVIRONMENT[name] for name in ENVIRONMENT if not told[name]})
    assert found.release.envoy_image == told["TIDEGATE_ENVOY_IMAGE"]
    assert found.via.value == told["TIDEGATE_TRAFFIC_VIA"]


def test_a_single_operator_has_no_disruption_budget_and_is_not_spread(render: Any) -> None:
    documents = render({"replicas": 1})
    assert not of_kind(documents, "PodDisruptionBudget")
    assert "topologySpreadConstraints" not in pod(documents)


def test_by_default_one_operator_leads_and_one_stands_by(render: Any) -> None:
    assert operator(render())["spec"]["replicas"] == 2


@pytest.mark.parametrize("variant", ["defaults", "three operators"])
def test_operators_are_spread_and_leave_a_node_one_at_a_time(render: Any, variant: str) -> None:
    documents = render(VARIANTS[variant])
    selector = operator(documents)["spec"]["selector"]
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    assert budget["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": selector,
    }
    (spread,) = pod(documents)["topologySpreadConstraints"]
    assert spread == {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }


def test_a_selector_holds_nothing_that_an_upgrade_changes(render: Any) -> None:
    stable = {"app.kubernetes.io/name": "tidegate-operator", "app.kubernetes.io/instance": "tidegate"}
    documents = render(VARIANTS["everything"])
    assert operator(documents)["spec"]["selector"] == {"matchLabels": stable}
    assert stable.items() <= operator(documents)["spec"]["template"]["metadata"]["labels"].items()
    assert [service["spec"]["selector"] for service in of_kind(documents, "Service")] == [stable]


def test_others_reach_metrics_and_health_only(render: Any) -> None:
    (policy,) = of_kind(render(), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert policy["spec"]["ingress"] == [{"ports": [{"port": "health"}, {"port": "metrics"}]}]
    assert not of_kind(render({"networkPolicy": {"enabled": False}}), "NetworkPolicy")


def test_prometheus_is_asked_only_where_it_is_wanted(render: Any) -> None:
    assert not of_kind(render(), "ServiceMonitor")
    (monitor,) = of_kind(render(VARIANTS["everything"]), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
