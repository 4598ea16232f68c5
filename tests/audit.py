"""What the operator asked of the API server, read from the audit log of the local cluster."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

OPERATOR = f"system:serviceaccount:{os.environ.get('NAMESPACE', 'tidegate-system')}:tidegate-operator"
READS = ("get", "list", "watch")


@dataclass(frozen=True)
class Request:
    at: datetime
    verb: str
    resource: str
    """With its subresource: `deployments/scale`."""
    name: str
    namespace: str
    code: int


def requests(since: datetime, user: str = OPERATOR) -> Iterator[Request]:
    """Every request about an object that `user` has made since then, as soon as its answer began."""
    path = Path(os.environ["AUDIT_LOG"])
    # The log is rotated: the older files stand beside it, with the time in their names.
    for file in [*sorted(path.parent.glob(f"{path.stem}-*{path.suffix}")), path]:
        for line in file.read_text().splitlines():
            if user not in line:
                continue
            event = json.loads(line)
            about = event.get("objectRef")
            at = datetime.fromisoformat(event["requestReceivedTimestamp"])
            if event["user"]["username"] != user or not about or at < since:
                continue
            resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
            yield Request(
                at,
                event["verb"],
                resource,
                about.get("name", ""),
                about.get("namespace", ""),
                event.get("responseStatus", {}).get("code", 0),
            )


def writes(since: datetime) -> list[Request]:
    """The operator's mutating requests, apart from those on its own Lease."""
    return [found for found in requests(since) if found.verb not in READS and found.resource != "leases"]
