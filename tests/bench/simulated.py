"""How often evidence is right, by chance alone: thousands of rollouts on the pure core, without a cluster.

    .venv/bin/python tests/bench/simulated.py              every case, about 25 minutes
    .venv/bin/python tests/bench/simulated.py calm         one of them
    .venv/bin/python tests/bench/simulated.py --short      a few rollouts of each, half a minute

harm     errors of 0.5 % against more: the candidate's requests to the first strike
calm     A/A, outages of both, exactly at the margins, sessions, forced requests, restarts of a router: no rejection
burst    one pod fails four requests and recovers
near     worse by less than the tolerance
good     as good as stable: requests to a proof, and to its taking over
needs    how well the requests still needed are foretold
slower   slower by 1.2 and by 2, with usual times and with heavy tails

Two routers with 100 requests a second in all, read every 1 or 2 s; the operator's own `decide`, tally and latch do the
rest. Each figure comes from the seeds 0 to n-1, which its bar is for. Beside it is the same from a second range, which
begins at a number made of the commit's hash, has no bar, and shows that nobody has picked the first. Of `calm`, which
is by far the longest, the second range has a tenth of the rollouts, and none of the short form.
"""

import argparse
import itertools
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.scenarios.report import Report
from bench.simulations.cases import CASES, Case, Seeds

PROGRESS_SECONDS = 20.0


@dataclass
class Progress:
    """Says now and then how far a case is."""

    report: Report
    range: str
    said_at: float = 0.0

    def __call__(self, done: int, number: int) -> None:
        now = time.monotonic()
        self.said_at = self.said_at or now
        if now - self.said_at >= PROGRESS_SECONDS:
            self.said_at = now
            self.report.say(f"... {self.range}: rollout {done} of {number}")


def commit() -> str:
    """Of what is checked out."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return found.stdout.strip() or "0" * 40


def run(case: Case, report: Report, hash: str) -> None:
    report.scenario = case.__name__
    seeds = Seeds(0, report.short, progress=Progress(report, "seeds from 0"))
    other = replace(seeds, first=int(hash[:12], 16), long_share=10, progress=Progress(report, f"seeds of {hash[:7]}"))
    for figure, beside in zip(case(seeds), itertools.repeat(None) if report.short else case(other), strict=False):
        if figure.bar:
            report.bar(figure.what, figure.measured, figure.bar, passed=figure.passed)
        else:
            report.figure(figure.what, figure.measured)
        if beside:
            report.figure(f"  seeds of {hash[:7]}", beside.measured)


def main() -> int:
    names = {case.__name__: case for case in CASES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; all of them by default")
    parser.add_argument("--short", action="store_true", help="a few rollouts of each case, and shorter ones")
    options = parser.parse_args()
    if unknown := set(options.cases) - names.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    report, hash = Report(options.short), commit()
    for name in options.cases or names:
        run(names[name], report, hash)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
