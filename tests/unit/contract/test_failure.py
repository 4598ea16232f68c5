"""A failure travels from a container to the operator in its termination message."""

from pathlib import Path

import pytest

from tidegate_contract.failure import (
    ARTIFACT_REASONS,
    MESSAGE_LIMIT,
    BundleError,
    Failure,
    FailureReason,
    decode,
    encode,
    report,
)


@pytest.mark.parametrize("reason", FailureReason)
def test_what_is_reported_is_read_back(reason: FailureReason, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    failure = Failure(reason, "what to do: “this”")
    report(failure, log)
    assert decode(log.read_text()) == failure


def test_without_a_kubelet_nothing_is_written(tmp_path: Path) -> None:
    report(Failure(FailureReason.LOAD_FAILED, "m"), tmp_path / "log")
    assert not list(tmp_path.iterdir())


def test_a_message_fits_into_the_kubelets_limit() -> None:
    error = BundleError(FailureReason.LOAD_FAILED, "x" * 10_000)
    assert len(error.failure.message) == MESSAGE_LIMIT
    assert len(encode(error.failure)) < 4096


@pytest.mark.parametrize("text", ["мост ", "\n", '"\\', "\U0001f309", "\0", "é\n\U0001f309"], ids=ascii)
def test_a_message_of_any_letters_fits_and_is_read_back(text: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    failure = BundleError(FailureReason.LOAD_FAILED, text * MESSAGE_LIMIT).failure
    report(failure, log)
    assert log.stat().st_size <= 4000
    found = decode(log.read_bytes()[-4096:].decode())
    assert found is not None
    assert found.reason is FailureReason.LOAD_FAILED
    assert failure.message.startswith(found.message)
    assert len(found.message) > 600


@pytest.mark.parametrize("text", ["", "Traceback", "{}", '{"reason": "Other", "message": "m"}', "null", '{"rea'])
def test_what_is_not_ours_is_nothing(text: str) -> None:
    assert decode(text) is None


def test_the_model_itself_is_no_matter_of_the_artifact() -> None:
    assert set(FailureReason) - ARTIFACT_REASONS == {FailureReason.LOAD_FAILED, FailureReason.GOLDEN_MISMATCH}


def test_what_is_no_text_is_reported_with_a_question_mark() -> None:
    encoded = encode(Failure(FailureReason.LOAD_FAILED, "no file a\udcff"))
    assert decode(encoded.decode()) == Failure(FailureReason.LOAD_FAILED, "no file a?")
