"""manifest.json: what a bundle is, under one digest.

The digest of a bundle is the sha256 of the bytes of this one file, which holds the
sha256 of every other file. Whoever knows the digest knows the bytes of the whole
bundle before a single one of them is parsed.

Unknown fields are ignored, so that a server reads the bundles of the next release;
`schema_version` rises only when an old reader would misunderstand.
"""

import hashlib
import re
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath

import msgspec

from tidegate_contract.bundle.datatypes import Datatype

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
MIN_GOLDEN_ROWS = 5
MAX_GOLDEN_ROWS = 50
MAX_FILES = 1000
MAX_PATH = 255
NAME_PATTERN = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
ENGINE_KINDS = ("trees", "linear")
"""Those that this release can read."""
_SHA256 = re.compile(r"^[0-9a-f]{64}$")

Value = bool | int | float | str | None
"""One cell of a column. None is a missing value; a float column has no other way to say NaN in JSON."""

Cell = Value | tuple[Value, ...]
"""One row of an output: a scalar, or the row of a matrix (one probability per class)."""


class ManifestError(ValueError):
    """A manifest that parses and cannot be meant; the message names the field."""


class Format(StrEnum):
    """How the model file is to be read."""

    SKLEARN_SKOPS = "sklearn-skops"
    SKLEARN_JOBLIB = "sklearn-joblib"
    """A pickle: reading it runs whatever code its author put there."""
    ONNX = "onnx"
    PYTHON = "python"
    """A class with `load` and `predict`: code of its author."""

    @property
    def runs_code(self) -> bool:
        """Whether to read the model is to run code of its author."""
        return self in (Format.SKLEARN_JOBLIB, Format.PYTHON)


class SignatureKind(StrEnum):
    """How the columns of a model are laid out in a request."""

    COLUMNS = "columns"
    """One named input for each, of shape [n]."""
    TENSOR = "tensor"
    """One input of shape [n, columns] for all of them, which have the same datatype."""


class FileEntry(msgspec.Struct, frozen=True):
    """A file of the bundle: its sha256 as 64 hex digits and its size in bytes."""

    sha256: str
    size: int


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named tensor; -1 in the shape is the number of rows."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    labels: tuple[Value, ...] = ()
    """Of a matrix: what each of its columns is, the class of a probability or the name of an input."""


class Signature(msgspec.Struct, frozen=True, dict=True, omit_defaults=True):
    """What goes in and what comes out, both in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    """The columns of the table that a model is asked about, however a request lays them out."""
    outputs: tuple[TensorSpec, ...]
    kind: SignatureKind = SignatureKind.COLUMNS
    tensor: str = ""
    """Of the kind `tensor`: the name of the one input that a request has."""

    def input(self, name: str) -> TensorSpec | None:
        return self._inputs.get(name)

    def output(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.outputs if spec.name == name), None)

    @cached_property
    def requested(self) -> dict[str, TensorSpec]:
        """The inputs that a request has, by name."""
        if self.kind is SignatureKind.COLUMNS:
            return self._inputs
        names, datatype = tuple(self._inputs), self.inputs[0].datatype
        return {self.tensor: TensorSpec(self.tensor, datatype, (-1, len(names)), names)}

    @cached_property
    def _inputs(self) -> dict[str, TensorSpec]:
        """By name: every request asks for each."""
        return {spec.name: spec for spec in self.inputs}


class GoldenRows(msgspec.Struct, frozen=True):
    """Rows with the answers that the model gave where it was packed.

    Labels must come back exactly, floats within `tolerance` (absolute plus relative, as numpy.isclose).
    """

    inputs: dict[str, tuple[Value, ...]]
    outputs: dict[str, tuple[Cell, ...]]
    tolerance: float = 1e-6

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values()), ()))


class Environment(msgspec.Struct, frozen=True):
    """Where the model was packed: Python, libraries by name, operating system, processor architecture."""

    python: str
    libraries: dict[str, str]
    os: str
    arch: str


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the model comes from, as far as whoever packed it said. No clock is read for it, so that packing twice
    gives the same bytes."""

    model: str = ""
    """The class of the model, or of each step of a pipeline joined by ` -> `."""
    data_sha256: str = ""
    """Of the data file that the signature and the golden rows were taken from."""
    data_uri: str = ""
    """Where that data, or what it was made of, can be found."""
    commit: str = ""
    """Of the code that trained the model."""
    run: str = ""
    """Of the training, as whatever tracks it calls it."""
    author: str = ""
    created: str = ""
    """RFC 3339, only where the caller gave a time."""


class EngineRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An engine that was tried beside the model itself: used where `file` is given, refused where `reason` is."""

    kind: str
    """`trees` or `linear`; a server passes over a kind that it does not know."""
    file: str = ""
    """Which of the files it is read from."""
    reason: str = ""
    """Why it is not used, as a sentence's end."""
    reference_rows: int = 0
    """Rows of the data on which it was compared with the model."""
    perturbed_rows: int = 0
    """The same with values changed: missing, at the trees' thresholds and beside them, infinite."""
    max_difference: float = 0.0
    """The largest |difference| / (1 + |model's answer|) of a probability or a number; labels were all equal."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole of manifest.json."""

    schema_version: int
    name: str
    format: Format
    model_file: str
    files: dict[str, FileEntry]
    signature: Signature
    golden: GoldenRows
    environment: Environment
    inner_names: dict[str, str] = {}
    """Of an ONNX model: its own name for an output that the signature calls otherwise."""
    trusted_types: tuple[str, ...] = ()
    """Of a skops model: the types that its packer allowed beside those that skops itself allows."""
    lineage: Lineage = Lineage()
    metrics: dict[str, float] = {}
    """Held-out metrics by name."""
    engines: tuple[EngineRecord, ...] = ()
    """What else can answer, the preferred one first."""
    strict: tuple[str, ...] = ()
    """Columns whose values the server refuses where the profile's reference had none like them."""

    @property
    def engine(self) -> EngineRecord | None:
        """The engine to use before the model itself."""
        return next((record for record in self.engines if record.file and record.kind in ENGINE_KINDS), None)


def encode(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: sorted keys, indented for people, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def digest_of(manifest_bytes: bytes) -> str:
    """`sha256:<64 hex>` of the bytes of a manifest: the digest of its bundle."""
    return f"sha256:{hashlib.sha256(manifest_bytes).hexdigest()}"


def decode(manifest_bytes: bytes) -> Manifest:
    """Parse and check a manifest.

    Raises ManifestError with a sentence that names the field.
    """
    try:
        manifest = msgspec.json.decode(manifest_bytes, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ManifestError(f"{MANIFEST_NAME} does not parse: {error}") from error
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """Refuse what parses and cannot be meant.

    Raises ManifestError.
    """
    if manifest.schema_version != SCHEMA_VERSION:
        raise ManifestError(
            f"schema_version is {manifest.schema_version} and this release reads {SCHEMA_VERSION}; "
            "pack the model again or use the release that packed it"
        )
    if not NAME_PATTERN.match(manifest.name):
        raise ManifestError("name must be 1 to 63 lower-case letters, digits, - or .")
    if not 1 <= len(manifest.files) <= MAX_FILES:
        raise ManifestError(f"files must list 1 to {MAX_FILES} files")
    for path, entry in manifest.files.items():
        _check_path(path)
        if not _SHA256.match(entry.sha256) or entry.size < 0:
            raise ManifestError(f"files: {path!r} needs a sha256 of 64 hex digits and a size")
    if manifest.model_file not in manifest.files:
        raise ManifestError(f"model_file {manifest.model_file!r} is not among the files")
    if lost := [record.file for record in manifest.engines if record.file and record.file not in manifest.files]:
        raise ManifestError(f"engines: {lost[0]!r} is not among the files")
    _check_signature(manifest.signature)
    if unknown := [name for name in manifest.strict if manifest.signature.input(name) is None]:
        raise ManifestError(f"strict: {unknown[0]!r} is not among the inputs of the signature")
    if unknown := [name for name in manifest.inner_names if manifest.signature.output(name) is None]:
        raise ManifestError(f"inner_names: {unknown[0]!r} is not among the outputs of the signature")
    _check_golden(manifest.golden, manifest.signature)


def _check_path(path: str) -> None:
    """A path stays inside the bundle, and is written in one way only."""
    pure = PurePosixPath(path)
    plain = bool(path) and len(path) <= MAX_PATH and path.isprintable() and "\\" not in path
    inside = not pure.is_absolute() and ".." not in pure.parts and str(pure) == path and path != "."
    if not (plain and inside) or path == MANIFEST_NAME:
        raise ManifestError(f"files: {path!r} is not a path inside the bundle; write it relative and without ..")


def _check_signature(signature: Signature) -> None:
    for side, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        names = [spec.name for spec in specs]
        if not names or len(set(names)) != len(names) or not all(names):
            raise ManifestError(f"signature.{side} needs at least one tensor, and names that differ")
        for spec in specs:
            if not spec.shape or spec.shape[0] != -1 or any(size < 1 for size in spec.shape[1:]):
                raise ManifestError(f"signature.{side}: the shape of {spec.name!r} must start with -1")
    for spec in signature.inputs:
        if len(spec.shape) != 1:
            raise ManifestError(f"signature.inputs: column {spec.name!r} must have the shape [-1]")
    one_tensor = signature.kind is SignatureKind.TENSOR
    if one_tensor != bool(signature.tensor):
        raise ManifestError("signature.tensor names the one input of the kind tensor, and of no other")
    if one_tensor and len({spec.datatype for spec in signature.inputs}) > 1:
        raise ManifestError("signature.inputs: the columns of one tensor must have the same datatype")


def _check_golden(golden: GoldenRows, signature: Signature) -> None:
    if golden.tolerance < 0:
        raise ManifestError("golden.tolerance must not be negative")
    wanted_inputs = {spec.name for spec in signature.inputs}
    wanted_outputs = {spec.name for spec in signature.outputs}
    if set(golden.inputs) != wanted_inputs or set(golden.outputs) != wanted_outputs:
        raise ManifestError("golden rows need exactly the inputs and outputs of the signature")
    if not MIN_GOLDEN_ROWS <= golden.rows <= MAX_GOLDEN_ROWS:
        raise ManifestError(f"golden rows must be {MIN_GOLDEN_ROWS} to {MAX_GOLDEN_ROWS}")
    if {len(column) for column in (*golden.inputs.values(), *golden.outputs.values())} != {golden.rows}:
        raise ManifestError("golden rows: every column needs the same number of rows")
