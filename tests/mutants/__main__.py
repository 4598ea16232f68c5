"""`make mutants`: change the evidence's code in every small way, one at a time, and see that a test fails.

A mutant that no test notices is in survivors.toml with the reason, or the run fails; so it does if one is there that
does not survive any more. Each is tried in a process of its own, which is forked when all else is loaded; nothing is
written.

Not mutmut (3.8): it changes what stands in functions without a decorator, and here half of what counts are constants,
properties and cached functions. Not cosmic-ray (8.7): it changes the files themselves and starts pytest anew for each
of 3,000 mutants, an hour and more, and turns a .01 into 1.01 but not into .0101.
"""

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import math
import multiprocessing
import os
import resource
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from mutants.sites import Mutant, mutants

ROOT = Path(__file__).parents[2]
EVIDENCE = "tidegate_operator.core.evidence"
MODULES = {
    "tidegate_contract.evidence": ROOT / "server/tidegate_contract/evidence.py",
    **{
        f"{EVIDENCE}.{file.stem}": file
        for file in sorted((ROOT / "operator/tidegate_operator/core/evidence").glob("*.py"))
        if file.stem != "__init__"
    },
}
BEHAVIOUR = [
    "tests/unit/contract/test_evidence.py",
    *(
        f"tests/unit/core/evidence/test_{name}.py"
        for name in ("promotion", "split", "slow", "shift", "losses", "policy", "replay", "tally")
    ),
]
VECTORS = "tests/unit/core/evidence/test_vectors.py"
SURVIVORS = Path(__file__).parent / "survivors.toml"
PROCESSES = 2
LEAST_KILLED = 0.9
MEMORY = 4 * 1024**3
"""Bytes that a mutant may ask for."""
Task = tuple[str, int, list[str], int]
"""Module, which of its mutants, tests, seconds of processor time that they may take."""


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module other code than its file has."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name, self._code = name, code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 # our own module, changed


FOUND = {
    name: (tree, mutants(file.name, tree)) for name, file in MODULES.items() if (tree := ast.parse(file.read_text()))
}


def outcome(name: str | None, number: int, tests: list[str], seconds: int) -> tuple[bool, float]:
    """Whether tests pass with one mutant of a module (None: with none), and how long that took; in a process of its
    own."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os._exit(_tried(name, number, tests, seconds))
        finally:
            os._exit(70)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0, time.monotonic() - started


def _tried(name: str | None, number: int, tests: list[str], seconds: int) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    if name:
        tree, found = FOUND[name]
        found[number].apply()
        code = compile(ast.fix_missing_locations(tree), MODULES[name], "exec")
        sys.meta_path.insert(0, Changed(name, code))
    return int(
        pytest.main(
            [
                "-x",
                "-q",
                "-c",
                os.devnull,
                f"--rootdir={ROOT}",
                "--import-mode=importlib",
                "-p",
                "no:cacheprovider",
                "-W",
                "error",
            ]
            + [str(ROOT / test) for test in tests]
        )
    )


def survives(task: Task) -> tuple[str, int, bool, float]:
    name, number, tests, seconds = task
    passed, took = outcome(name, number, tests, seconds)
    return name, number, passed, took


def expected() -> dict[str, str]:
    """The mutants that may survive, by name, and why."""
    groups = tomllib.loads(SURVIVORS.read_text())["survivors"] if SURVIVORS.exists() else []
    return {name: group["reason"] for group in groups for name in group["mutants"]}


def main(argv: list[str] | None = None) -> int:
    """0 if the mutants that survive are those that may."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--module", help="this module only", choices=MODULES)
    parser.add_argument(
        "--without-vectors", action="store_true", help="the tests of behaviour alone; survivors are only shown"
    )
    parser.add_argument("--processes", type=int, default=PROCESSES)
    asked = parser.parse_args(argv)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import scipy.special  # noqa: F401 # loaded once, before anything is forked

    tests = BEHAVIOUR if asked.without_vectors else [*BEHAVIOUR, VECTORS]
    started = time.monotonic()
    passed, usual = outcome(None, 0, tests, 600)
    if not passed:
        print("the tests fail without any change")
        return 1
    limit = 4 + math.ceil(2 * usual)
    tasks = [
        (name, number, tests, limit)
        for name, (_, found) in FOUND.items()
        if asked.module in (None, name)
        for number in range(len(found))
    ]
    alive: list[Mutant] = []
    with multiprocessing.get_context("fork").Pool(asked.processes) as pool:
        for done, (name, number, survived, took) in enumerate(pool.imap(survives, tasks), 1):
            mutant = FOUND[name][1][number]
            if survived:
                alive.append(mutant)
                print(f"survives: line {mutant.line:3} {mutant.name}", flush=True)
            elif took > usual + 5:
                print(f"took {took:.0f} s: line {mutant.line:3} {mutant.name}", flush=True)
            if done % 100 == 0:
                print(f"... {done} of {len(tasks)}, {time.monotonic() - started:.0f} s", flush=True)
    return report(tasks, alive, asked.without_vectors, time.monotonic() - started)


def report(tasks: list[Task], alive: list[Mutant], only_shown: bool, seconds: float) -> int:
    print()
    for name, file in MODULES.items():
        tried = sum(task[0] == name for task in tasks)
        left = sum(mutant.module == file.name for mutant in alive)
        if tried:
            print(f"{file.name:14} {tried:4} mutants, {left:3} survive, {1 - left / tried:6.1%} killed")
    killed = 1 - len(alive) / len(tasks)
    print(f"{'all':14} {len(tasks):4} mutants, {len(alive):3} survive, {killed:6.1%} killed, {seconds:.0f} s")
    if only_shown:
        return 0
    may = {name for name in expected() if any(FOUND_FILES[task[0]] == name.split(":")[0] for task in tasks)}
    new, gone = {mutant.name for mutant in alive} - may, may - {mutant.name for mutant in alive}
    for name in sorted(new):
        print(f"NEW: no test notices {name}")
    for name in sorted(gone):
        print(f"GONE: listed in {SURVIVORS.name}, but does not survive, or is not there: {name}")
    if killed < LEAST_KILLED:
        print(f"TOO FEW: at least {LEAST_KILLED:.0%} have to be killed")
    return int(bool(new or gone or killed < LEAST_KILLED))


FOUND_FILES = {name: file.name for name, file in MODULES.items()}

if __name__ == "__main__":
    sys.exit(main())
