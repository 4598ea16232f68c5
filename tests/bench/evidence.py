"""What evidence costs: time per scrape, size of a state, memory of what is imported.

python tests/bench/evidence.py
"""

import subprocess
import sys
import timeit
from collections.abc import Callable

from tidegate_contract.evidence import Arm, Scrape, Signal, dump, harm_of, harmful
from tidegate_operator.core.evidence.losses import Disagreement
from tidegate_operator.core.evidence.promotion import promotion_of, proven, still_needed
from tidegate_operator.core.evidence.shift import Shift
from tidegate_operator.core.evidence.split import Split, broken

SCRAPE = Scrape(0.05, Arm(50, 2), Arm(950, 5))
ROUNDS, TIMES = 7, 2000
IMPORTS = ("tidegate_contract.evidence", "tidegate_operator.core.evidence.policy", "numpy", "scipy.special")


def microseconds(call: Callable[[], object], times: int = TIMES) -> float:
    """The best of some rounds."""
    return min(timeit.repeat(call, number=times, repeat=ROUNDS)) / times * 1e6


def memory() -> list[tuple[str, int]]:
    """kB of resident memory that each import adds, in this order, in a process of its own."""
    program = (
        "import msgspec, dataclasses, importlib, sys\n"
        "def now(): return int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])\n"
        "for name in sys.argv[1:]:\n"
        "    before = now(); importlib.import_module(name); print(now() - before)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, *IMPORTS], check=True, capture_output=True, text=True).stdout
    return list(zip(IMPORTS, map(int, told.split()), strict=True))


def main() -> None:
    harms = [harm_of(signal).after(SCRAPE) for signal in Signal]
    promotions = [promotion_of(signal).after(SCRAPE) for signal in Signal]
    split, shift = Split().after(SCRAPE), Shift().after(0.05, [3] * 20, [50] * 20)

    def scrape() -> object:
        return [each.after(SCRAPE) for each in harms], [each.after(SCRAPE) for each in promotions], split.after(SCRAPE)

    rows: list[tuple[str, float]] = [
        ("a scrape: harm and promotion of two signals, split", microseconds(scrape)),
        (
            "its verdicts",
            microseconds(lambda: (*(harmful(h, 2) for h in harms), *map(proven, promotions), broken(split))),
        ),
        ("harm of one signal", microseconds(lambda: harms[0].after(SCRAPE))),
        ("the same without an error", microseconds(lambda: harms[0].after(Scrape(0.05, Arm(50), Arm(950))))),
        ("promotion of one signal", microseconds(lambda: promotions[0].after(SCRAPE))),
        ("split", microseconds(lambda: split.after(SCRAPE))),
        (
            "shift of 20 bins, with its evidence",
            microseconds(lambda: shift.after(0.05, [3] * 20, [50] * 20).log_evidence),
        ),
        (
            "requests still needed",
            microseconds(lambda: still_needed(promotions[0], 0.05, Arm(500, 2), Arm(9500, 9)), 200),
        ),
    ]
    for pairs in (300, 10_000, 1_000_000, 100_000_000):
        state = Disagreement(pairs, pairs // 500)
        rows.append((f"bound of disagreement, {pairs:,} pairs", microseconds(state.upper, 5)))
    for name, taken in rows:
        print(f"{name:52} {taken:8.1f} us")
    print(f"{'a state of harm, as JSON':52} {len(dump(harms[0])):8} bytes")
    for module, kilobytes in memory():
        print(f"{'import ' + module:52} {kilobytes:8} kB")


if __name__ == "__main__":
    main()
