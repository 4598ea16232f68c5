"""The metrics port: Prometheus metrics for people's dashboards, counters for the operator.

A thread of its own, so that a reading never waits behind a predict.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app

from tidegate_contract.counters import COUNTERS_PATH, encode
from tidegate_server.recorder import Recorder

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _sending(body: bytes, sent: Callable[[], None]) -> Iterator[bytes]:
    """A body, and what is to be done when it was sent: nothing where that failed."""
    yield body
    sent()


def tell(host: str, port: int, registry: CollectorRegistry, recorder: Callable[[], Recorder | None]) -> WSGIServer:
    """Answer on a port from now on. `recorder` gives None while no model is loaded.

    Raises OSError if the port is taken.
    """
    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != COUNTERS_PATH:
            return metrics(environ, start_response)
        found = recorder()
        if found is None:
            start_response("503 Service Unavailable", [("Content-Type", "application/json")])
            return [b'{"error":"the model is loading"}']
        ended = found.ended
        start_response("200 OK", [("Content-Type", "application/json")])
        return _sending(encode(found.read()), lambda: found.delivered(ended))

    server = make_server(host, port, app, _Server, _Silent)
    threading.Thread(target=server.serve_forever, name="telling", daemon=True).start()
    return server
