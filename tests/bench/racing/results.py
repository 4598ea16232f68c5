"""What a run has shown, and the table of many."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.racing.clients import Answer

TIDEGATE, EXPERT, OUTAGE = "tidegate", "expert", "outage"
HEALTHY_SECONDS = 30.0
"""In which a candidate that is as good as stable serves before an outage of both."""


@dataclass(frozen=True)
class Run:
    """One release that failed as its fault says; times in seconds since the first answer of the candidate."""

    round: int
    turn: int
    """Of a fault that comes more than once in a round."""
    system: str
    fault: str
    seconds: float | None
    """To its last answer before its weight was taken away; None if that was not within `limit`."""
    first_failed: float | None
    answers: int
    failed: int
    """Of `answers`, those that clients got until then."""
    failed_in_all: int
    """With those of a second trial."""
    seconds_in_all: float
    withdrawn: bool
    limit: float
    load: float
    """The machine's load average when it began."""
    at: str
    why: str

    @property
    def cell(self) -> tuple[int, int, str, str]:
        return self.round, self.turn, self.system, self.fault


def timed(answers: Sequence[Answer], withdrawn: float | None) -> dict[str, float | int | bool | None]:
    """What a candidate's answers say of its run, in the order of when they were asked for.

    >>> heard = [Answer(at - 0.1, at, status, "ab") for at, status in ((1.0, 200), (1.5, 500), (2.0, 500), (9.0, 500))]
    >>> timed(heard, 3.0)["seconds"], timed(heard, 3.0)["failed"], timed(heard, 3.0)["failed_in_all"]
    (1.0, 2, 3)
    >>> timed(heard, None)["seconds"], timed(heard, None)["failed"]
    (None, 3)
    """
    end = math.inf if withdrawn is None else withdrawn
    until = [answer for answer in answers if answer.due <= end]
    began = answers[0].at
    failed = [answer.at for answer in until if answer.failed]
    return {
        "seconds": None if withdrawn is None else round(until[-1].at - began, 2),
        "first_failed": round(failed[0] - began, 2) if failed else None,
        "answers": len(until),
        "failed": len(failed),
        "failed_in_all": sum(answer.failed for answer in answers),
        "seconds_in_all": round(answers[-1].at - began, 2),
        "withdrawn": withdrawn is not None,
    }


def middle(runs: Sequence[Run]) -> float:
    """The median of the seconds; infinite where half of the runs went on to their limit."""
    return median(math.inf if run.seconds is None else run.seconds for run in runs)


def said(runs: Sequence[Run]) -> str:
    """Of the runs of a cell: the median, and from which to which."""
    seconds = sorted(math.inf if run.seconds is None else run.seconds for run in runs)
    limit = f"> {max(run.limit for run in runs):.0f}"
    lowest, found, highest = (
        f"{s:.1f}" if math.isfinite(s) else limit for s in (seconds[0], middle(runs), seconds[-1])
    )
    return f"{found} ({lowest} to {highest})"


def table(runs: Iterable[Run], systems: Sequence[str], faults: Sequence[str]) -> str:
    """Markdown: a line for each fault and system.

    >>> run = Run(0, 0, "expert", "20", 9.5, 0.2, 50, 10, 10, 9.5, True, 600.0, 0.5, "", "")
    >>> print(table([run], ["expert"], ["20"]).splitlines()[2])
    | 20 | expert | 1 | 9.5 (9.5 to 9.5) | 10 | 10 | 1 of 1 |
    """
    lines = [
        "| fault | system | n | seconds, median (range) | failed answers | with a second trial | taken back |",
        "|---|---|---|---|---|---|---|",
    ]
    found = list(runs)
    for fault in faults:
        for system in systems:
            if not (cell := [run for run in found if (run.fault, run.system) == (fault, system)]):
                continue
            seconds = "" if fault == OUTAGE else said(cell)
            failed, in_all = (
                "" if fault == OUTAGE else f"{median(counts):g}"
                for counts in ([run.failed for run in cell], [run.failed_in_all for run in cell])
            )
            taken = f"{sum(run.withdrawn for run in cell)} of {len(cell)}"
            early = sum(run.seconds is not None and run.seconds < HEALTHY_SECONDS for run in cell)
            if fault == OUTAGE and early:
                taken += f", {early} before it"
            lines.append(f"| {fault} | {system} | {len(cell)} | {seconds} | {failed} | {in_all} | {taken} |")
    return "\n".join(lines)


def bars(runs: Iterable[Run]) -> list[tuple[str, str, bool]]:
    """What is expected of Tidegate beside the expert: what, the two figures, and whether it holds."""
    found = list(runs)

    def of(system: str, fault: str) -> list[Run]:
        return [run for run in found if (run.system, run.fault) == (system, fault)]

    rows = []
    for fault in ("100", "20", "5"):
        ours, theirs = of(TIDEGATE, fault), of(EXPERT, fault)
        if not (ours and theirs):
            continue
        ahead = middle(ours) <= middle(theirs) if fault == "5" else middle(ours) < middle(theirs)
        word = "no slower" if fault == "5" else "faster"
        rows.append((f"{fault} %: {word} than the expert", f"{middle(ours):.1f} s, {middle(theirs):.1f} s", ahead))
        fewer = median(run.failed_in_all for run in ours), median(run.failed for run in theirs)
        rows.append(
            (f"{fault} %: fewer failed answers, both trials", f"{fewer[0]:g}, {fewer[1]:g}", fewer[0] < fewer[1])
        )
    if ours := of(TIDEGATE, OUTAGE):
        taken = sum(run.withdrawn for run in ours)
        rows.append(("outage of both: nothing is taken back", f"{taken} of {len(ours)}", not taken))
    return rows
