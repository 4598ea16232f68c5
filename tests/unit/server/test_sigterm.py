"""SIGTERM as the first process of a container gets it: not at all, unless there is a handler."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

UNSHARE = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--pid", "--fork", "--kill-child"]

pytestmark = pytest.mark.skipif(
    subprocess.run(["sh", "-c", f"{' '.join(UNSHARE)} true"], capture_output=True).returncode != 0,
    reason="no process namespaces here",
)


def _end(begun: Callable[[], bool], *arguments: str, path: Path | None = None) -> int:
    """Run a Python process as the first of its namespace, and send SIGTERM once it has begun; its exit code."""
    environ = {"PATH": os.environ["PATH"], "no_proxy": "*", "PYTHONPATH": str(path or "")}
    command = [*UNSHARE, sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ) as outside:
        try:
            deadline = time.monotonic() + 20
            while not begun():
                assert time.monotonic() < deadline
                assert outside.poll() is None
                time.sleep(0.01)
            (first,) = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
            return outside.wait(5)
        finally:
            outside.kill()


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(("tidegate_server.fetch", "https://localhost:1/b", "/nowhere"), 143), (("tidegate_server",), 0)],
    ids=["the fetcher", "the server"],
)
def test_sigterm_while_libraries_are_imported(arguments: tuple[str, ...], exit_code: int, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "msgspec.py").write_text(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(60)")
    assert _end(begun.exists, *arguments, path=tmp_path) == exit_code


def test_sigterm_during_a_download(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as listener, contextlib.ExitStack() as connections:
        listener.setblocking(False)

        def asked() -> bool:
            with contextlib.suppress(BlockingIOError):
                connections.enter_context(listener.accept()[0])
                return True
            return False

        url = f"https://localhost:{listener.getsockname()[1]}/b.tgz"
        assert _end(asked, "tidegate_server.fetch", url, str(tmp_path / "volume")) == 143
