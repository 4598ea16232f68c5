"""Rows are counted beside the requests, all of them and each once, whoever reads and whenever."""

import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_contract.counters import SLOW_BOUNDS, Counters, decode, encode
from tidegate_contract.profile import Categorical, Profile
from tidegate_server import recorder as module
from tidegate_server.offline.profile import build, score_of
from tidegate_server.recorder import Marked, Recorder
from tidegate_server.tensors import Columns

RANDOM = np.random.default_rng(3)
TABLE: Columns = {
    "delay": np.concatenate([RANDOM.normal(10, 3, 990), np.full(10, np.nan)]),
    "stops": RANDOM.integers(0, 3, 1000),
    "late": RANDOM.random(1000) < 0.3,
    "carrier": np.array(RANDOM.choice(["UA", "AA", "DL"], 1000).tolist(), np.object_),
}
ANSWERS: Columns = {"predict": RANDOM.integers(0, 2, 1000), "predict_proba": RANDOM.dirichlet([1, 1], 1000)}
PROFILE = build(TABLE, score_of(ANSWERS))


def recorder_of(profile: Profile | None = PROFILE) -> Recorder:
    return Recorder(profile, pod="pod-1", revision="abc", digest="sha256:0")


def part(columns: Columns, start: int, end: int) -> Columns:
    return {name: column[start:end] for name, column in columns.items()}


def told(column: Any) -> tuple[int, ...]:
    return (*column.counts, column.missing, 0)


def test_the_reference_itself_falls_into_the_cells_as_the_profile_counted_it() -> None:
    recorder = recorder_of()
    recorder.add(TABLE, ANSWERS, 1000)
    found = recorder.read()
    assert found.rows == 1000
    assert found.features == {column.name: told(column) for column in PROFILE.features}
    assert PROFILE.score is not None
    assert found.score == told(PROFILE.score)
    assert sum(found.evidence.score) == 0


def test_labels_are_counted_by_their_names() -> None:
    answers = {"predict": ANSWERS["predict"]}
    profile = build(TABLE, score_of(answers))
    recorder = recorder_of(profile)
    recorder.add(TABLE, answers, 1000)
    assert isinstance(profile.score, Categorical)
    assert recorder.read().score == told(profile.score)


def test_what_is_missing_invalid_or_unseen_has_cells_of_its_own() -> None:
    recorder = recorder_of()
    recorder.add(
        {
            "delay": np.array([np.nan, 1e6, 10.0]),
            "stops": np.array([1, 99, 1]),
            "late": np.array([True, False, True]),
            "carrier": np.array([None, "XX", "UA"], np.object_),
        },
        part(ANSWERS, 0, 3),
        3,
    )
    quality = {name: cells[-2:] for name, cells in recorder.read().features.items()}
    assert quality == {"delay": (1, 1), "stops": (0, 1), "late": (0, 0), "carrier": (1, 1)}


@given(
    cuts=st.lists(st.integers(0, 300), max_size=12),
    marked=st.lists(st.booleans(), min_size=13, max_size=13),
    piece=st.sampled_from([1, 7, 100, 4096]),
)
@settings(max_examples=30, deadline=None)
def test_however_rows_come_the_counts_are_the_same(cuts: list[int], marked: list[bool], piece: int) -> None:
    edges = sorted({0, 300, *cuts})
    whole, parts, evidence = recorder_of(), recorder_of(), recorder_of()
    whole.add(part(TABLE, 0, 300), part(ANSWERS, 0, 300), 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLICE_ROWS", piece)
        for start, end, mark in zip(edges, edges[1:], marked, strict=False):
            rows = end - start
            half = rows // 2
            marks = [Marked(half, evidence=not mark), Marked(rows - half, evidence=mark)]
            parts.add(part(TABLE, start, end), part(ANSWERS, start, end), rows, marks)
            first, last = (start + half, end) if mark else (start, start + half)
            evidence.add(part(TABLE, first, last), part(ANSWERS, first, last), last - first)
        found = parts.read()
    expected = whole.read()
    assert (found.rows, found.features, found.score) == (expected.rows, expected.features, expected.score)
    assert found.evidence.score == evidence.read().score


def test_what_does_not_fit_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RING_ROWS", 50)
    recorder = recorder_of()
    for start in range(0, 100, 10):
        recorder.add(part(TABLE, start, start + 10), part(ANSWERS, start, start + 10), 10)
    found = recorder.read()
    assert (found.rows, found.left_out) == (50, 50)
    recorder.add(TABLE, ANSWERS, 1000)  # nothing else waits
    assert (recorder.read().rows, recorder.read().left_out) == (1050, 50)


def test_an_answer_without_the_score_counts_its_features_only() -> None:
    recorder = recorder_of()
    recorder.add(TABLE, {"predict": ANSWERS["predict"]}, 1000)
    found = recorder.read()
    assert (found.rows, sum(found.score)) == (1000, 0)


def test_without_a_profile_rows_are_counted() -> None:
    recorder = recorder_of(None)
    recorder.add(TABLE, ANSWERS, 1000)
    found = recorder.read()
    assert (found.rows, found.features, found.score) == (1000, {}, ())


def test_rows_are_counted_without_a_reader_and_at_the_end() -> None:
    recorder = recorder_of()
    recorder.start()
    recorder.add(TABLE, ANSWERS, 1000)
    deadline = time.monotonic() + 5
    while recorder._ring and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not recorder._ring
    recorder.add(TABLE, ANSWERS, 1000)
    recorder.close()
    assert not recorder._ring
    assert not recorder._thread.is_alive()
    assert recorder.read().rows == 2000


def test_readers_and_writers_at_once_lose_no_row() -> None:
    recorder = recorder_of()
    recorder.start()

    def write() -> None:
        for _ in range(200):
            recorder.add(part(TABLE, 0, 5), part(ANSWERS, 0, 5), 5)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    readings = [recorder.read() for _ in range(50)]
    for thread in threads:
        thread.join()
    recorder.close()
    found = recorder.read()
    assert found.rows + found.left_out == 3000
    assert all(sum(cells) == found.rows for cells in found.features.values())
    assert [reading.sequence for reading in readings] == sorted({reading.sequence for reading in readings})
    assert all(early.rows <= late.rows for early, late in pairwise(readings))


def test_times_are_counted_of_evidence_only_and_not_while_the_pod_warms() -> None:
    recorder = recorder_of()
    for _ in range(20):
        recorder.answered(1.0, evidence=True)
    recorder.answered(0.0005, evidence=False)
    recorder.answered(0.0005, evidence=True)
    recorder.answered(1e9, evidence=True)
    found = recorder.read().evidence
    assert (found.requests, sum(found.slow), found.slow[0], found.slow[len(SLOW_BOUNDS)]) == (22, 2, 1, 1)


def test_warming_ends_by_the_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = recorder_of()
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 11)
    recorder.answered(0.0005, evidence=True)
    assert sum(recorder.read().evidence.slow) == 1


def test_counters_survive_the_wire() -> None:
    recorder = recorder_of()
    recorder.add(TABLE, ANSWERS, 1000, [Marked(1000, evidence=True)])
    found: Counters = recorder.read()
    assert decode(encode(found)) == found
    assert len(encode(found)) < 2000
    assert recorder_of().read().epoch != found.epoch


def test_at_the_end_a_regular_reader_is_waited_for_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 20)
    recorder = recorder_of()
    recorder.look()
    recorder.close()
    recorder.linger()  # nobody reads
    recorder = recorder_of()
    recorder.read()
    recorder.delivered(ended=False)
    recorder.close()
    waiting = threading.Thread(target=recorder.linger)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    recorder.delivered(ended=True)
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_reading_ends_however_fast_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_ROWS", 10)
    recorder = recorder_of()
    count = recorder._count_entries

    def busy(entries: Any) -> None:
        count(entries)
        recorder.add(part(TABLE, 0, 10), part(ANSWERS, 0, 10), 10)  # one more for each that is counted

    monkeypatch.setattr(recorder, "_count_entries", busy)
    for _ in range(3):
        recorder.add(part(TABLE, 0, 10), part(ANSWERS, 0, 10), 10)
    assert recorder.read().rows == 30
    assert recorder.read().rows == 60


def test_what_cannot_be_counted_is_left_out_whole_and_counting_goes_on() -> None:
    recorder = recorder_of()
    odd = {**part(TABLE, 0, 10), "delay": np.array(["text"] * 10, np.object_)}
    recorder.start()
    recorder.add(odd, part(ANSWERS, 0, 10), 10)
    assert (recorder.read().rows, recorder.read().left_out) == (0, 10)
    assert all(sum(cells) == 0 for cells in recorder.read().features.values())
    recorder.add(part(TABLE, 0, 10), part(ANSWERS, 0, 10), 10)
    assert recorder.read().rows == 10
    recorder.close()


def test_the_ring_is_bounded_by_the_bytes_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RING_BYTES", 100)
    recorder = recorder_of()
    for _ in range(3):
        recorder.add(part(TABLE, 0, 1), part(ANSWERS, 0, 1), 1, size=60)
    found = recorder.read()
    assert (found.rows, found.left_out) == (1, 2)
    recorder.add(part(TABLE, 0, 1), part(ANSWERS, 0, 1), 1, size=60)
    assert recorder.read().rows == 2


def test_large_requests_are_counted_before_the_ring_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 60)
    recorder = Recorder(None, pod="p", revision="r", digest="d")
    recorder.start()
    for _ in range(4):
        for _ in range(module.RING_BYTES // (1 << 20)):
            recorder.add({"x": np.zeros(1)}, {}, 1, (), 1 << 20)
        time.sleep(0.1)
    recorder.close()
    assert recorder.read().left_out == 0


def test_readers_that_wait_for_the_same_rows_find_nothing_wrong(caplog: pytest.LogCaptureFixture) -> None:
    recorder = recorder_of()
    recorder.add(part(TABLE, 0, 10), part(ANSWERS, 0, 10), 10)
    with recorder._count_lock:
        readers = [threading.Thread(target=recorder.read) for _ in range(3)]
        for reader in readers:
            reader.start()
        time.sleep(0.05)  # all of them have seen that rows wait
    for reader in readers:
        reader.join()
    assert recorder.read().rows == 10
    assert caplog.records == []
