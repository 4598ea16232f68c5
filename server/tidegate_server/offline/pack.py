"""From a trained model and some of its data to a bundle that a server will accept.

The same model file, data and arguments give the same digest on the same libraries: no
clock is read and nothing is drawn at random. The last step is the server's own loader on
the finished bundle, so that what is packed is known to serve.
"""

import hashlib
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec.structs import replace

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import (
    MANIFEST_NAME,
    MIN_GOLDEN_ROWS,
    SCHEMA_VERSION,
    EngineRecord,
    Environment,
    FileEntry,
    GoldenRows,
    Lineage,
    Manifest,
    Signature,
    check,
    digest_of,
    encode,
)
from tidegate_contract.bundle.timings import TIMINGS_NAME
from tidegate_contract.bundle.timings import encode as encode_timings
from tidegate_contract.profile import PROFILE_NAME, Profile, ProfileError
from tidegate_contract.profile import encode as encode_profile
from tidegate_server.engines import PREDICT, compiled
from tidegate_server.engines.chosen import ChosenEngine
from tidegate_server.engines.errors import EngineError
from tidegate_server.engines.scikit import ScikitEngine
from tidegate_server.engines.trees import Trees
from tidegate_server.loader import load_model
from tidegate_server.offline.check import Finding
from tidegate_server.offline.check import check as check_data
from tidegate_server.offline.compiling import NotCompiledError, compile_model
from tidegate_server.offline.errors import PackError
from tidegate_server.offline.golden import candidates, choose
from tidegate_server.offline.originals import Original, read
from tidegate_server.offline.profile import build, score_of
from tidegate_server.offline.table import ask_in_parts, file_sha256, read_table, spread, to_columns
from tidegate_server.offline.trial import DifferentError, compare, measure
from tidegate_server.tensors import Array, Columns, to_values

ENGINE_FILE = "engine.msgpack"
TOLERANCE, TOLERANCE_FP32 = 1e-6, 1e-4
"""Another processor adds in another order; in single precision some layers of that are seen in the fifth digit."""
PROFILE_ROWS = 100_000
"""More rows make a profile no better: what it is compared with later is never exact either."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle on disk that the server's own loader has accepted."""

    directory: Path
    digest: str
    manifest: Manifest
    load_seconds: float
    findings: tuple[Finding, ...]
    """What is odd about the data."""


def pack(
    model_path: Path,
    data: Path | pd.DataFrame,
    out: Path,
    *,
    target: str | None = None,
    name: str | None = None,
    allow_pickle: bool = False,
    trust: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
    strict: Sequence[str] = (),
    tensor: str = "",
    lineage: Lineage | None = None,
    tolerance: float | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Packed:
    """Write a bundle to `out`.

    data      rows as the model takes them, among them some with missing values if it will meet any; they are the
              reference that later traffic is compared with
    target    the column of the data that is predicted; left out of the signature
    name      the bundle's name; the model file's if none is given
    metrics   held-out metrics to record; nothing is computed here, for the data may be what the model was trained on
    tensor    requests have all columns in one input of this name, of shape [rows, columns]; those of an ONNX model
              that takes one have it anyway
    strict    columns in which the server refuses values that the data has none like: missing, out of range, unseen
    lineage   where the model comes from, recorded as it is; model and data are filled in here
    tolerance by how much the server's answers to the golden rows may differ, absolute plus relative; TOLERANCE if none
              is given, and TOLERANCE_FP32 of a model that answers in single precision
    force     replace a bundle that is at `out`
    progress  is told each step as it begins

    Raises PackError, ModelError, TableError for what cannot be packed; BundleError if the loader refuses the
    result, and then nothing is left at `out`.
    """
    _check_destination(out, force=force)
    for other in (out, *([data] if isinstance(data, Path) else [])):
        if model_path.is_dir() and other.resolve().is_relative_to(model_path.resolve()):
            raise PackError(f"{other} lies in the folder {model_path}, all of which is the model; take it elsewhere")
    progress("reading the model")
    original = read(model_path, allow_pickle=allow_pickle, trust=trust)
    progress("reading the data")
    frame = read_table(data) if isinstance(data, Path) else data.rename(columns=str)
    if not frame.columns.is_unique:
        raise PackError("the data has two columns of one name")
    rows = original.features(frame, target)
    if len(rows) < MIN_GOLDEN_ROWS:
        raise PackError(f"the data has {len(rows)} rows, and {MIN_GOLDEN_ROWS} are needed for golden rows")
    progress("checking the data")
    findings = check_data(rows if target is None else rows.assign(**{target: frame[target]}), target)
    asked = original.signature(rows, tensor)  # of every row: the few that are asked for may hold no missing value
    profile = _profile(original, rows, asked, progress)
    if unknown := [column for column in strict if profile.feature(column) is None]:
        raise PackError(f"column {unknown[0]!r} cannot be strict: the data has no such input, or no value in it")
    progress("asking the model for its golden rows")
    rows = rows.iloc[candidates(rows)]
    golden = rows.iloc[choose(rows, original.ask(rows, asked)[PREDICT])]
    answers = original.ask(golden, asked)
    signature = replace(asked, outputs=original.outputs(answers))
    columns = to_columns(rows, signature.inputs)
    contents = {**original.contents, PROFILE_NAME: encode_profile(profile)}
    engines: tuple[EngineRecord, ...] = ()
    if original.estimator is not None:
        progress("comparing a compiled engine with the model")
        tried = _compile(original.estimator, signature, columns)
        engines = (tried.record,)
        if tried.content is not None:
            contents[ENGINE_FILE] = tried.content
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name or name_from(model_path),
        format=original.format,
        model_file=original.model_file,
        files={path: FileEntry(hashlib.sha256(held).hexdigest(), len(held)) for path, held in contents.items()},
        signature=signature,
        golden=GoldenRows(
            {column: tuple(to_values(array)) for column, array in to_columns(golden, signature.inputs).items()},
            {output: _cells(array) for output, array in answers.items()},
            _tolerance(signature) if tolerance is None else tolerance,
        ),
        environment=_environment(original.libraries),
        inner_names={name: inner for name, inner in original.inner_names.items() if name != inner},
        trusted_types=original.trusted_types,
        lineage=replace(
            lineage or Lineage(),
            model=original.describe(),
            data_sha256=file_sha256(data) if isinstance(data, Path) else "",
        ),
        metrics=dict(metrics or {}),
        engines=engines,
        strict=tuple(sorted(set(strict))),
    )
    check(manifest)
    progress("writing the bundle and loading it as the server does")
    return _write(manifest, contents, out, findings, columns, progress=progress)


@dataclass(frozen=True, slots=True)
class _Compiled:
    record: EngineRecord
    content: bytes | None
    """Of its file; None if it is refused."""


def _compile(model: Any, signature: Signature, columns: Columns) -> _Compiled:
    """An engine that was compared with the model, or why there is none."""
    try:
        program = compile_model(model, signature)
    except NotCompiledError as error:
        return _Compiled(EngineRecord(kind="compiled", reason=str(error)), None)
    kind = "trees" if isinstance(program.model, Trees) else "linear"
    content = compiled.encode(program)
    try:
        engine = compiled.load(content, signature)
        equal = compare(ScikitEngine(model, signature), engine, program, columns, signature)
    except (EngineError, DifferentError) as error:
        return _Compiled(EngineRecord(kind=kind, reason=str(error)), None)
    record = EngineRecord(
        kind=kind,
        file=ENGINE_FILE,
        reference_rows=equal.reference_rows,
        perturbed_rows=equal.perturbed_rows,
        max_difference=float(f"{equal.max_difference:.1e}"),
    )
    return _Compiled(record, content)


def _profile(original: Original, rows: pd.DataFrame, asked: Signature, progress: Callable[[str], None]) -> Profile:
    """What the rows look like, or so many of them spread evenly, and what the model answers them."""
    reference = rows.iloc[spread(len(rows), PROFILE_ROWS)]
    answers = ask_in_parts(
        reference,
        lambda part: original.ask(part, asked),
        lambda share: progress(f"profiling the data and the model's answers to it, {share:.0%}"),
    )
    try:
        return build(to_columns(reference, asked.inputs), score_of(answers))
    except ProfileError as error:
        raise PackError(str(error)) from error


def _tolerance(signature: Signature) -> float:
    return TOLERANCE_FP32 if any(spec.datatype is Datatype.FP32 for spec in signature.outputs) else TOLERANCE


def name_from(path: Path) -> str:
    """A bundle name made of a file's.

    >>> name_from(Path("Late Flights_v2.skops"))
    'late-flights-v2'
    """
    return re.sub(r"[^a-z0-9.]+", "-", path.resolve().stem.lower()).strip("-.")[:63].rstrip("-.") or "model"


def _cells(array: Array) -> tuple[bool | int | float | str | tuple[bool | int | float | str | None, ...] | None, ...]:
    return tuple(tuple(cell) if isinstance(cell, list) else cell for cell in to_values(array))


def _environment(libraries: Sequence[str]) -> Environment:
    return Environment(
        python=".".join(map(str, sys.version_info[:3])),
        libraries={library: version(library) for library in libraries},
        os=platform.system(),
        arch=platform.machine(),
    )


def _check_destination(out: Path, *, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise PackError(f"{out} exists and is not a directory; choose another -o")
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST_NAME).is_file():
        raise PackError(f"{out} holds something that is not a bundle; choose another -o")
    if not force:
        raise PackError(f"{out} holds a bundle already; add --force to replace it, or choose another -o")


def _write(
    manifest: Manifest,
    contents: Mapping[str, bytes],
    out: Path,
    findings: tuple[Finding, ...],
    columns: Columns,
    *,
    progress: Callable[[str], None],
) -> Packed:
    """Beside `out` first, loaded there as a server would, and only then in its place."""
    manifest_bytes = encode(manifest)
    digest = digest_of(manifest_bytes)
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        staged = Path(scratch, "bundle")
        staged.mkdir()
        for path, content in contents.items():
            (staged / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).write_bytes(content)
        (staged / MANIFEST_NAME).write_bytes(manifest_bytes)
        loaded = load_model(staged, digest, allow_pickle=True)  # what runs code has run it above
        if isinstance(loaded.engine, ChosenEngine):
            progress("measuring the compiled engine against the model")
            original = loaded.engine.load_original()  # which such a server reads only when it needs it
            (staged / TIMINGS_NAME).write_bytes(encode_timings(measure(original, loaded.engine.compiled, columns)))
        if out.exists():
            out.rename(Path(scratch, "replaced"))
        staged.rename(out)
    return Packed(out, digest, manifest, loaded.load_seconds, findings)
