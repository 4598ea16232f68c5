"""From the API server's words to the core's types: what must not be taken at face value."""

from typing import Any

import msgspec
import pytest

from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r

CRASH = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z"}


def pod(ready: str, since: str, *, state: dict[str, Any], last: dict[str, Any]) -> r.Pod:
    status = {"name": "server", "ready": ready == "True", "state": state, "lastState": last}
    body = {
        "metadata": {"name": "p", "uid": "u"},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
            "containerStatuses": [status],
        },
    }
    return msgspec.convert(body, r.Pod)


@pytest.mark.parametrize(
    ("since", "state", "last", "code"),
    [
        pytest.param("2026-01-01T00:00:02Z", {}, {"terminated": CRASH}, 137, id="unready because of the crash"),
        pytest.param("2025-12-31T23:00:00Z", {}, {"terminated": CRASH}, 137, id="never ready since before the crash"),
        pytest.param("2026-01-08T00:00:00Z", {}, {"terminated": CRASH}, None, id="a crash of last week"),
        pytest.param("2026-01-08T00:00:00Z", {"terminated": CRASH}, {}, 137, id="ended at this moment"),
    ],
)
def test_a_crash_that_the_pod_was_ready_after_is_history(
    since: str, state: dict[str, Any], last: dict[str, Any], code: int | None
) -> None:
    (container,) = convert.pod(pod("False", since, state=state, last=last)).containers
    assert container.exit_code == code


def test_a_condition_of_somebody_else_is_not_ours_to_write() -> None:
    """The API server keeps it whatever we apply; counting it would be a difference for ever."""
    condition = {"status": "True", "reason": "R", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    found = convert.status({"conditions": [condition | {"type": "Ready"}, condition | {"type": "Theirs"}]})
    assert [c.type for c in found.conditions] == ["Ready"]


def test_a_status_survives_the_way_there_and_back() -> None:
    body = {
        "observedGeneration": 3,
        "phase": "Idle",
        "url": "http://flights.ml.svc",
        "revision": "abc",
        "stable": {"revision": "abc", "since": "2026-01-01T00:00:00Z"},
        "replicas": 2,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Serving",
                "message": "m",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
    assert convert.status_body(convert.status(body)) == body
