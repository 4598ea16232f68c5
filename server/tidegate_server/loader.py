"""From a directory to a model that is known to answer right: verify, load, ask the golden rows."""

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import EngineRecord, Manifest, Signature
from tidegate_contract.bundle.timings import limit_of
from tidegate_contract.bundle.verify import VerifiedBundle, verify
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_contract.profile import PROFILE_NAME, Column, Numeric, Profile, ProfileError, decode, score_place
from tidegate_server.engines import Engine, load_engine, permit
from tidegate_server.engines.chosen import ChosenEngine
from tidegate_server.engines.errors import EngineError
from tidegate_server.golden import check_golden

_logger = logging.getLogger(__name__)


ORIGINAL = "original"
"""Kind of the engine that is the model itself."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that answered its golden rows, which also warmed it."""

    engine: Engine
    manifest: Manifest
    digest: str
    profile: Profile | None
    """None in a bundle without one: the first traffic will have to be the reference."""
    load_seconds: float
    """From the first byte read to the last golden row answered, imports included."""
    engine_kind: str = ORIGINAL
    """What answers small requests."""


def load_model(directory: Path, expected_digest: str | None, *, allow_pickle: bool) -> LoadedModel:
    """Verify, load, check; in this order, so that nothing is parsed that was not asked for.

    Raises BundleError.
    """
    start = time.perf_counter()
    bundle = verify(directory, expected_digest)
    permit(bundle.manifest, allow_pickle=allow_pickle)
    profile = read_profile(bundle)
    record, limit = bundle.manifest.engine, limit_of(bundle.timings())
    original = partial(load_original, bundle, allow_pickle=allow_pickle)
    if record and limit != 0 and (compiled := load_compiled(bundle, record)):
        engine: Engine = ChosenEngine(compiled, limit, original)
        kind = record.kind
    else:
        engine, kind = original(), ORIGINAL
    return LoadedModel(engine, bundle.manifest, bundle.digest, profile, time.perf_counter() - start, kind)


def load_original(bundle: VerifiedBundle, *, allow_pickle: bool) -> Engine:
    """The model itself, once it has answered the golden rows. Raises BundleError."""
    engine = load_engine(bundle, allow_pickle=allow_pickle)
    check_golden(engine, bundle.manifest)
    return engine


def load_compiled(bundle: VerifiedBundle, record: EngineRecord) -> Engine | None:
    """An engine of the manifest, once it has answered the golden rows.

    None if it cannot be used; the log says why. Raises BundleError if its file changed.
    """
    from tidegate_server.engines.compiled import load

    content = bundle.read(record.file)
    try:
        engine = load(content, bundle.manifest.signature)
        check_golden(engine, bundle.manifest)
    except EngineError as error:
        why = str(error)
    except BundleError as error:
        why = error.failure.message
    except MemoryError:
        why = "there is not enough memory for it"
    else:
        return engine
    _logger.warning("the compiled engine is not used", extra={"engine": record.kind, "why": why})
    return None


def read_profile(bundle: VerifiedBundle) -> Profile | None:
    """The profile of a verified bundle, of columns that its signature has; None if it holds none.

    Raises BundleError BUNDLE_INVALID.
    """
    if PROFILE_NAME not in bundle.manifest.files:
        return None
    try:
        profile = decode(bundle.read(PROFILE_NAME))
    except ProfileError as error:
        raise BundleError(FailureReason.BUNDLE_INVALID, f"{error}; pack the model again") from error
    signature = bundle.manifest.signature
    for column in profile.features:
        spec = signature.input(column.name)
        if spec is None or not _fits(column, spec.datatype):
            said = f"{PROFILE_NAME} has a column {column.name!r} that the signature lacks, or has of another type"
            raise BundleError(FailureReason.BUNDLE_INVALID, f"{said}; pack the model again")
    if profile.score is not None and not _is_answered(profile.score, profile.score_of, signature):
        said = f"{PROFILE_NAME} has a score of what the model does not answer; pack the model again"
        raise BundleError(FailureReason.BUNDLE_INVALID, said)
    return profile


def _fits(column: Column, datatype: Datatype) -> bool:
    return isinstance(column, Numeric) != (datatype is Datatype.BYTES)


def _is_answered(score: Column, score_of: str, signature: Signature) -> bool:
    """Whether the score is one number or label of each row of an answer."""
    try:
        name, place = score_place(score_of)
    except ProfileError:
        return False
    spec = signature.output(name)
    if spec is None or isinstance(score, Numeric) != spec.datatype.is_float:
        return False
    return len(spec.shape) == 1 if place is None else len(spec.shape) == 2 and place < spec.shape[1]
