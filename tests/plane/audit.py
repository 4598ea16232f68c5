"""What the operator asked of the API server, from the log of the API server itself."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

READS = ("get", "list", "watch")


@dataclass(frozen=True)
class Request:
    verb: str
    resource: str
    """With its subresource: `deployments/scale`."""
    namespace: str
    name: str
    code: int
    at: datetime
    """When it was answered."""

    @property
    def is_write(self) -> bool:
        """Whether it would change anything but the Lease."""
        return self.verb not in READS and self.resource != "leases"


class Audit:
    """Reads a log that is never rotated; places in it are bytes from its start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def here(self) -> int:
        """The place where the log ends now."""
        return self._path.stat().st_size if self._path.exists() else 0

    def since(self, place: int) -> list[Request]:
        """Every finished request about an object since then."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(place)
            events = [json.loads(line) for line in log.read().splitlines(keepends=True) if line.endswith(b"\n")]
        return [
            Request(
                event["verb"],
                "/".join(filter(None, (about["resource"], about.get("subresource")))),
                about.get("namespace", ""),
                about.get("name", ""),
                event.get("responseStatus", {}).get("code", 0),
                datetime.fromisoformat(event["stageTimestamp"]),
            )
            for event in events
            if event["stage"] == "ResponseComplete" and (about := event.get("objectRef"))
        ]

    def writes(self, place: int) -> list[Request]:
        """Everything since then that was meant to change something, apart from the Lease."""
        return [request for request in self.since(place) if request.is_write]


def summary(writes: list[Request]) -> str:
    """`12 patch deployments, 3 create events`; `none` if there are none."""
    counts = Counter(f"{write.verb} {write.resource}" for write in writes)
    return ", ".join(f"{count} {what}" for what, count in counts.most_common()) or "none"
