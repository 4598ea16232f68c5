"""What the operator must reach, measured on a control plane alone: size, failover, outages, kills, faults, fairness.

    .venv/bin/python tests/bench/bars.py                    everything, about an hour
    .venv/bin/python tests/bench/bars.py --short            the same with fewer rounds and minutes
    .venv/bin/python tests/bench/bars.py --short restart    one scenario

Needs no cluster and no root, only the binary that `make cluster` builds and the helm of `make tools`. (Not named after
what it measures: a file operator.py here would take the place of the standard library's.)
"""

import argparse
import asyncio
import itertools
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

import aiohttp

from bench.scenarios import away, fair, leading, size, trouble
from bench.scenarios.report import Report
from bench.scenarios.world import Options, World
from plane.client import Refused
from plane.control import control_plane
from plane.program import ProgramError

Scenario = Callable[[World], Awaitable[None]]

GROUPS: tuple[dict[str, Scenario], ...] = (
    # These build on the objects of the one before, so they share a control plane, and their order matters.
    {
        "create": size.create,
        "restart": size.restart,
        "edit": size.edit,
        "idle": size.idle,
        "scale": size.scale,
    },
    {"failover": leading.failover},
    {"outage": away.outage},
    {"expired": away.expired},
    {"kills": trouble.kills},
    {"faults": trouble.faults},
    {"fairness": fair.fairness},
)
NAMES = list(itertools.chain.from_iterable(GROUPS))
FAILURES = (ProgramError, Refused, aiohttp.ClientError, TimeoutError, AssertionError)
"""A scenario that ends with one of these has failed; the others go on."""


async def bench(wanted: set[str], options: Options, report: Report, *, keep: bool) -> None:
    for group in GROUPS:
        if not wanted & group.keys():
            continue
        async with control_plane(keep=keep) as plane:
            if keep:
                print(f"  {', '.join(wanted & group.keys())}: {plane.places.folder}", flush=True)
            for name, scenario in group.items():
                if name in wanted:
                    await run(name, scenario, World(plane, options, report))


async def run(name: str, scenario: Scenario, world: World) -> None:
    report, started = world.report, time.monotonic()
    report.scenario = name
    report.say("begins")
    try:
        await scenario(world)
    except FAILURES as error:
        traceback.print_exc()
        report.bar("ran to its end", f"{type(error).__name__}: {error}".splitlines()[0][:120], "yes", passed=False)
    report.say(f"took {time.monotonic() - started:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"of {', '.join(NAMES)}; all without one")
    parser.add_argument("--short", action="store_true", help="fewer models and rounds, shorter waits, the same bars")
    parser.add_argument("--objects", type=int, help="how many models the bars' 1,000 are; 300 in short")
    parser.add_argument("--kills", type=int, default=20, help="kills of the scenario of that name")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is left to chance")
    parser.add_argument("--keep", action="store_true", help="leave the folders with logs and audit log behind")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(NAMES):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    report = Report(options.short)
    asyncio.run(
        bench(
            set(options.scenarios or NAMES),
            Options(options.short, options.objects or (300 if options.short else 1000), options.kills, options.seed),
            report,
            keep=options.keep,
        )
    )
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
