"""A rollout on its way, as the API server and the operator tell it."""

import copy
from typing import Any

NEW, OLD = "9c0d1e2f", "6fd1a2b3"


def numbers(**more: Any) -> dict[str, Any]:
    """Of 412 requests of the candidate's."""
    return {
        "revision": NEW,
        "against": OLD,
        "trial": 1,
        "weight": 20,
        "errors": {
            "tried": {"requests": 412, "events": 0},
            "against": {"requests": 7811, "events": 1},
            "harm": -0.001,
            "proof": 1.7,
        },
        "slow": {
            "tried": {"requests": 392, "events": 2},
            "against": {"requests": 7811, "events": 40},
            "harm": 0.8,
            "proof": 0.4,
        },
        "limits": {"harm": 5.298317, "proof": 2.995732},
        "entries": 30,
        "open": [],
        **more,
    }


def decided(what: str, at: str, why: str, **more: Any) -> dict[str, Any]:
    return {"at": f"2026-11-24T{at}Z", "what": what, "revision": NEW, "by": "tidegate", "why": why, **more}


def says(type: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"type": type, "status": status, "reason": reason, "message": message, "observedGeneration": 3}


_STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "phase": "Step 2",
    "revision": NEW,
    "stable": {"revision": OLD, "since": "2026-11-20T10:00:00Z"},
    "candidate": {
        "revision": NEW,
        "step": 1,
        "weight": 20,
        "since": "2026-11-24T14:10:00Z",
        "began": "2026-11-24T13:57:58Z",
        "standing": "Tried",
        "strikes": 0,
        "trial": 1,
        "ramp": [5, 20, 50],
    },
    "nextCheck": {"at": "2026-11-24T14:12:55Z", "requests": 180, "asOf": "2026-11-24T14:12:00Z"},
    "route": {"stable": "a", "slots": {"a": {"revision": OLD, "weight": 80}, "b": {"revision": NEW, "weight": 20}}},
    "conditions": [
        says("Progressing", "True", "GatheringEvidence", f"step 2 of 3: revision {NEW} has 20 of 100 requests"),
        says("Degraded", "False", "AsExpected", "nothing is known to stand in the way"),
        says("SpecInSync", "True", "InSync", f"spec asks for revision {NEW}"),
    ],
    "decisions": [
        decided("Rollout", "13:57:58", f"spec asks for it instead of {OLD}"),
        decided("Step", "14:10:00", f"0 of 212 answers of {NEW} failed, 1 of 4011 of {OLD} at 5 of 100 requests"),
    ],
}


def model(**status: Any) -> dict[str, Any]:
    """By steps of 5, 20 and 50; None takes a part of the status away."""
    found = {key: value for key, value in (copy.deepcopy(_STATUS) | status).items() if value is not None}
    metadata = {"namespace": "ml", "name": "flights", "uid": "u1", "generation": 3}
    return {"metadata": metadata, "spec": {"rollout": {"strategy": "Auto"}}, "status": found}


def live(**more: Any) -> dict[str, Any]:
    """What the operator knows of it."""
    trial = {"revision": NEW, "trial": 1, "needs": "about 640 more requests of its own", "numbers": numbers()}
    return {
        "asOf": "2026-11-24T14:12:30Z",
        "routers": {"known": 2, "silent": 0},
        "pods": {"a": 2, "b": 1},
        "trial": trial,
        **more,
    }
