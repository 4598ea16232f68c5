"""Addresses of bundles, taken apart."""

import pytest

from tidegate_contract.source import HttpsSource, OciSource, PvcSource, Source, SourceError, parse

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("oci://registry:5000/a/b:1", OciSource("registry:5000/a/b:1")),
        (f"oci://registry/a@{DIGEST}", OciSource(f"registry/a@{DIGEST}")),
        (f"oci://registry/a:1@{DIGEST}", OciSource(f"registry/a:1@{DIGEST}")),
        ("pvc://models", PvcSource("models", "")),
        ("pvc://models/", PvcSource("models", "")),
        ("pvc://models/a//b/", PvcSource("models", "a/b")),
        ("https://host/b.tgz", HttpsSource("https://host/b.tgz", 443)),
        ("https://host:8443/b.tgz?x=1", HttpsSource("https://host:8443/b.tgz?x=1", 8443)),
    ],
)
def test_parsed(uri: str, source: Source) -> None:
    assert parse(uri) == source


@pytest.mark.parametrize(
    ("reference", "pinned"), [("r/a:1", False), (f"r/a@{DIGEST}", True), (f"r/a:1@{DIGEST}", True)]
)
def test_only_a_digest_pins(reference: str, pinned: bool) -> None:
    assert OciSource(reference).pinned is pinned


@pytest.mark.parametrize(
    "uri",
    [
        *("", "flights", "http://host/b.tgz", "s3://bucket/b", "HTTPS//host"),
        *("oci://registry", "oci:///a:1", "oci://registry/"),
        *("pvc://", "pvc:///a", "pvc://Models/a", "pvc://models/../a"),
        *("https://", "https:///b.tgz", "https://host:port/b", "https://host:99999/b"),
        *("https://ada:secret@host/b.tgz", "oci://ada:secret@registry/a:1"),
    ],
)
def test_refused_without_repeating_a_password(uri: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(uri)
    assert "secret" not in str(caught.value)
