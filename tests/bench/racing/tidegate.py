"""Tidegate in the race: a model behind its routers, and one release after another."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator

from bench.racing.clients import Clients
from bench.racing.watching import Watch
from bench.rollout import MODEL, Stage
from bench.soak import PATIENCE, SERVERS
from deployed import until_ready
from kube import Object, wait_for


class Tidegate:
    """A stage whose stable version fails for a share of its answers."""

    def __init__(self, stage: Stage, stable_fails: float) -> None:
        self._stage, self._stable_fails = stage, stable_fails
        self._replicas = len(self._pods())
        self._decisions: list[Object] = []
        self.withdrawn: float | None = None
        """When its first strike was seen."""

    def reset(self) -> None:
        """Stable alone."""
        self._stage.apply({"strategy": "Immediate"}, FAILS=self._stable_fails)
        until_ready(self._stage.kube, self._stage.namespace, seconds=PATIENCE)
        wait_for("Tidegate's stable version alone", lambda: len(self._pods()) == self._replicas, PATIENCE)

    @contextlib.contextmanager
    def followed(self, clients: Clients) -> Iterator[None]:
        """The clients ask its Service."""
        self._stage.begin()
        self._decisions, self.withdrawn = [], None
        ip = self._stage.kube.get("service", MODEL, self._stage.namespace)["spec"]["clusterIP"]
        clients.ask([(1.0, [(ip, 80)])])
        with Watch(self._stage.namespace, ["mdep", MODEL], "{.status.decisions}", self._saw):
            yield

    def _saw(self, line: str) -> None:
        self._decisions = [decision for decision in json.loads(line) if decision not in self._stage.past]
        if self.withdrawn is None and self._decided("Strike"):
            self.withdrawn = time.monotonic()

    def release(self, system: str, fails: float) -> str:
        """Ask for a version of which this share of the answers fails; its revision."""
        token = uuid.uuid4().hex[:8]
        rollout = {"strategy": "Canary", "steps": [{"weight": 5}, {"weight": 50}], "retryToken": token}
        self._stage.apply(rollout, FAILS=fails, RELEASE=token)
        wait_for("a candidate", lambda: "candidate" in self._stage.status, PATIENCE)
        return str(self._stage.status["candidate"]["revision"])

    @property
    def over(self) -> bool:
        """Rejected, or all requests are its own."""
        return bool(self._decided("Rollback") or self._decided("Promoted"))

    @property
    def why(self) -> str:
        found = [each for each in self._decisions if each["what"] in ("Step", "Strike", "Rollback", "Promoted")]
        return "; ".join(f"{decision['what']}: {decision['why']}" for decision in found)

    def _decided(self, what: str) -> list[Object]:
        return [decision for decision in self._decisions if decision["what"] == what]

    def _pods(self) -> list[Object]:
        return self._stage.kube.items("pods", self._stage.namespace, SERVERS)
