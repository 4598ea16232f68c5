"""What both parts of the demo are made of: a step that is announced and timed, and commands in sight of the reader."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flights_data as data
import predict

NAME = predict.MODEL
WIDTH = 120
"""Of tables, where there is no terminal to say it."""


class DemoError(RuntimeError):
    """A step that did not do what it should; the message is all that needs to be shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo puts what it makes."""

    registry: str
    plain_http: bool
    namespace: str
    work: Path


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is being done, and afterwards how long it took."""
    print(f"\n==> {name}", flush=True)
    started = time.monotonic()
    yield
    print(f"    {name}: {time.monotonic() - started:.1f} s", flush=True)


def run(*command: str | Path, expected: int = 0, with_stderr: bool = False) -> str:
    """Run a command in sight of the reader and return what it printed; DemoError if its exit code is not `expected`.

    What it says on stderr belongs to that only `with_stderr`; else it goes where ours goes, a progress bar as such.
    """
    words = [str(word) for word in command]
    print(f"    $ {shlex.join(words)}", flush=True)
    printed = []
    columns = shutil.get_terminal_size((WIDTH, 24)).columns - 4
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": str(columns)}
    errors = subprocess.STDOUT if with_stderr else None
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process:
        for line in process.stdout or ():
            print(f"    {line}", end="", flush=True)
            printed.append(line)
    if process.returncode != expected:
        wanted = f", and not with {expected}" if expected else ""
        raise DemoError(f"that command ended with {process.returncode}{wanted}")
    return "".join(printed)


def tidegate() -> str:
    """The command line, as it would be typed: beside this Python, or on the PATH."""
    beside = Path(sys.executable).parent / "tidegate"
    found = str(beside) if beside.exists() else shutil.which("tidegate")
    if found is None:
        raise DemoError("the command line is not installed: pip install -e '.[cli]'")
    return found


def pack(model: Path, rows: Path, bundle: Path) -> None:
    """Make a bundle of a model and the rows that it has learnt from."""
    run(
        *(tidegate(), "pack", model, "--name", NAME),
        *("--data", rows, "--target", data.TARGET, "-o", bundle, "--force"),
    )


def push(place: Place, bundle: Path, tag: str) -> tuple[str, str]:
    """Bring a bundle to the registry; the address and the digest for the spec."""
    options = ["--plain-http"] if place.plain_http else []
    return pushed(run(tidegate(), "push", bundle, f"{place.registry}/{NAME}:{tag}", *options))


def pushed(printed: str) -> tuple[str, str]:
    """The address and the digest that `tidegate push` prints for the spec."""
    found = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    try:
        return found["uri"], found["digest"]
    except KeyError as error:
        raise DemoError(f"tidegate push printed no {error}") from error
