"""Every statistic has the values of the golden vectors, and goes through JSON between any two scrapes.

A file says what it is about and how exact it is. A case holds what goes in, over scrapes or batches in their order,
and what comes out. A scrape is [weight, candidate's requests, events, stable's requests, events].
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tidegate_contract.evidence import (
    Arm,
    Contrast,
    Excess,
    Harm,
    Ratio,
    Scrape,
    Signal,
    Wealth,
    bettors,
    dump,
    harm_of,
    harmful,
    increase,
    load,
)
from tidegate_operator.core.evidence.losses import Disagreement, Paired, harm_of_losses
from tidegate_operator.core.evidence.policy import (
    STRIKES,
    Cause,
    challenge,
    may_leave_step,
    may_promote,
    strike,
    swapped,
)
from tidegate_operator.core.evidence.promotion import Promotion, promotion_of, proven, still_needed
from tidegate_operator.core.evidence.shift import Shift, shifted
from tidegate_operator.core.evidence.slow import quantile, slower_than, threshold
from tidegate_operator.core.evidence.split import Split, broken

FOLDER = Path(__file__).parents[3] / "vectors/evidence"
Given = dict[str, Any]
T = TypeVar("T")


def kept(state: T) -> T:
    """A state after a restart."""
    return load(type(state), dump(state))


def scrape(row: list[Any]) -> Scrape:
    weight, ours, our_events, theirs, their_events = row
    return Scrape(weight, Arm(ours, our_events), Arm(theirs, their_events))


# ---------------------------------------------------------------- states, in the words of the files


def of_wealth(wealth: Wealth) -> Given:
    return {"log_stakes": list(wealth.logs), "reserve": wealth.reserve, "scrapes": wealth.rounds}


def of_contrast(contrast: Contrast) -> Given:
    return {
        "weight": contrast.weight,
        "canary": list(contrast.candidate),
        "stable": list(contrast.stable),
        "excess": list(contrast.excess),
        "size": contrast.size,
    }


def of_excess(excess: Excess) -> Given:
    return {"tolerance": excess.tolerance, "wealth": of_wealth(excess.wealth)}


def of_harm(harm: Harm) -> Given:
    return {
        "ratio": harm.ratio.limit,
        "wealth": of_wealth(harm.ratio.wealth),
        "excess": of_excess(harm.excess),
        "cusum": harm.cusum,
        "contrast": of_contrast(harm.contrast),
    }


def of_promotion(promotion: Promotion) -> Given:
    return {"margin": promotion.tolerance, "wealth": of_wealth(promotion.wealth)}


# ---------------------------------------------------------------- what the files ask for


def replay_harm(given: Given) -> Given:
    reserve = given["reserve"]
    state = Harm(Ratio(given["ratio"], bettors(40, reserve)), Excess(given["tolerance"], bettors(8, reserve)))
    found: dict[str, Any] = {"ratio": [], "excess": [], "difference": [], "harmful": []}
    for row in given["scrapes"]:
        state = kept(state).after(scrape(row))
        difference = state.contrast.difference()
        found["ratio"].append(state.ratio.log_evidence)
        found["excess"].append(state.excess.log_evidence)
        found["difference"].append(None if difference is None else difference[0])
        found["harmful"].append(harmful(state, given["signals"]))
    return {**found, "state": of_harm(state)}


def replay_promotion(given: Given) -> Given:
    state, logs, verdicts = Promotion(given["margin"]), [], []
    for row in given["scrapes"]:
        state = kept(state).after(scrape(row))
        logs.append(state.log_evidence)
        verdicts.append(proven(state))
    return {"log_evidence": logs, "promotable": verdicts, "state": of_promotion(state)}


def replay_losses(given: Given) -> Given:
    promotion, harm = Promotion(given["margin"]), harm_of_losses(given["tolerance"])
    found: dict[str, Any] = {"promotion": [], "excess": []}
    for batch in given["batches"]:
        labels = batch["weight"], Counter(batch["canary"]), Counter(batch["stable"])
        promotion, harm = kept(promotion).after_losses(*labels), kept(harm).after_losses(*labels)
        found["promotion"].append(promotion.log_evidence)
        found["excess"].append(harm.log_evidence)
    return {**found, "state": of_promotion(promotion), "excess_state": of_excess(harm)}


def replay_latency(given: Given) -> Given:
    """The threshold of a step is that of all answers of stable before it."""
    bounds, seen, weight = given["bounds"], given["before"], 0.0
    state = Harm(Ratio(given["ratio"], bettors(40, 0.5)), Excess(given["tolerance"], bettors(8, 0.5)))
    limit = first = threshold(seen, given["objective"], bounds)
    limits, logs = [], []
    for row in given["scrapes"]:
        if row["weight"] != weight:
            weight, limit = row["weight"], threshold(seen, given["objective"], bounds)
        seen = [old + new for old, new in zip(seen, row["stable"], strict=True)]
        assert limit is not None
        arms = [slower_than(limit, row[arm], bounds) for arm in ("canary", "stable")]
        state = kept(state).after(Scrape(weight, *arms))
        limits.append(limit)
        logs.append(state.log_evidence)
    return {
        "first_quantile": quantile(given["before"], bounds),
        "first_threshold": first,
        "thresholds": limits,
        "log_evidence": logs,
        "state": of_harm(state),
    }


def replay_shift(given: Given) -> Given:
    state, logs, sizes, verdicts = Shift(), [], [], []
    for weight, candidate, stable in given["scrapes"]:
        state = kept(state).after(weight, candidate, stable)
        logs.append(state.log_evidence)
        sizes.append(list(state.distance()))
        verdicts.append(shifted(state))
    kept_state = {"contrast": of_contrast(state.contrast), "log_closed": state.log_before}
    return {"log_evidence": logs, "tv_and_lower_bound": sizes, "shifted": verdicts, "state": kept_state}


def replay_paired(given: Given) -> Given:
    state, logs, verdicts = Paired(given["margin"]), [], []
    for differences in given["differences"]:
        state = kept(state).after(Counter(differences))
        logs.append(state.log_evidence)
        verdicts.append(proven(state))
    whole = {"margin": state.margin, "wealth": of_wealth(state.wealth)}
    return {"log_evidence": logs, "promotable": verdicts, "state": whole}


def replay_disagreement(given: Given) -> Given:
    states = [Disagreement(*pair) for pair in given["pairs_and_differing"]]
    return {
        "log_evidence": [state.log_evidence(given["rate"]) for state in states],
        "upper": [state.upper() for state in states],
    }


def replay_split(given: Given) -> Given:
    state, logs, verdicts = Split(), [], []
    for row in given["scrapes"]:
        state = kept(state).after(scrape(row))
        logs.append(state.log_evidence)
        verdicts.append(broken(state))
    return {"log_evidence": logs, "broken": verdicts, "state": {"wealth": of_wealth(state.wealth)}}


def replay_counters(given: Given) -> Given:
    readings = given["readings"]
    risen = [increase(before, now) for before, now in zip([{}, *readings], readings, strict=False)]
    return {"increases": [{"requests": requests, "events": events} for requests, events in risen]}


def replay_challenge(given: Given) -> Given:
    harm, promotion, log = harm_of(Signal.ERRORS), promotion_of(Signal.ERRORS), []
    for number, row in enumerate(given["scrapes"], 1):
        judged = swapped(scrape(row))
        harm, promotion = kept(harm).after(judged), kept(promotion).after(judged)
        verdict = challenge([harm], [promotion], number >= given["deadline_after"])
        log.append([harm.log_evidence, promotion.log_evidence, verdict.value])
        if verdict != "Undecided":
            break
    return {"log": log}


@dataclass
class Trial:
    """One trial of a candidate, with fresh evidence."""

    harm: Harm = field(default_factory=lambda: harm_of(Signal.ERRORS))
    promotion: Promotion = field(default_factory=lambda: promotion_of(Signal.ERRORS))
    split: Split = field(default_factory=Split)
    candidate: Arm = field(default_factory=lambda: Arm(0))
    stable: Arm = field(default_factory=lambda: Arm(0))
    weight: float = 0.0
    requests: int = 0
    """Of the candidate, and seconds: since the weight is what it is."""
    seconds: float = 0.0

    def look(self, now: Scrape, seconds: float) -> list[Any]:
        """Whether the step is over, requests still needed, whether to promote."""
        if now.weight != self.weight:
            self.weight, self.requests, self.seconds = now.weight, 0, 0.0
        self.requests, self.seconds = self.requests + now.candidate.requests, self.seconds + seconds
        self.harm, self.promotion = kept(self.harm).after(now), kept(self.promotion).after(now)
        self.split = kept(self.split).after(now)
        self.candidate, self.stable = added(self.candidate, now.candidate), added(self.stable, now.stable)
        return [
            may_leave_step([self.harm], self.requests, self.seconds),
            still_needed(self.promotion, self.weight, self.candidate, self.stable),
            may_promote([self.promotion], [self.harm], self.split, self.requests, self.seconds),
        ]


def added(one: Arm, other: Arm) -> Arm:
    return Arm(one.requests + other.requests, one.events + other.events)


CAUSES = {"Harm": Cause.HARM, "Latch": Cause.LATCH, "GoldenFailed": Cause.GOLDEN_MISMATCH}


def replay_policy(given: Given) -> Given:
    """A trial ends with its first verdict; the second one begins at scrape 200."""
    strikes, log = 0, []
    for number in (0, 1):
        trial = Trial()
        for place, row in enumerate(given["scrapes"][200 * number : 200 * number + 200]):
            found = trial.look(scrape(row), given["seconds"])
            log.append([number, place, *found])
            if harmful(trial.harm, 2):
                strikes = strike(strikes, CAUSES[given["cause"]])
                log.append(["Rejected" if strikes >= STRIKES else "Suspect", strikes])
                break
            if found[-1]:
                return {"log": log, "end": "Promoted"}
        else:
            return {"log": log, "end": "Undecided"}
        if strikes >= STRIKES:
            return {"log": log, "end": "Rejected"}
    return {"log": log, "end": "Suspect"}


REPLAYS: dict[str, Callable[[Given], Given]] = {
    "challenge": replay_challenge,
    "counters": replay_counters,
    "disagreement": replay_disagreement,
    "harm": replay_harm,
    "latency": replay_latency,
    "losses": replay_losses,
    "paired": replay_paired,
    "policy": replay_policy,
    "promotion": replay_promotion,
    "shift": replay_shift,
    "split": replay_split,
}
FILES = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
CASES = [
    pytest.param(
        REPLAYS[name], case["input"], case["expected"], content["relative_tolerance"], id=f"{name}: {case['name']}"
    )
    for name, content in FILES.items()
    for case in content["cases"]
]


def differences(found: Any, wanted: Any, tolerance: float, where: str = "") -> list[str]:
    """Every place where two trees of plain data differ; only numbers with a fraction may do so, and by little."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        return [each for key in wanted for each in differences(found[key], wanted[key], tolerance, f"{where}.{key}")]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [each for at, (one, other) in pairs for each in differences(one, other, tolerance, f"{where}[{at}]")]
    if isinstance(wanted, float):
        equal = isinstance(found, float) and found == pytest.approx(wanted, rel=tolerance, abs=tolerance)
    else:
        equal = type(found) is type(wanted) and found == wanted
    return [] if equal else [f"{where}: {found!r} is not {wanted!r}"]


@pytest.mark.parametrize(("replay", "given", "expected", "tolerance"), CASES)
def test_the_values_are_those_of_the_golden_vectors(
    replay: Callable[[Given], Given], given: Given, expected: Given, tolerance: float
) -> None:
    assert differences(replay(given), expected, tolerance) == []


def test_there_is_a_file_for_each_replay_and_none_else() -> None:
    assert (FILES.keys(), len(CASES)) == (REPLAYS.keys(), 59)
    assert {content["relative_tolerance"] for content in FILES.values()} == {1e-9}


def test_a_difference_is_found_wherever_it_is() -> None:
    assert differences({"a": [1, 2.0, None]}, {"a": [1, 2.0, None]}, 1e-9) == []
    assert differences({"a": [1, 2.0, True]}, {"a": [1, 2.00001, 1]}, 1e-9) == [
        ".a[1]: 2.0 is not 2.00001",
        ".a[2]: True is not 1",
    ]
    assert len(differences([1], [1, 2], 1e-9)) == len(differences({"a": 1}, {"b": 1}, 1e-9)) == 1
