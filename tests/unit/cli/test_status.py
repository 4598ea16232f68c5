"""`tidegate status` against an API server that answers in plain JSON over HTTP."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import certifi
import pytest
import yaml
from click.testing import CliRunner, Result

from tidegate_cli.cluster import connect
from tidegate_cli.main import main
from tidegate_cli.view import ConditionView, EventView, ModelView, view

MODEL: dict[str, Any] = {
    "metadata": {"namespace": "ml", "name": "flights", "uid": "u1", "generation": 3},
    "spec": {"model": {"uri": "oci://registry.example.com/flights:1"}},
    "status": {
        "observedGeneration": 3,
        "phase": "Idle",
        "url": "http://flights.ml.svc",
        "stable": {"revision": "abc123"},
        "revision": "def456",
        "replicas": 2,
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "DigestMismatch",
                "message": "the bundle is sha256:1, and sha256:2 was asked for",
                "observedGeneration": 3,
                "lastTransitionTime": "2013-03-01T00:00:00Z",
            },
            {"type": "Degraded", "status": "True", "reason": "DigestMismatch", "message": "m", "observedGeneration": 2},
        ],
    },
}
EVENTS: list[dict[str, Any]] = [
    {"type": "Normal", "reason": "Later", "message": "b", "lastTimestamp": "2013-03-01T00:02:00Z", "count": 3},
    {"type": "Warning", "reason": "Sooner", "message": "a", "eventTime": "2013-03-01T00:01:00.000000Z"},
]


def test_a_view_says_all_that_the_object_says() -> None:
    assert view(MODEL, EVENTS) == ModelView(
        namespace="ml",
        name="flights",
        uri="oci://registry.example.com/flights:1",
        url="http://flights.ml.svc",
        phase="Idle",
        stable="abc123",
        revision="def456",
        replicas="2",
        ready="False",
        reason="DigestMismatch",
        observed=True,
        conditions=(
            ConditionView(
                "Ready",
                "False",
                "DigestMismatch",
                "the bundle is sha256:1, and sha256:2 was asked for",
                "2013-03-01T00:00:00Z",
                True,
            ),
            ConditionView("Degraded", "True", "DigestMismatch", "m", "?", False),
        ),
        events=(
            EventView("2013-03-01T00:01:00.000000Z", "Warning", "Sooner", "a", 1),
            EventView("2013-03-01T00:02:00Z", "Normal", "Later", "b", 3),
        ),
    )


@pytest.mark.parametrize(
    "model",
    [{}, {"metadata": {"name": "x"}}, {"status": None}, {"status": {"conditions": [None, {}, "?"]}}, {"spec": "?"}],
    ids=["empty", "just made", "null", "broken conditions", "a spec that is none"],
)
def test_what_is_absent_is_unknown_and_no_error(model: dict[str, Any]) -> None:
    seen = view(model)
    assert (seen.ready, seen.reason, seen.phase, seen.observed) == ("Unknown", "?", "?", False)


@dataclass
class Api:
    """A pretended API server: what it holds and what it was asked."""

    items: list[dict[str, Any]] = field(default_factory=lambda: [MODEL])
    status: int = 200
    events: bool = True
    """Whether they may be read."""
    asked: list[str] = field(default_factory=list)


def _answer(api: Api, path: str) -> tuple[int, Any]:
    if api.status != 200:
        return api.status, {"kind": "Status", "code": api.status}
    parts = path.split("/")
    if parts[-1] == "events":
        return (200, {"items": EVENTS}) if api.events else (403, {"kind": "Status", "code": 403})
    if parts[-1] == "modeldeployments":
        return 200, {"items": api.items}
    found = [item for item in api.items if item["metadata"]["name"] == parts[-1]]
    return (200, found[0]) if found else (404, {"kind": "Status", "code": 404})


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    api = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            api.asked.append(split.path + "".join(f" {k}={v[0]}" for k, v in parse_qs(split.query).items()))
            status, document = _answer(api, split.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    _kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield api
    server.shutdown()
    server.server_close()


def _kubeconfig(path: Path, server: str) -> None:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
                "current-context": "test",
            }
        )
    )


def _status(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["status", *arguments], env={"COLUMNS": "160"})


GROUP = "/apis/models.tidegate.dev/v1alpha1"


def test_one_model_with_its_conditions_and_events(api: Api) -> None:
    result = _status("flights")
    assert result.exit_code == 0, result.output
    for words in ("ml/flights", "DigestMismatch", "abc123", "def456", "(of an older spec) m", "Sooner", "Later (x3)"):
        assert words in result.output
    assert api.asked == [
        f"{GROUP}/namespaces/ml/modeldeployments/flights",
        "/api/v1/namespaces/ml/events fieldSelector=involvedObject.kind=ModelDeployment,involvedObject.uid=u1",
    ]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ((), f"{GROUP}/namespaces/ml/modeldeployments"),
        (("-n", "other"), f"{GROUP}/namespaces/other/modeldeployments"),
        (("-A",), f"{GROUP}/modeldeployments"),
        (("--context", "test"), f"{GROUP}/namespaces/ml/modeldeployments"),
    ],
    ids=["the context's namespace", "another namespace", "all namespaces", "a context by name"],
)
def test_a_list_of_models(arguments: tuple[str, ...], path: str, api: Api) -> None:
    result = _status(*arguments)
    assert result.exit_code == 0, result.output
    assert api.asked == [path]
    assert result.output.split() == [
        *("NAMESPACE", "NAME", "READY", "STABLE", "PHASE", "REASON", "REPLICAS"),
        *("ml", "flights", "False", "abc123", "Idle", "DigestMismatch", "2"),
    ]


def test_a_model_is_shown_to_who_may_not_read_events(api: Api) -> None:
    api.events = False
    result = _status("flights")
    assert result.exit_code == 0, result.output
    assert "DigestMismatch" in result.output
    assert "events unknown: these credentials may not read Events" in result.output
    assert json.loads(_status("flights", "-o", "json").output) == {"model": MODEL, "events": None}


def test_in_a_pod_the_namespace_is_that_of_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"token": "t0", "ca.crt": Path(certifi.where()).read_text(), "namespace": "ml\n"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr("tidegate_cli.cluster._POD_NAMESPACE", tmp_path / "namespace")
    assert connect(None).namespace == "ml"


def test_json_is_the_objects_own(api: Api) -> None:
    assert json.loads(_status("flights", "-o", "json").output) == {"model": MODEL, "events": EVENTS}
    assert json.loads(_status("-o", "json").output) == {"models": [MODEL]}


def test_no_models_is_said(api: Api) -> None:
    api.items = []
    assert _status().output == "no ModelDeployments in namespace ml\n"


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "renew the kubeconfig"), (403, "may not read"), (404, "install tidegate"), (500, "answered 500")],
)
def test_a_refusal_of_the_api_server_is_one_sentence(status: int, words: str, api: Api) -> None:
    api.status = status
    result = _status()
    assert (result.exit_code, words in result.output, len(result.output.splitlines())) == (1, True, 1)


def test_a_model_that_is_not_there_is_said(api: Api) -> None:
    result = _status("other")
    assert (result.exit_code, "no ModelDeployment ml/other" in result.output) == (1, True)


def test_a_context_that_is_not_there_is_said(api: Api) -> None:
    result = _status("--context", "nope")
    assert (result.exit_code, "no context 'nope'" in result.output) == (1, True)


def test_a_server_that_does_not_answer_is_said(api: Api, tmp_path: Path) -> None:
    _kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    result = _status()
    assert (result.exit_code, "cannot be reached" in result.output) == (1, True)


def test_no_kubeconfig_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    result = _status()
    assert (result.exit_code, "no usable kubeconfig" in result.output) == (1, True)
