"""What the requests of a trial may say, in the searches of the rollouts: anything, at any moment.

How they come to say it is the business of `core/evidence`, which is tested by itself. Here it counts what follows: from
what is said, from what of it is kept, and from what a process that ends takes along.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from tidegate_operator.core.evidence.policy import STEP_REQUESTS
from tidegate_operator.core.trial import LOST, STALE, Trial
from tidegate_operator.core.types import Evidence, Standing, Status
from verify.values import Shared


class Said(StrEnum):
    """As people would hear it."""

    NOTHING = "nothing"
    ENOUGH = "no harm yet"
    """There were enough of them for a step, and they prove nothing."""
    DOUBT = "doubt"
    HARM = "harm"
    PROOF = "proof"
    OLD = "proof, a while ago"
    """Nothing was heard since: too old for a step."""
    UNHEARD = "nothing that is heard"
    """What was heard last was proof, and that is too long ago."""


class Words(NamedTuple):
    """What a process knows of one trial."""

    trial: Trial
    says: Said = Said.NOTHING
    kept: Said | None = None
    """What it has kept of it outside of itself; None: nothing."""


RATE = 100.0
"""Requests a second."""
AGO = {Said.OLD: STALE, Said.UNHEARD: LOST}


@cache
def current(status: Shared[Status]) -> Trial | None:
    """The trial that a status speaks of, said once more and not asked of the core: it might ask for none."""
    candidate, baking, stable = status.value.candidate, status.value.baking, status.value.stable
    if stable and baking:
        return Trial(stable.revision, baking.revision, baking.trial)
    if stable and candidate and candidate.revision != stable.revision and candidate.standing is not Standing.SUSPECT:
        return Trial(candidate.revision, stable.revision, candidate.trial)
    return None


@cache
def tried_in(status: Shared[Status]) -> str:
    """The revision that has still to prove itself, or is compared with the one before; empty if there is none."""
    candidate, baking, stable = status.value.candidate, status.value.baking, status.value.stable
    return stable.revision if stable and baking else candidate.revision if candidate else ""


def evidence_of(words: Words, now: datetime) -> Evidence:
    said = words.says
    return Evidence(
        words.trial.revision,
        words.trial.number,
        saved=words.kept is not None,
        heard=now - AGO.get(said, timedelta(0)),
        requests=0 if said is Said.NOTHING else STEP_REQUESTS,
        rate=RATE,
        suspicion="doubt" if said in (Said.DOUBT, Said.HARM) else "",
        harm="harm" if said is Said.HARM else "",
        proof="proof" if said in (Said.PROOF, *AGO) else "",
    )


def unsaid(trial: Trial, now: datetime) -> Evidence:
    """In a world in which requests say nothing, whatever is tried is kept."""
    return evidence_of(Words(trial, kept=Said.NOTHING), now)
