"""How many writes an idle operator makes: the audit log has the last word.

Puts a model into a namespace of its own, waits until it serves, then counts what the operator sends for a while. The
bar is 0, apart from renewals of its Lease, and that the user's object, apart from its status, is as the user made it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import audit
import models
from deployed import Pushed, changes, is_ready, model, space, until_ready
from kube import Kube, Object
from tidegate_server.offline.push import push

SETTLE_SECONDS = 10.0
"""After a model is ready, for its last Event and the last word in its status."""


@contextmanager
def serving(kube: Kube, namespace: str) -> Iterator[Object]:
    """A model that serves while the context is open; the object is as the API server answered its creation."""
    space(kube, namespace)
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            bundle = models.bundle(Path(folder))
            sent = push(bundle.directory, f"{os.environ['CLUSTER_REGISTRY']}/bench/idle:1", plain_http=True)
            wanted = model(namespace, Pushed(sent.uri, sent.bundle_digest, bundle), scaling={"replicas": 2})
            # Not apply, which would leave an annotation of its own.
            created: Object = json.loads(
                kube.run("create", "-f", "-", "-o", "json", "--show-managed-fields", stdin=json.dumps(wanted))
            )
        until_ready(kube, namespace)
        yield created
    finally:
        kube.delete("namespace", namespace, wait=False)


def count(minutes: float) -> list[str]:
    """Watch for that time from now on, with a line of progress every minute; returns what is not as it should be."""
    started = datetime.now(UTC)
    end = time.monotonic() + minutes * 60
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        passed = minutes - max(0.0, end - time.monotonic()) / 60
        print(f"  {passed:4.1f} min: {len(audit.writes(started))} writes", flush=True)
    reads = sum(1 for _ in audit.requests(started))
    found = audit.writes(started)
    print(f"idle for {minutes:g} min: {len(found)} writes apart from the Lease, {reads} requests in all")
    wrong = [
        f"{times} x {verb} {resource} {namespace}/{name}"
        for (verb, resource, namespace, name), times in Counter(
            (w.verb, w.resource, w.namespace, w.name) for w in found
        ).items()
    ]
    return wrong if reads else ["the audit log shows no request of the operator: this proves nothing"]


def bench(kube: Kube, minutes: float) -> list[str]:
    """What is not as it should be, one line each."""
    namespace = f"idle-{uuid.uuid4().hex[:8]}"
    with serving(kube, namespace) as created:
        print(f"{namespace}/small serves", flush=True)
        time.sleep(SETTLE_SECONDS)
        wrong = count(minutes)
        now: Object = json.loads(
            kube.run("get", "mdep", "small", "-n", namespace, "-o", "json", "--show-managed-fields")
        )
        touched = changes(created, now)
        print(
            f"the user's object: generation {now['metadata']['generation']} (created with "
            f"{created['metadata']['generation']}), finalizers {now['metadata'].get('finalizers', [])}, annotations "
            f"{now['metadata'].get('annotations', {})}; {'changed: ' + ', '.join(touched) if touched else 'unchanged'}"
        )
        wrong += [f"the user's object was changed: {name}" for name in touched]
        if not is_ready(kube, namespace):
            wrong.append("the model does not serve any more: the operator was not idle, or was not there")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    options = parser.parse_args()
    if "AUDIT_LOG" not in os.environ:
        sys.exit("bench-idle reads the audit log of the local cluster; it has none of CLUSTER=current.")
    wrong = bench(Kube(), options.minutes)
    for line in wrong:
        print(f"  {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
