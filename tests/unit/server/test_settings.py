"""The environment, read once."""

from pathlib import Path

import pytest

from tidegate_server.settings import Settings, SettingsError, read_settings

DIGEST = "sha256:" + "ab" * 32


def test_nothing_set_is_a_working_server() -> None:
    assert read_settings({}) == Settings()


def test_everything_that_the_operator_sets() -> None:
    environ = {
        "TIDEGATE_MODEL_NAME": "flights",
        "TIDEGATE_REVISION": "abc123",
        "TIDEGATE_BUNDLE_DIR": "/mnt/bundle",
        "TIDEGATE_BUNDLE_DIGEST": DIGEST,
        "TIDEGATE_ALLOW_PICKLE": "true",
        "TIDEGATE_DRAIN_SECONDS": "12.5",
        "TIDEGATE_TIMEOUT_SECONDS": "3",
    }
    assert read_settings(environ) == Settings(
        model_name="flights",
        revision="abc123",
        bundle_dir=Path("/mnt/bundle"),
        digest=DIGEST,
        allow_pickle=True,
        drain_seconds=12.5,
        timeout_seconds=3.0,
    )


def test_an_empty_variable_is_an_unset_one() -> None:
    names = ("MODEL_NAME", "BUNDLE_DIR", "BUNDLE_DIGEST", "ALLOW_PICKLE", "DRAIN_SECONDS", "TIMEOUT_SECONDS")
    assert read_settings({f"TIDEGATE_{name}": "" for name in names}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEGATE_BUNDLE_DIGEST", "sha256:abc"),
        ("TIDEGATE_ALLOW_PICKLE", "yes"),
        ("TIDEGATE_DRAIN_SECONDS", "five"),
        ("TIDEGATE_DRAIN_SECONDS", "-1"),
        ("TIDEGATE_TIMEOUT_SECONDS", "0"),
        ("TIDEGATE_TIMEOUT_SECONDS", "nan"),
        ("TIDEGATE_TIMEOUT_SECONDS", "inf"),
        ("TIDEGATE_REVISION", "r" * 64),
        ("TIDEGATE_REVISION", "a\nb"),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})
