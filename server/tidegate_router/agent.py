"""The agent beside one Envoy: from what the cluster says to what Envoy does, and back to the operator.

    watch -> models -> Envoy (xds)        whenever a route, a pod or the leadership changes
    Envoy (counters, what it confirms) -> signals        whenever the operator asks
    Envoy (counters of candidates) -> latch              each LOOK_SECONDS

It needs no operator to route, to follow pods that come and go, and to drain. Only candidates want one: without a
question of its own for LED_SECONDS, they have no weight. And those that fail have none from then on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import PurePosixPath

from tidegate_contract.evidence import Arm
from tidegate_contract.route import SHARED, Share
from tidegate_contract.router import DRAIN_SECONDS
from tidegate_contract.signals import ModelSignals
from tidegate_router import latch, signals
from tidegate_router.checks import Checks, Way
from tidegate_router.delta import Key, Resource
from tidegate_router.documents import ENDPOINTS, LISTENER, ROUTE, cluster_name, model_of
from tidegate_router.endpoints import Address
from tidegate_router.envoy import UNREACHABLE, Envoy
from tidegate_router.hold import Hold
from tidegate_router.models import Model, confirmed, resources
from tidegate_router.watch import Watch
from tidegate_router.weights import Weights
from tidegate_router.xds import Xds

LED_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""Between two looks at how the requests of candidates end."""
AGAIN_SECONDS = 10.0
"""After so long Envoy is asked once more for what it refused."""

InForce = dict[str, tuple[int, Weights]]
"""Generation and weights of each model, by Envoy's own word."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Served:
    """A model, what it asks of Envoy, and what is wrong with its newest route."""

    model: Model | None
    """As the last route says that meant something."""
    resources: dict[Key, Resource]
    refused: str
    trial: latch.Trial | None = None
    """Of the version that is to have some weight beside stable."""
    until: float = inf
    """When it goes, on the agent's clock, if its route was taken away. Until then those who are connected are answered,
    and nobody else gets in."""

    @property
    def leaving(self) -> bool:
        return self.until < inf


class Agent:
    """On the event loop only."""

    def __init__(self, folder: PurePosixPath, watch: Watch, xds: Xds, monotonic: Callable[[], float]) -> None:
        self._folder = folder
        self._watch = watch
        self._xds = xds
        self._monotonic = monotonic
        self.hold = Hold(self._served)
        self.checks = Checks(self.ways, monotonic)
        self._models: dict[str, _Served] = {}
        self._asked_at = -inf
        self._led = False
        self._looked = False
        """Whether anything is known of the cluster."""
        self._stale: set[str] = set()
        self._wake = asyncio.Event()
        self._dividing = asyncio.Event()
        """A version that had no weight is to have some."""

    # ---------------------------------------------------------------- what is new

    def model_changed(self, name: str) -> None:
        self._stale.add(name)
        self._wake.set()

    def envoy_changed(self) -> None:
        """It has confirmed something, or lost its agent."""
        self._wake.set()

    def asked(self) -> None:
        """The operator asks how it goes."""
        self._asked_at = self._monotonic()
        self.checks.wanted()
        if not self._led:
            self._wake.set()

    # ---------------------------------------------------------------- what follows

    async def run(self) -> None:
        """For ever."""
        await self._watch.listed()
        while True:
            self._wake.clear()
            self._look()
            ends = [served.until for served in self._models.values()]
            end = min(ends + [self._asked_at + LED_SECONDS] * self._led, default=inf)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), end - self._monotonic() if end < inf else None)

    async def insist(self) -> None:
        """For ever: ask Envoy again for what it has refused."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            self._xds.try_again()

    async def guard(self, envoy: Envoy) -> None:
        """For ever: look how the requests of candidates end."""
        while True:
            self._dividing.clear()
            running = [name for name, served in self._models.items() if served.trial and served.trial.runs]
            if running:
                with suppress(*UNREACHABLE):  # its probe says so, and the next look counts what has come since
                    in_force = self.in_force()
                    epoch, stats = await envoy.epoch(), await envoy.counts(signals.failures_of(running))
                    self._judge(running, in_force, epoch, stats)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._dividing.wait(), LOOK_SECONDS if running else None)

    def _judge(self, models: Iterable[str], in_force: InForce, epoch: str, stats: signals.Stats) -> None:
        for name in models:
            served = self._models.get(name)
            if served is None or served.model is None or served.trial is None:
                continue
            trial, model = served.trial, served.model
            ours, theirs = (
                signals.counts(stats, cluster_name(name, slot)) for slot in (trial.slot, model.route.stable)
            )
            arms = (Arm(told.answered, told.first_failures) for told in (ours, theirs))
            weight = in_force[name][1].get(trial.slot, 0)
            served.trial = latch.look(trial, latch.Reading(epoch, *arms), weight, model.weights[trial.slot])
            if served.trial.latched:
                _logger.warning("%s: %s has no weight any more: %s", name, trial.revision, served.trial.latched)
                self.model_changed(name)

    def _look(self) -> None:
        now = self._monotonic()
        led = now < self._asked_at + LED_SECONDS
        if led != self._led:
            if not led:
                _logger.warning("no operator has asked for %g s; candidates have no weight until one does", LED_SECONDS)
            self._led = led
            self._stale |= self._models.keys()
        self._stale |= {name for name, served in self._models.items() if served.until <= now}
        if self._stale or not self._looked:
            for name in self._stale:
                self._take(name, now)
            self._stale.clear()
            self._looked = True
            kept = {name for name, served in self._models.items() if served.refused and served.model is None}
            self._xds.tell(self._catalog(), kept)
        self.hold.look()
        self.checks.look()

    def _take(self, name: str, now: float) -> None:
        told, known = self._watch.told(name), self._models.get(name)
        if told is None:
            self._models.pop(name, None)
            return
        route, until = told.route, inf
        if route is None and known and known.model:
            until = known.until if told.refused else min(known.until, now + DRAIN_SECONDS)
            route = known.model.route if now < until else None
        if route is None:
            self._models[name] = _Served(None, {}, told.refused)
            return
        trial = latch.follow(known.trial if known else None, route)
        model = Model(name, route, told.pods, self._led, trial.slot if trial and trial.latched else None)
        if trial:
            trial = latch.asked(trial, model.weights[trial.slot])
            if trial.runs and trial.before is None:
                self._dividing.set()
        served = self._models[name] = _Served(model, resources(self._folder, model), told.refused, trial, until)
        if served.leaving:
            del served.resources[LISTENER, name]

    def _catalog(self) -> dict[Key, Resource]:
        found: dict[Key, Resource] = {}
        for served in self._models.values():
            found |= served.resources
        return found

    def _served(self, endpoints: str) -> bool:
        """Whether Envoy knows a pod of them."""
        served, key = self._models.get(model_of(endpoints)), (ENDPOINTS, endpoints)
        if served is None or served.model is None or not served.model.endpoints.get(endpoints):
            return False
        return self._xds.confirmed(key) == served.resources[key].version

    # ---------------------------------------------------------------- what is told

    @property
    def ready(self) -> bool:
        """Whether Envoy has all that it should, or has refused it for good reason."""
        return self._looked and not self._stale and all(self._settled(name) for name in self._models)

    def _settled(self, name: str) -> bool:
        """What waits for a refused resource is never told: a refusal ends the matter for the whole model."""
        told = self._models[name].resources.items()
        return bool(self.refusal(name)) or all(self._xds.confirmed(key) == resource.version for key, resource in told)

    def refusal(self, name: str) -> str:
        """Why the newest route of a model is not run; empty if it is, or is on its way."""
        served = self._models[name]
        if served.refused:
            return served.refused
        for key, resource in served.resources.items():
            version, why = self._xds.refused(key)
            if version == resource.version:
                return f"{key[1]}: {why}"
        return ""

    def in_force(self) -> InForce:
        """What Envoy has confirmed. To be asked before its counts: what has left a route by then gets nothing new."""
        return {name: confirmed(self._xds.confirmed((ROUTE, name))) for name in self._models}

    def tell(self, in_force: InForce, stats: signals.Stats) -> dict[str, ModelSignals]:
        """Of all models, from what was in force and what Envoy has counted after that."""
        return {name: self._of_model(name, *in_force[name], stats) for name in self._models if name in in_force}

    def pods(self) -> Iterator[tuple[str, str, Address]]:
        """All that any model has here: the model, the revision, and where it answers."""
        for served in self._models.values():
            if (model := served.model) is not None:
                for slot, share in model.route.slots.items():
                    for address in model.addresses(slot):
                        yield model.name, share.revision, address

    def ways(self) -> dict[str, Way | None]:
        """To stable of each model that has pods of it and a port that is not refused; None while Envoy lacks it."""
        found: dict[str, Way | None] = {}
        for name, served in self._models.items():
            model, listener = served.model, (LISTENER, name)
            if model is None or served.leaving or not model.addresses(model.route.stable):
                continue
            if self._xds.refused(listener)[0]:
                continue
            keys = listener, (ENDPOINTS, cluster_name(name, model.route.stable))
            route = self._xds.confirmed((ROUTE, name))  # the last one that was not refused
            there = route and all(self._xds.confirmed(key) == served.resources[key].version for key in keys)
            versions = route, *(served.resources[key].version for key in keys)
            found[name] = Way(model.route.port, versions) if there else None
        return found

    def _of_model(self, name: str, generation: int, weights: Weights, stats: signals.Stats) -> ModelSignals:
        served = self._models[name]
        model = served.model
        possible = model is not None and not served.leaving and bool(model.addresses(model.route.stable))
        slots = {}
        for slot, share in model.route.slots.items() if model else ():
            pods = len(model.addresses(slot)) if model and self._served(cluster_name(name, slot)) else 0
            in_force = Share(share.revision, weights.get(slot, 0))
            latched = served.trial.latched if served.trial and served.trial.slot == slot else ""
            slots[slot] = signals.of_slot(name, slot, in_force, pods, stats, latched)
        return ModelSignals(
            generation=generation,
            slots=slots,
            refused=self.refusal(name),
            answers=possible and self.checks.answers(name),
            held=self.hold.held_of(name),
            leaving=sum(signals.busy(stats, name, slot) for slot in SHARED if served.leaving or slot not in weights),
        )
