"""Clients of either competitor: one process asks at random moments, and says of each answer which version gave it.

Where a mesh would stand before the pods, these clients are the mesh: each request is sent by chance, by the weights
that are in force at that moment, to a pod of one side or the other. A router that does that itself is the only side.

As a program it reads what to do from lines of JSON, and writes a line for each answer.
"""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # tests, where the packages are

from bench.arrivals import Address, Arrivals
from bench.load import post
from bench.soak import FRESH

Side = tuple[float, list[Address]]
"""A weight, and who can be asked with it."""
SECONDS = 86400.0
"""At most; the end comes when nobody says anything any more."""


def request(x: float) -> bytes:
    rows = [{"name": name, "shape": [1], "datatype": "FP64", "data": [x]} for name in ("x", "y")]
    return post("/v2/models/small/infer", json.dumps({"inputs": rows}).encode())


USUAL, OUTAGE = request(0.0), request(-9.0)
"""`models.FAULTY` answers the one as its version does, and fails for the other whatever its version."""


@dataclass(frozen=True)
class Answer:
    """`due`, `at`: seconds of the machine's one monotonic clock. `revision`: by its header; empty without one."""

    due: float
    at: float
    status: int
    revision: str

    @property
    def failed(self) -> bool:
        return self.status != 200


def answer_of(due: float, at: float, whole: bytes) -> Answer:
    """What an answer says of itself.

    >>> answer_of(1.0, 1.5, b"HTTP/1.1 500 No\\r\\ntidegate-revision: ab12\\r\\ncontent-length: 0\\r\\n\\r\\n")
    Answer(due=1.0, at=1.5, status=500, revision='ab12')
    """
    lines = whole.partition(b"\r\n\r\n")[0].decode(errors="replace").splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Answer(due, at, int(lines[0].split()[1]), headers.get("tidegate-revision", ""))


@dataclass
class Mesh:
    """Chooses who is asked, and for what."""

    sides: list[Side] = field(default_factory=list)
    request: bytes = USUAL
    chance: random.Random = field(default_factory=random.Random)

    def choose(self) -> tuple[Address, bytes]:
        """A side without anybody leaves its share to the others, as a mesh would."""
        able = [(weight, addresses) for weight, addresses in self.sides if addresses]
        weights = [weight for weight, _ in able]
        (addresses,) = self.chance.choices([addresses for _, addresses in able], weights if any(weights) else None)
        return self.chance.choice(addresses), self.request


class Clients:
    """The process of the clients, from the begin of the context to its end, and what it has heard."""

    def __init__(self, rate: float) -> None:
        self.answers: list[Answer] = []
        self._rate = rate
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        argv = [sys.executable, __file__, f"--rate={self._rate}"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join()

    def ask(self, sides: Sequence[Side]) -> None:
        """From now on requests go there; the first ones do when this is said first."""
        self._say(sides=sides)

    def outage(self, begins: bool) -> None:
        self._say(outage=begins)

    def of(self, revision: str) -> list[Answer]:
        """A version's answers, by when they were asked for."""
        return sorted((a for a in list(self.answers) if a.revision == revision), key=lambda a: a.due)

    def _say(self, **what: object) -> None:
        assert self._process.stdin
        with self._lock:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            due, at, status, revision = json.loads(line)
            self.answers.append(Answer(due, at, status, revision))


def obey(mesh: Mesh, begin: threading.Event) -> None:
    """What the lines say, until there are no more."""
    for line in sys.stdin:
        said = json.loads(line)
        if "sides" in said:
            mesh.sides = [(weight, [(ip, port) for ip, port in addresses]) for weight, addresses in said["sides"]]
            begin.set()
        if "outage" in said:
            mesh.request = OUTAGE if said["outage"] else USUAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    options = parser.parse_args()
    mesh, begin = Mesh(), threading.Event()

    def told(due: float, whole: bytes) -> None:
        answer = answer_of(due, time.monotonic(), whole)
        print(json.dumps([answer.due, answer.at, answer.status, answer.revision]), flush=True)

    arrivals = Arrivals(mesh.choose, FRESH, told=told)

    def until_told() -> None:
        obey(mesh, begin)
        arrivals.stop()
        begin.set()

    threading.Thread(target=until_told, daemon=True).start()
    begin.wait()
    if mesh.sides:
        arrivals.come(options.rate, SECONDS)


if __name__ == "__main__":
    main()
