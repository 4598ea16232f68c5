"""The numeric libraries get the container's share of processors."""

from pathlib import Path

import pytest

from tidegate_server.threads import limit_threads, processors


@pytest.mark.parametrize(
    ("cpu_max", "available", "expected"),
    [
        pytest.param("max 100000\n", 4, 4, id="no quota is all there are"),
        pytest.param("200000 100000\n", 4, 2, id="two processors"),
        pytest.param("150000 100000\n", 4, 2, id="one and a half round up"),
        pytest.param("10000 100000\n", 4, 1, id="a tenth is still one"),
        pytest.param("800000 100000\n", 4, 4, id="never more than there are"),
        pytest.param("", 4, 4, id="no control group"),
        pytest.param("nonsense", 4, 4, id="nonsense"),
    ],
)
def test_processors(cpu_max: str, available: int, expected: int) -> None:
    assert processors(cpu_max, available) == expected


def test_what_is_set_stays_set(tmp_path: Path) -> None:
    environ = {"OMP_NUM_THREADS": "3"}
    limit_threads(environ, tmp_path / "missing")
    assert (environ["OMP_NUM_THREADS"], environ["OPENBLAS_NUM_THREADS"]) == ("3", "1")
