"""A program that runs beside us: started with a log of its own, ended with us, asked what it costs."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.shell import tail_of

TICKS = os.sysconf("SC_CLK_TCK")


class ProgramError(Exception):
    """A program ended, or did not, against what was expected; the message ends with its log's last lines."""


@dataclass(frozen=True)
class Cost:
    """What a process has used up to now."""

    cpu_seconds: float
    resident_bytes: int


class Program:
    """One child process at a time; it can be started again. Killed by the kernel if we die before it."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        bound = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [*bound, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or if it was never started."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing if it is gone already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def suspend(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def cost(self) -> Cost:
        """CPU seconds since it was started, and the bytes it has in memory now."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(after_name[11]) + int(after_name[12])
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return Cost(ticks / TICKS, pages * os.sysconf("SC_PAGE_SIZE"))

    def expect_running(self) -> None:
        if not self.is_running:
            raise ProgramError(f"{self.name} ended with {self.exit_code}.\n{tail_of(self.log)}")

    def wait_for_end(self, seconds: float) -> int:
        """Its exit code.

        Raises ProgramError if it still runs after that time.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise ProgramError(f"{self.name} still runs after {seconds:g} s.\n{tail_of(self.log)}") from error


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now. Another program may still take one before it is used."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def seconds_since(started: float) -> float:
    """Of the monotonic clock."""
    return time.monotonic() - started
