"""Server processes, a client of theirs, and who takes what they send: spans, payloads."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SOURCES = os.pathsep.join(str(Path(__file__).parents[1] / folder) for folder in ("tests", "operator", "server"))
"""This checkout's, whichever one the environment was installed from."""

REAL = """
import os, sys
from pathlib import Path
from tidegate_server.threads import limit_threads
limit_threads(os.environ)
from tidegate_contract.logs import configure
from tidegate_server.serve import leave, serve
from tidegate_server.settings import Settings
configure()
port, metrics, bundle, digest, log = sys.argv[1:]
settings = Settings(bundle_dir=Path(bundle), digest=digest or None, host="127.0.0.1", http_port=int(port),
                    metrics_port=int(metrics), drain_seconds=0, termination_log=Path(log))
leave(serve(settings).exit_code)
"""

INFER = "/v2/models/flights/infer"
BODY = json.dumps(
    {
        "inputs": [
            {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
            {"name": "delay", "shape": [1], "datatype": "FP64", "data": [2.5]},
        ]
    }
)
STAND_IN = str(Path(__file__).parent / "unit/server/stand_in.py")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Process:
    """A server process, and a client of it."""

    def __init__(self, *command: str, **environ: str) -> None:
        self.port = _free_port()
        self.metrics_port = _free_port()
        arguments = [part.format(port=self.port, metrics=self.metrics_port) for part in command]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", **environ}
        self.process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, env=environ)

    def ask(
        self,
        method: str,
        path: str,
        body: str | bytes | None = None,
        port: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def wait_for(self, path: str, status: int = 200, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.ask("GET", path)[0] == status:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"{path} did not answer {status}: {self.process.poll()}")

    def end(self, seconds: float = 30) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and log, when it has ended."""
        _, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, [json.loads(line) for line in errors.splitlines()]


@dataclass(frozen=True)
class Post:
    """What was sent to a receiver; header names in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Takes what is posted, and answers with `status` as soon as `opened` is set."""

    def __init__(self, status: int) -> None:
        self.posts: list[Post] = []
        self.opened = threading.Event()
        self.opened.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append(Post(self.path, headers, body))
                receiver.opened.wait(20)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass  # whoever sent it has gone

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def wait_for(self, count: int, seconds: float = 10) -> list[Post]:
        """What was posted, once there is so much of it."""
        deadline = time.monotonic() + seconds
        while len(self.posts) < count:
            assert time.monotonic() < deadline, f"{len(self.posts)} of {count} came"
            time.sleep(0.01)
        return list(self.posts)


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """One that is gone afterwards."""
    found = Receiver(status)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.opened.set()
        found.server.shutdown()
        found.server.server_close()
        thread.join()
