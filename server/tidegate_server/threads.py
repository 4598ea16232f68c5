"""How many threads the numeric libraries may use.

Two limits, because two things go wrong. OpenMP and BLAS spin at the end of each parallel
region until their last thread has had a processor: on a shared one, a boosting model's
predict went from 3 ms to 500 ms with two threads, for 1 ms saved at 4,096 rows on an idle
one. They get one thread. joblib counts the machine's processors and not the container's
share of them; it gets the share.

Libraries read their limits when they are imported, so this runs first and imports nothing.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

_ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SHARE = "LOKY_MAX_CPU_COUNT"
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def processors(cpu_max: str, available: int) -> int:
    """Whole processors of a control group's quota, at least 1 and at most those available.

    `cpu_max` is the content of cpu.max: microseconds of a period, or `max`, and the period.

    >>> processors("150000 100000", 8), processors("max 100000", 8), processors("", 8), processors("10000 100000", 8)
    (2, 8, 8, 1)
    """
    quota, _, period = cpu_max.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return available
    return max(1, min(available, math.ceil(int(quota) / int(period))))


def limit_threads(environ: MutableMapping[str, str], cpu_max: Path = _CPU_MAX) -> None:
    """Set each limit that is not set yet."""
    try:
        content = cpu_max.read_text()
    except OSError:
        content = ""
    environ.setdefault(_SHARE, str(processors(content, len(os.sched_getaffinity(0)))))
    for name in _ONE:
        environ.setdefault(name, "1")
