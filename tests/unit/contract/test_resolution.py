"""What the resolver found travels to the operator in its termination message."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_contract import failure
from tidegate_contract.failure import ENCODED_LIMIT, Failure, FailureReason
from tidegate_contract.resolution import ENTRIES_LIMIT, LONG_LIMIT, SHED, SHORT_LIMIT, Card, Resolution, decode, encode

DIGEST = "sha256:" + "5f" * 32
CARD = Card(
    name="flights",
    format="sklearn-skops",
    model="StandardScaler -> LogisticRegression",
    python="3.11.0",
    libraries={"numpy": "2.2.0", "scikit-learn": "1.9.0"},
    metrics={"roc_auc": 0.75},
    data="sha256:" + "0" * 64,
    commit="4f2a",
    run="run-7",
    author="Ada",
    created="2013-03-01T00:00:00+00:00",
)
WIDE = {f"{number:02}" + "\0" * SHORT_LIMIT: "\0" * SHORT_LIMIT for number in range(ENTRIES_LIMIT)}
"""Every character takes six bytes in JSON."""

NO_CARDS: list[Any] = [None, [], {"name": 1}, {"metrics": {"a": "b"}}]

texts = st.text(max_size=300)
cards = st.builds(
    Card,
    *[texts] * 4,
    st.dictionaries(texts, texts, max_size=40),
    st.dictionaries(texts, st.floats(), max_size=40),
    *[texts] * 2,
)


def test_what_was_found_is_read_back() -> None:
    assert decode(encode(Resolution(DIGEST, CARD))) == Resolution(DIGEST, CARD)


def test_what_is_not_known_is_empty() -> None:
    assert decode(json.dumps({"digest": DIGEST})) == Resolution(DIGEST, Card())


@given(cards)
def test_any_card_fits_and_brings_its_digest(card: Card) -> None:
    encoded = encode(Resolution(DIGEST, card))
    assert len(encoded.encode()) <= ENCODED_LIMIT <= 4096
    found = decode(encoded)
    assert found is not None
    assert found.digest == DIGEST
    assert encode(found) == encoded


def test_the_card_is_shortened_in_the_order_that_is_written_down() -> None:
    names = sorted(CARD.__slots__)
    assert sorted(SHED) == names
    metrics = dict.fromkeys(WIDE, 0.5)
    found = decode(encode(Resolution(DIGEST, Card("n", "f", "m", "p", WIDE, metrics, "d", created="c"))))
    assert found is not None
    assert (found.card.libraries, found.card.model) == ({}, "")
    assert 0 < len(found.card.metrics) < ENTRIES_LIMIT
    assert (found.card.data, found.card.created, found.card.python) == ("d", "c", "p")


def test_every_part_has_its_limit() -> None:
    long = "x" * 1000
    many = {f"{number:03}": long for number in range(100)}
    whole = Card(long, long, long, long, many, dict.fromkeys(many, 0.5), long, long, long, long, long)
    found = decode(encode(Resolution(DIGEST, whole)))
    assert found is not None
    card = found.card
    assert {len(text) for text in (card.name, card.python, card.commit, card.run, card.author, card.created)} == {
        SHORT_LIMIT
    }
    assert {len(card.model), len(card.data)} == {LONG_LIMIT}
    assert {len(version) for version in card.libraries.values()} == {SHORT_LIMIT}
    assert list(card.libraries) == list(many)[:ENTRIES_LIMIT] == list(card.metrics)


def test_a_metric_that_json_cannot_say_is_left_out() -> None:
    metrics = {"loss": float("inf"), "roc_auc": 0.75, "f1": float("nan")}
    found = decode(encode(Resolution(DIGEST, Card(metrics=metrics))))
    assert found == Resolution(DIGEST, Card(metrics={"roc_auc": 0.75}))


def test_what_is_no_text_arrives_with_a_question_mark() -> None:
    assert decode(encode(Resolution(DIGEST, Card(name="a\udcff")))) == Resolution(DIGEST, Card(name="a?"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "Traceback", "{}", "null", "[]", '{"dig', "\ud800", '{"digest": 1}'),
        failure.encode(Failure(FailureReason.DIGEST_MISMATCH, "m")).decode(),
        *(json.dumps({"digest": digest}) for digest in ("", DIGEST[:-1], f"{DIGEST}\n", DIGEST.upper(), f" {DIGEST}")),
        *(json.dumps({"digest": DIGEST, "card": card}) for card in NO_CARDS),
        json.dumps({"digest": DIGEST, "card": {"metrics": {"a": 10**400}}}),
        '{"deep": ' + "[" * 4000,
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_something_else_is_nothing(text: str) -> None:
    assert decode(text) is None


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps))
def test_nothing_that_a_container_leaves_is_an_error(text: str) -> None:
    assert decode(text) is None


def test_a_resolution_is_no_failure() -> None:
    assert failure.decode(encode(Resolution(DIGEST, CARD))) is None


def test_fields_of_the_next_release_are_ignored() -> None:
    document: dict[str, Any] = json.loads(encode(Resolution(DIGEST, CARD)))
    document["card"]["licence"] = document["tools"] = "?"
    assert decode(json.dumps(document)) == Resolution(DIGEST, CARD)
