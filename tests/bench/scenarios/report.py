"""What was measured, the bar of each figure, and the table at the end."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    scenario: str
    what: str
    measured: str
    bar: str
    """Empty: a figure beside the others, which nothing is expected of."""
    passed: bool
    counts: bool = True
    """Whether a miss fails the run."""

    @property
    def verdict(self) -> str:
        if not self.bar:
            return ""
        return "pass" if self.passed else "FAIL" if self.counts else "slow"


@dataclass
class Report:
    """Collects rows; says what it is told at once, so that a long run can be followed."""

    short: bool = False
    """In the short form, which others run beside us, a clock that misses its bar is shown and fails nothing."""
    started: float = field(default_factory=time.monotonic)
    scenario: str = ""
    rows: list[Row] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(f"  {time.monotonic() - self.started:6.0f} s  {self.scenario}: {text}", flush=True)

    def bar(self, what: str, measured: str, bar: str, *, passed: bool, timed: bool = False) -> None:
        """A figure with a bar; `timed`: a clock measured it."""
        row = Row(self.scenario, what, measured, bar, passed, counts=not (timed and self.short))
        self.rows.append(row)
        self.say(f"{row.verdict}: {what}: {measured}, bar {bar}")

    def figure(self, what: str, measured: str) -> None:
        """A figure without one."""
        self.rows.append(Row(self.scenario, what, measured, "", True))
        self.say(f"{what}: {measured}")

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if not row.passed and row.counts]

    def table(self) -> str:
        lines = [("scenario", "what", "measured", "bar", "")]
        lines += [(row.scenario, row.what, row.measured, row.bar, row.verdict) for row in self.rows]
        widths = [min(60, max(len(line[column]) for line in lines)) for column in range(5)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def end(self) -> int:
        """The table, how many bars are missed, and the exit code."""
        bars = sum(bool(row.bar) for row in self.rows)
        print(f"\n{self.table()}\n\n{len(self.failed)} of {bars} bars are missed")
        return 1 if self.failed else 0


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all do not exceed; the nearest rank.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([1.0, 2.0, 3.0, 4.0], 0.99)
    (2.0, 4.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]
