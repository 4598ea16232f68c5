"""From a directory to a model that is known to answer right: verify, load, ask the golden rows."""

import time
from dataclasses import dataclass
from pathlib import Path

from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.bundle.verify import VerifiedBundle, verify
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_contract.profile import PROFILE_NAME, Profile, ProfileError, decode
from tidegate_server.engines import Engine, load_engine
from tidegate_server.golden import check_golden


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


def load_model(directory: Path, expected_digest: str | None, *, allow_pickle: bool) -> LoadedModel:
    """Verify, load, check; in this order, so that nothing is parsed that was not asked for.

    Raises BundleError.
    """
    start = time.perf_counter()
    bundle = verify(directory, expected_digest)
    engine = load_engine(bundle, allow_pickle=allow_pickle)
    profile = read_profile(bundle)
    check_golden(engine, bundle.manifest)
    return LoadedModel(engine, bundle.manifest, bundle.digest, profile, time.perf_counter() - start)


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
    for column in profile.features:
        if bundle.manifest.signature.input(column.name) is None:
            said = f"{PROFILE_NAME} has a column {column.name!r} that the signature lacks; pack the model again"
            raise BundleError(FailureReason.BUNDLE_INVALID, said)
    return profile
