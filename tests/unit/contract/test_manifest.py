"""What a manifest may say."""

from typing import Any

import msgspec
import pytest

from bundles import GOLDEN, SIGNATURE, manifest
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import (
    FileEntry,
    GoldenRows,
    Manifest,
    ManifestError,
    Signature,
    SignatureKind,
    TensorSpec,
    decode,
    digest_of,
    encode,
)

ENTRY = FileEntry("0" * 64, 1)


def test_what_is_encoded_is_decoded_whole() -> None:
    assert decode(encode(manifest(metrics={"roc_auc": 0.75}))) == manifest(metrics={"roc_auc": 0.75})


def test_the_bytes_do_not_depend_on_the_order_of_fields() -> None:
    one = manifest(files={"model.skops": ENTRY, "a": ENTRY})
    other = manifest(files={"a": ENTRY, "model.skops": ENTRY})
    assert encode(one) == encode(other)


def test_the_digest_is_the_sha256_of_the_bytes() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_field_of_a_later_release_is_ignored() -> None:
    document = {**msgspec.json.decode(encode(manifest())), "profile": {"columns": []}}
    assert decode(msgspec.json.encode(document)) == manifest()


def _with_input(**changes: Any) -> Signature:
    first = msgspec.structs.replace(SIGNATURE.inputs[0], **changes)
    return msgspec.structs.replace(SIGNATURE, inputs=(first, SIGNATURE.inputs[1]))


def _with(**changes: Any) -> Signature:
    return msgspec.structs.replace(SIGNATURE, **changes)


def _with_golden(**changes: Any) -> GoldenRows:
    return msgspec.structs.replace(GOLDEN, **changes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a schema of another release": ({"schema_version": 2}, "schema_version is 2"),
    "a name with capitals": ({"name": "Flights"}, "name must be"),
    "a name that is empty": ({"name": ""}, "name must be"),
    "no files": ({"files": {}}, "files must list"),
    "a model file that is not listed": ({"model_file": "other.skops"}, "is not among the files"),
    "a sha256 that is none": ({"files": {"model.skops": FileEntry("xyz", 1)}}, "64 hex digits"),
    "a size below nothing": ({"files": {"model.skops": FileEntry("0" * 64, -1)}}, "64 hex digits"),
    "an absolute path": ({"files": {"model.skops": ENTRY, "/etc/passwd": ENTRY}}, "not a path inside"),
    "a path that climbs": ({"files": {"model.skops": ENTRY, "a/../../b": ENTRY}}, "not a path inside"),
    "a path written in a second way": ({"files": {"model.skops": ENTRY, "./a": ENTRY}}, "not a path inside"),
    "a path that ends in a slash": ({"files": {"model.skops": ENTRY, "a/": ENTRY}}, "not a path inside"),
    "a path with a backslash": ({"files": {"model.skops": ENTRY, "a\\b": ENTRY}}, "not a path inside"),
    "a path with a null byte": ({"files": {"model.skops": ENTRY, "a\0": ENTRY}}, "not a path inside"),
    "a path that is empty": ({"files": {"model.skops": ENTRY, "": ENTRY}}, "not a path inside"),
    "the manifest as its own file": ({"files": {"model.skops": ENTRY, "manifest.json": ENTRY}}, "not a path inside"),
    "an input of two dimensions": ({"signature": _with_input(shape=(-1, 3))}, "must have the shape [-1]"),
    "a fixed number of rows": ({"signature": _with_input(shape=(4,))}, "must start with -1"),
    "two inputs of one name": ({"signature": _with_input(name="delay")}, "names that differ"),
    "one tensor without a name": ({"signature": _with(kind=SignatureKind.TENSOR)}, "names the one input"),
    "a tensor's name where columns are asked for": ({"signature": _with(tensor="X")}, "names the one input"),
    "one tensor of text and numbers": (
        {"signature": _with(kind=SignatureKind.TENSOR, tensor="X")},
        "must have the same datatype",
    ),
    "no outputs": ({"signature": Signature(SIGNATURE.inputs, ())}, "at least one tensor"),
    "a tolerance below nothing": ({"golden": _with_golden(tolerance=-1.0)}, "must not be negative"),
    "golden rows without an input": ({"golden": _with_golden(inputs={"delay": (1.0,) * 5})}, "exactly the inputs"),
    "golden rows of different lengths": (
        {"golden": _with_golden(inputs={**GOLDEN.inputs, "delay": (1.0,) * 6})},
        "same number of rows",
    ),
    "four golden rows": (
        {
            "golden": GoldenRows(
                {k: v[:4] for k, v in GOLDEN.inputs.items()}, {k: v[:4] for k, v in GOLDEN.outputs.items()}
            )
        },
        "must be 5 to 50",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message.replace("[", r"\[")):
        decode(encode(manifest(**changes)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema_version": 1, "name": "\xff"}',
        b'{"name": "x"}',
        b"[" * 100_000,
    ],
    ids=[
        "nothing",
        "half of it",
        "a list",
        "null",
        "not UTF-8",
        "a name that is not UTF-8",
        "most fields missing",
        "very deep",
    ],
)
def test_what_does_not_parse_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestError, match="does not parse"):
        decode(content)


def test_a_datatype_that_json_cannot_carry_is_refused() -> None:
    text = encode(manifest()).replace(b'"FP64"', b'"FP16"')
    with pytest.raises(ManifestError, match="does not parse"):
        decode(text)


def test_a_tensor_is_found_by_its_name() -> None:
    assert SIGNATURE.input("delay") == TensorSpec("delay", Datatype.FP64, (-1,))
    assert SIGNATURE.output("delay") is None


def test_a_manifest_is_a_value() -> None:
    one: Manifest = manifest()
    with pytest.raises(AttributeError):
        one.name = "other"  # type: ignore[misc]
