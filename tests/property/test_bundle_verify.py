"""No byte of a bundle can change without the bundle being refused."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles import FILES, write_bundle
from tidegate_contract.bundle.manifest import MANIFEST_NAME
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError

# A busy machine is no finding.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(name=st.sampled_from([*FILES, MANIFEST_NAME]), place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_any_flipped_byte_is_refused(name: str, place: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        digest = write_bundle(directory)
        content = bytearray((directory / name).read_bytes())
        content[place % len(content)] ^= flip
        (directory / name).write_bytes(content)
        with pytest.raises(BundleError):
            verify(directory, digest)
