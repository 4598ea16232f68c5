"""Server processes, and a client of theirs."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SOURCES = os.pathsep.join(str(Path(__file__).parents[1] / folder) for folder in ("tests", "operator", "server"))
"""This checkout's, whichever one the environment was installed from."""

REAL = """
import os, sys
from pathlib import Path
from tidegate_server.threads import limit_threads
limit_threads(os.environ)
from tidegate_server.logs import configure
from tidegate_server.serve import leave, serve
from tidegate_server.settings import Settings
configure()
port, metrics, bundle, digest, log = sys.argv[1:]
settings = Settings(bundle_dir=Path(bundle), digest=digest or None, host="127.0.0.1", http_port=int(port),
                    metrics_port=int(metrics), drain_seconds=0, termination_log=Path(log))
leave(serve(settings).exit_code)
"""


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

    def ask(self, method: str, path: str, body: str | bytes | None = None, port: int | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
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
