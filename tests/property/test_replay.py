"""Whatever routers and pods say, and however the looks fall: what a trial has told at any moment is found again."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_contract.counters import SLOW_BOUNDS
from tidegate_contract.evidence import Arm
from tidegate_operator.core.evidence.replay import Outcome, Record, Replay, replay
from tidegate_operator.core.evidence.tally import Pods, Reading, begin, hear, hear_pods, meaning
from tidegate_operator.core.types import Decision
from tidegate_operator.kept import Kept, packed, unpacked

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CELLS = len(SLOW_BOUNDS) + 1

looks = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r2"]),
        st.sampled_from([0, 5, 5, 5, 20, 50, 100]),
        st.tuples(*[st.integers(0, 30)] * 2),
        st.tuples(*[st.integers(0, 300)] * 2),
        st.none() | st.lists(st.integers(0, 2000), min_size=4, max_size=4),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=40)
@given(looks, st.integers(0, 10**6))
def test_what_was_told_at_any_moment_is_found_in_what_is_kept(told: list, spoil: int) -> None:  # type: ignore[type-arg]
    """And where one entry is another one, or one number, it is not."""
    found = begin("b" * 8, "a" * 8, 1, 0.01, 0.005, [Reading("r1", 0, Arm(0), Arm(0))])
    counts: dict[tuple[str, int], list[int]] = {}
    pods = [[0] * CELLS for _ in range(2)]
    decisions = []
    for source, weight, ours, theirs, times in told:
        for arm, gain in enumerate((ours, theirs)):
            known = counts.setdefault((source, arm), [0, 0])
            known[0], known[1] = known[0] + max(gain), known[1] + min(gain)
        reading = Reading(source, weight, *(Arm(*counts[source, arm]) for arm in range(2)))
        found = hear(found, [reading])
        if times is not None:
            for arm, cell in ((0, 20), (0, 35), (1, 20), (1, 35)):
                pods[arm][cell] += times[arm * 2 + (cell == 35)]
            found = hear_pods(found, Pods({"n": tuple(pods[0])}, {"o": tuple(pods[1])}))
        decisions.append(Decision(NOW, "Held", "b" * 8, "tidegate", "", meaning(found).numbers))
    kept = unpacked(packed(Kept("u", found, NOW))).tally
    assert [replay(each, Record(kept, NOW)) for each in decisions] == [Replay(Outcome.EQUAL)] * len(decisions)
    if not kept.entries:
        return
    at = spoil % len(kept.entries)
    entry = kept.entries[at]
    entries = (*kept.entries[:at], entry._replace(stable_requests=entry.stable_requests + 1), *kept.entries[at + 1 :])
    altered = Record(replace(kept, entries=entries), NOW)
    for each in decisions:
        assert each.numbers is not None
        again = replay(each, altered)
        assert again is not None
        assert (again.outcome is Outcome.UNEQUAL) is (each.numbers.entries > at)
