"""An idle operator writes nothing: the short form of `make bench-idle`."""

import time
from datetime import UTC, datetime

import pytest

import audit
from deployed import LOCAL, Figure, Pushed, model, until_ready
from kube import Kube

pytestmark = pytest.mark.skipif(not LOCAL, reason="needs the audit log of the local cluster")


def test_nothing_is_written_while_nothing_happens(kube: Kube, namespace: str, good: Pushed, figure: Figure) -> None:
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    until_ready(kube, namespace)
    time.sleep(3)
    started = datetime.now(UTC)
    time.sleep(30)
    written = [found for found in audit.writes(started) if found.namespace == namespace]
    figure("writes of the operator in 30 s of idling (15 min: make bench-idle)", len(written), "0")
    assert written == []
    assert list(audit.requests(started)), "the audit log shows nothing at all: the test would prove nothing"


def test_a_failure_is_written_once_however_often_it_repeats(kube: Kube, namespace: str, registry: str) -> None:
    """A crash loop and a pull that is tried again change the pods all the time, and the object not at all."""
    kube.apply(model(namespace, {"uri": f"oci://{registry}/tests/nothing:1"}))
    time.sleep(15)
    started = datetime.now(UTC)
    time.sleep(30)
    assert [found for found in audit.writes(started) if found.namespace == namespace] == []
