"""A pretended API server, over HTTP: it keeps a few objects, answers in plain JSON, and remembers what it was asked."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]


@dataclass
class Api:
    """What it holds, how it answers, and what it was asked."""

    models: dict[str, Object] = field(default_factory=dict)
    """ModelDeployments by name, of whatever namespace."""
    revisions: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)
    live: dict[str, tuple[int, Object | str]] = field(default_factory=dict)
    """By namespace and name of a model: status and body of what an operator answers through a Service's proxy."""
    user: Object = field(default_factory=lambda: {"username": "ada"})
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and message of what is refused, by method or by the last word of the path; the empty key is everything."""
    on_patch: Callable[[Object], None] = lambda model: None
    """The operator: what it makes of a model whose annotations have changed."""
    asked: list[str] = field(default_factory=list)
    """Path and query of each request, with the method in front if it is not GET."""
    patches: list[tuple[str, Object]] = field(default_factory=list)
    """Content type and body of each PATCH."""
    url: str = ""

    def answer(self, method: str, path: str, content_type: str, body: Any) -> tuple[int, Object | str]:
        """Status and document, or a text."""
        last = path.rsplit("/", 1)[-1]
        if "/proxy/live/" in path:
            if "proxy" in self.refused:
                return self.refused["proxy"][0], {"kind": "Status", "message": self.refused["proxy"][1]}
            return self.live.get(path.partition("/proxy/live/")[2], (404, "404: Not Found"))
        for key in ("", method, last):
            if key in self.refused:
                status, message = self.refused[key]
                return status, {"kind": "Status", "code": status, "message": message}
        match last:
            case "services":
                return 200, {"items": self.services}
            case "events":
                return 200, {"items": self.events}
            case "modeldeployments":
                return 200, {"items": list(self.models.values())}
            case "modelrevisions":
                return 200, {"items": self.revisions}
            case "selfsubjectreviews":
                return 201, {"kind": "SelfSubjectReview", "status": {"userInfo": self.user}}
        model = self.models.get(last)
        if model is None:
            return 404, {"kind": "Status", "code": 404}
        if method == "PATCH":
            self.patches.append((content_type, body))
            model["metadata"].setdefault("annotations", {}).update(body["metadata"]["annotations"])
            self.on_patch(model)
        return 200, model


@contextmanager
def serving(api: Api) -> Iterator[None]:
    """The API server on a port of this machine, until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            split = urlsplit(self.path)
            query = "".join(f" {key}={values[0]}" for key, values in parse_qs(split.query).items())
            api.asked.append(f"{'' if self.command == 'GET' else f'{self.command} '}{split.path}{query}")
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = json.loads(content) if content else None
            status, document = api.answer(self.command, split.path, self.headers.get("Content-Type", ""), sent)
            body = (document if isinstance(document, str) else json.dumps(document)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the names that the library looks for

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def write_kubeconfig(path: Path, server: str) -> None:
    """One context `test`, whose namespace is `ml`."""
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
