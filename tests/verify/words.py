"""What the requests of a trial may say, in the searches of the rollouts: anything, at any moment.

How they come to say it is the business of `core/evidence`, which is tested by itself. Here it counts what follows: from
what is said, from what of it is kept, and from what a process that ends takes along.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from tidegate_operator.core.trial import LOST, STEP_REQUESTS, Trial, trial_of
from tidegate_operator.core.types import Evidence, Status
from verify.values import Shared


class Said(StrEnum):
    """As people would hear it."""

    NOTHING = "nothing"
    ENOUGH = "no harm yet"
    """There were enough of them for a step, and they prove nothing."""
    DOUBT = "doubt"
    HARM = "harm"
    PROOF = "proof"
    UNHEARD = "nothing that is heard"
    """What was heard last was proof, and that is too long ago."""


class Words(NamedTuple):
    """What a process knows of one trial."""

    trial: Trial
    says: Said = Said.NOTHING
    kept: Said | None = None
    """What it has kept of it outside of itself; None: nothing."""


OLDER = LOST + timedelta(seconds=1)


@cache
def current(status: Shared[Status]) -> Trial | None:
    return trial_of(status.value)


def evidence_of(words: Words, now: datetime) -> Evidence:
    said = words.says
    return Evidence(
        words.trial.revision,
        words.trial.number,
        saved=words.kept is not None,
        heard=now - OLDER if said is Said.UNHEARD else now,
        requests=0 if said is Said.NOTHING else STEP_REQUESTS,
        suspicion="doubt" if said in (Said.DOUBT, Said.HARM) else "",
        harm="harm" if said is Said.HARM else "",
        proof="proof" if said in (Said.PROOF, Said.UNHEARD) else "",
    )


def unsaid(trial: Trial, now: datetime) -> Evidence:
    """In a world in which requests say nothing, whatever is tried is kept."""
    return evidence_of(Words(trial, kept=Said.NOTHING), now)
