"""What verified engines must reach: never slower than scikit-learn's predict, and equal to it.

    .venv/bin/python tests/bench/engines.py            1,000,000 rows of each model, nine rounds; minutes
    .venv/bin/python tests/bench/engines.py --short    40,000 rows, five rounds
    .venv/bin/python tests/bench/engines.py speed      one part: speed, equality

Speed is of a bundle as a server loads it, original included, in one process: the time of its predict divided by that of
`model.predict` on an array that is there already, in turns. Needs nothing else to run on that processor.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

os.environ["OMP_NUM_THREADS"] = "1"  # as a server sets them, before the libraries are imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import skops.io

import named_models
from bench.scenarios.report import Report
from tidegate_contract.bundle.manifest import Signature
from tidegate_server.engines import Engine
from tidegate_server.engines.chosen import ChosenEngine
from tidegate_server.engines.compiled import Program, encode, load
from tidegate_server.engines.scikit import ScikitEngine
from tidegate_server.engines.trees import Trees
from tidegate_server.loader import load_model
from tidegate_server.offline.compiling import compile_model
from tidegate_server.offline.originals.scikit import ask, output_specs
from tidegate_server.offline.pack import pack
from tidegate_server.offline.table import column_specs, to_columns
from tidegate_server.offline.trial import edges, perturb, pick
from tidegate_server.tensors import Array, Columns

SIZES = (1, 8, 64, 256, 1024, 4096)
SLOWER = 1.05
SEED = 1
PART = 4096
ALONE = 500


def large_models() -> dict[str, Any]:
    """A forest, boosting and a logistic regression as large as people serve them."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    return {
        "forest": RandomForestClassifier(100, random_state=0),
        "boosting": HistGradientBoostingClassifier(random_state=0),
        "logistic": LogisticRegression(max_iter=1000),
    }


def large_table(rows: int = 20_000) -> tuple[pd.DataFrame, Array]:
    from sklearn.datasets import make_classification

    x, y = make_classification(rows, 20, n_informative=10, random_state=0)
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(20)]), y


def speed(report: Report, rounds: int) -> dict[str, Any]:
    """Microseconds of both, and the median of the rounds' ratios, for each model and number of rows."""
    figures: dict[str, Any] = {}
    frame, target = large_table()
    array = frame.to_numpy()
    for name, model in large_models().items():
        model.fit(array, target)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.skops")
            skops.io.dump(model, path)
            packed = pack(path, frame, Path(folder, "bundle"))
            loaded = load_model(packed.directory, packed.digest, allow_pickle=False)
            columns = to_columns(frame, packed.manifest.signature.inputs)
            if isinstance(loaded.engine, ChosenEngine):
                loaded.engine.predict(columns, ("predict",))  # more rows than any limit: the original comes
                loaded.engine.wait()
            for rows in SIZES:
                batch, part = pick(columns, np.arange(rows)), np.ascontiguousarray(array[:rows])
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(_seconds(partial(loaded.engine.predict, batch, ("predict",))))
                    theirs.append(_seconds(partial(model.predict, part)))
                ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
                both = [statistics.median(times) * 1e6 for times in (ours, theirs)]
                figures[f"{name}, {rows} rows"] = {"us": both[0], "scikit_learn_us": both[1], "ratio": ratio}
                text = f"{ratio:.3f} ({both[0]:,.0f} of {both[1]:,.0f} us)"
                report.bar(f"{name}, {rows:,} rows", text, f"<= {SLOWER}", passed=ratio <= SLOWER, timed=True)
    return figures


def _seconds(call: Callable[[], object]) -> float:
    """Of one call, as the mean of as many as take 20 ms."""
    call()
    start, calls = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < 0.02:
        call()
        calls += 1
    return taken / calls


def equality(report: Report, rows: int) -> dict[str, Any]:
    """How many rows of each model are answered otherwise, and the largest difference of a number.

    Most rows are of values that the model takes, in parts; of the others each is asked alone, since one that is
    refused refuses its whole part.
    """
    figures: dict[str, Any] = {}
    for name, case in named_models.cases().items():
        model, frame = named_models.fitted(case)
        inputs = column_specs(frame)
        signature = Signature(inputs, output_specs(model, ask(model, frame)))
        program = compile_model(model, signature)
        engines = ScikitEngine(model, signature), load(encode(program), signature)
        columns = to_columns(frame, inputs)
        pools = {spec.name: _pool(columns[spec.name], edges(program, i, spec)) for i, spec in enumerate(inputs)}
        gaps = isinstance(program.model, Trees) and program.takes_nan
        tame = {name: pool if pool.dtype.kind != "f" else _tame(pool, gaps=gaps) for name, pool in pools.items()}
        total = Difference()
        for start in range(0, rows - ALONE, PART):
            size = min(PART, rows - ALONE - start)
            total = total + difference(engines, perturb(columns, tame, size, SEED + start), signature, program)
        wild = perturb(columns, pools, ALONE, SEED - 1)
        for row in range(ALONE):
            total = total + difference(engines, pick(wild, np.array([row])), signature, program)
        figures[name] = asdict(total)
        said = f"{total.differing} of {total.rows:,} differ, numbers by {total.largest:.1g}; {total.refused} refused"
        report.bar(name, said, "0, 1e-6", passed=total.differing == 0 and total.largest <= 1e-6)
    return figures


@dataclass(frozen=True)
class Difference:
    rows: int = 0
    differing: int = 0
    """Rows with another label, or refused by one of the two alone."""
    refused: int = 0
    """Rows that both refuse."""
    largest: float = 0.0
    """|difference| / (1 + |model's answer|) of a number."""

    def __add__(self, other: "Difference") -> "Difference":
        return Difference(
            self.rows + other.rows,
            self.differing + other.differing,
            self.refused + other.refused,
            max(self.largest, other.largest),
        )


def difference(engines: tuple[Engine, Engine], columns: Columns, signature: Signature, program: Program) -> Difference:
    """Of the second engine from the first."""
    rows = len(columns[signature.inputs[0].name])
    expected, found = (_outcome(engine, columns, [spec.name for spec in signature.outputs]) for engine in engines)
    if expected is None or found is None:
        return Difference(rows, refused=rows) if expected is found else Difference(rows, differing=rows)
    wrong, largest = np.zeros(rows, bool), 0.0
    for output, answer in expected.items():
        if output == "predict" and program.classes:
            wrong |= found[output] != answer
        else:
            with np.errstate(invalid="ignore"):
                apart = np.abs(found[output] - answer) / (1 + np.abs(answer))
            apart[found[output] == answer] = 0
            largest = max(largest, float(np.nan_to_num(apart, nan=np.inf).max()))
    return Difference(rows, int(wrong.sum()), 0, largest)


def _pool(present: Array, own: Array) -> Array:
    if present.dtype.kind == "b":
        return present
    if present.dtype.kind != "f":
        return np.concatenate([present, np.array([None, "", "no such category"], object)])
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1e30, -1e30, 1e39])
    with np.errstate(over="ignore", under="ignore"):
        return np.concatenate([np.repeat(own, max(1, 200 // max(1, len(own)))), present[:100], odd.astype(own.dtype)])


def _tame(pool: Array, *, gaps: bool) -> Array:
    """The values that every model takes, and missing ones where this one does."""
    return pool[(np.abs(pool) < 1e38) | (np.isnan(pool) & gaps)]


def _outcome(engine: Engine, columns: Columns, outputs: Sequence[str]) -> Columns | None:
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return engine.predict(columns, outputs)
    except ValueError:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="speed, equality; both without one")
    parser.add_argument("--short", action="store_true", help="fewer rows and rounds, the same bars")
    parser.add_argument("--json", type=Path, default=Path("dist/bench-engines.json"), help="where the figures go")
    options = parser.parse_args()
    if unknown := set(options.parts) - {"speed", "equality"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    report, figures = Report(options.short), {}
    for part in options.parts or ("speed", "equality"):
        report.scenario = part
        if part == "speed":
            figures[part] = speed(report, rounds=5 if options.short else 9)
        else:
            figures[part] = equality(report, rows=2_000 if options.short else 50_000)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\nfigures: {options.json}")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
