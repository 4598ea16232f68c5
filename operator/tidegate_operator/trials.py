"""The trials that run: what routers and pods say is counted here, and kept so that no process takes it along.

A trial begins when all routers were heard, before its version has any weight. Then its tally is kept in the version's
ModelRevision, with the counts that it has used up: a process that goes on from there, now or hours later, meets
everything that has come since. One that belongs to another trial, or to an object that only has the same name, is
nobody's. After its end it stays there, as the record that the decisions can be calculated from again.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from tidegate_cluster.api import TRANSIENT, Api, NotFound
from tidegate_cluster.store import Key
from tidegate_contract import counters
from tidegate_contract.evidence import Arm, StateError
from tidegate_contract.signals import Counts, ModelSignals, PodCounters, Signals, SlotSignals
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.evidence.tally import Pods, Reading, Tally, begin, hear, hear_pods, meaning
from tidegate_operator.core.records import object_name
from tidegate_operator.core.trial import LATCHED, Trial, gist, goes_on
from tidegate_operator.kept import Kept, packed, unpacked
from tidegate_operator.writer import NotLeader, Writer

log = logging.getLogger(__name__)

SAVE_SECONDS = 60.0
"""So much of a trial is counted anew from one large reading at the most, after a process has ended."""
RATE_SECONDS = 3.0
"""So long requests are counted to know how many there are."""
AT_LEAST_SECONDS = 5.0
"""How often a model is looked at whose trial says nothing new: time passes in it all the same."""
MOST_ANSWERS = 2**53
"""Of a pod: more is no count."""
MOST_KEPT = 3
"""Trials of a version."""


@dataclass(slots=True)
class _Running:
    """One trial."""

    uid: str
    """Of the ModelDeployment: another one of its name has trials of its own."""
    trial: Trial
    tolerance: core.Tolerance
    tally: Tally | None = None
    """None: it has not begun."""
    means: core.Evidence | None = None
    """What it says."""
    revision_uid: str = ""
    """Of the ModelRevision; empty: there is none yet."""
    earlier: tuple[r.TrialBody, ...] = ()
    """Other trials that are kept of the version."""
    saved: Tally | None = None
    """As it was kept last by this process."""
    saved_at: float | None = None
    """When what it holds of this trial was last kept; None: nothing is."""
    heard: datetime | None = None
    latched: str = ""
    """Why a router gives the version no requests any more: it has seen enough by itself."""
    first: tuple[float, int] | None = None
    """When all routers were heard by this process first, and how many requests they had divided by then."""
    rate: float | None = None
    """Requests a second since then, as it was known first."""
    said: tuple[bool, ...] = ()
    marked_at: float = field(default=float("-inf"))


class Trials:
    """The memory of the process that leads."""

    def __init__(
        self,
        api: Api,
        writer: Writer,
        mark: Callable[[Key], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """`mark` is called with the key of a model whose trial says something else than before."""
        self._api = api
        self._writer = writer
        self._mark = mark
        self._now = now
        self._monotonic = monotonic
        self._running: dict[Key, _Running] = {}

    def clear(self) -> None:
        """Forget everything: another process led meanwhile, and what it has kept counts."""
        self._running.clear()

    def counting(self, namespace: str) -> bool:
        """Whether a trial there has begun, so that its pods are to be asked, too."""
        return any(key[0] == namespace and running.tally is not None for key, running in self._running.items())

    # ---------------------------------------------------------------- which trials there are

    async def follow(self, key: Key, uid: str, trial: Trial | None, tolerance: core.Tolerance) -> None:
        """This trial runs from now on; None: none does. What was kept of it is gone on from.

        Raises what the API server answers.
        """
        running = self._running.get(key)
        if running is not None and not goes_on(running.uid, running.trial, uid, trial):
            await self._leave(key, running)
            self.end(key)
        if trial is not None and key not in self._running:
            self._running[key] = await self._begun(key, uid, trial, tolerance)

    async def _leave(self, key: Key, running: _Running) -> None:
        """Keep a trial that has ended as it is, if the look that ended it could not. Nothing waits for that."""
        if running.tally is None or running.tally is running.saved:
            return
        try:
            await self.save(key)
        except (*TRANSIENT, NotLeader) as error:
            said = f"the end of trial {running.trial.number} of {running.trial.revision} is not kept"
            log.warning("%s: %s: %s", said, type(error).__name__, error, extra={"model": "/".join(key)})

    def end(self, key: Key) -> None:
        """None runs any more."""
        self._running.pop(key, None)

    async def _begun(self, key: Key, uid: str, trial: Trial, tolerance: core.Tolerance) -> _Running:
        running = _Running(uid, trial, tolerance)
        await self._read(key, running)
        for body in running.earlier:
            try:
                kept = unpacked(body.kept)
            except StateError as error:
                log.warning("trial %d of %s: %s", body.number, trial.revision, error, extra={"model": "/".join(key)})
                continue
            tally = kept.tally
            if goes_on(kept.uid, Trial(tally.revision, tally.against, tally.trial, kept.began), uid, trial):
                running.tally, running.means, running.saved_at = tally, meaning(tally), self._monotonic()
        running.earlier = tuple(body for body in running.earlier if body.number != trial.number)
        return running

    async def _read(self, key: Key, running: _Running) -> None:
        path = r.REVISIONS.path(key[0], object_name(key[1], running.trial.revision))
        with contextlib.suppress(NotFound):
            found = await self._api.get(path, r.Tried)
            running.revision_uid, running.earlier = found.metadata.uid, tuple(found.trials)

    # ---------------------------------------------------------------- what is counted

    def told(self, namespace: str, round: list[Signals], *, all_told: bool) -> None:
        """What the routers of a namespace have answered to one question. `all_told`: none of them was silent."""
        for key, running in self._running.items():
            if key[0] == namespace:
                self._count(key, running, round, all_told)

    def _count(self, key: Key, running: _Running, round: list[Signals], all_told: bool) -> None:
        found = [(told, told.models.get(key[1])) for told in round]
        readings = [
            reading for told, model in found if model and (reading := _reading(told.epoch, model, running.trial))
        ]
        if running.tally is None:
            if not all_told or not readings or len(readings) < len(round):
                return
            tried, tolerance = running.trial, running.tolerance
            running.tally = begin(
                tried.revision, tried.against, tried.number, tolerance.errors, tolerance.slow, readings
            )
        running.tally = hear(running.tally, readings)
        if (pods := _pods(key[1], [(told, model) for told, model in found if model], running.trial)) is not None:
            running.tally = hear_pods(running.tally, pods)
        slots = [slot for _, model in found if model and (slot := _slot(model, running.trial.revision))]
        running.latched = running.latched or next((slot.latched for slot in slots if slot.latched), "")
        running.means, now = meaning(running.tally), self._monotonic()
        if all_told and len(readings) == len(round):
            running.heard = self._now()
            _paced(running, readings, now)
        said = (*gist(running.means), running.latched != "", running.rate is not None)
        if said != running.said or now - running.marked_at >= AT_LEAST_SECONDS:
            running.said, running.marked_at = said, now
            self._mark(key)

    def evidence(self, key: Key) -> core.Evidence | None:
        """Of the trial that runs; None if it has not begun."""
        running = self._running.get(key)
        if running is None or running.means is None:
            return None
        saved_at, means = running.saved_at, running.means
        return replace(
            means,
            saved=saved_at is not None,
            due=saved_at is None or self._monotonic() - saved_at >= SAVE_SECONDS,
            heard=running.heard,
            harm=means.harm or (f"{LATCHED}: {running.latched}" if running.latched else ""),
            rate=running.rate,
        )

    # ---------------------------------------------------------------- what is kept

    async def save(self, key: Key) -> None:
        """Keep what has been counted so far.

        Raises NotLeader and what the API server answers; NotFound where the version is not kept.
        """
        running = self._running.get(key)
        if running is None or running.tally is None:
            return
        if not running.revision_uid:
            await self._read(key, running)
            if not running.revision_uid:
                raise NotFound(404, f"revision {running.trial.revision} is not kept")
        number = running.trial.number
        tally = running.tally
        body = r.TrialBody(number, running.trial.against, packed(Kept(running.uid, tally, running.trial.began)))
        others = [each for each in running.earlier if each.number != number]
        name, revision_uid = object_name(key[1], running.trial.revision), running.revision_uid
        running.revision_uid = ""  # unless it is taken: that object may be gone, and another one be there
        await self._writer.trials(key[0], name, revision_uid, [*others, body][-MOST_KEPT:])
        running.revision_uid = revision_uid
        running.saved = tally
        running.saved_at = self._monotonic()

    async def save_all(self) -> None:
        """Keep every trial: the process is about to end."""
        for key in tuple(self._running):
            await self.save(key)


def _paced(running: _Running, readings: Iterable[Reading], now: float) -> None:
    """How many requests there are, as soon as that is known. A router that has begun anew in between has them all."""
    divided = sum(reading.candidate.requests + reading.stable.requests for reading in readings)
    began, before = running.first = running.first or (now, divided)
    if running.rate is None and now - began >= RATE_SECONDS:
        running.rate = max(0, divided - before) / (now - began)


def _slot(model: ModelSignals, revision: str) -> SlotSignals | None:
    return next((slot for slot in model.slots.values() if slot.revision == revision), None)


def _reading(epoch: str, model: ModelSignals, trial: Trial) -> Reading | None:
    """What one router says of both versions; None as long as it does not know both."""
    ours, theirs = _slot(model, trial.revision), _slot(model, trial.against)
    if ours is None or theirs is None:
        return None
    return Reading(epoch, ours.weight, _arm(ours.divided), _arm(theirs.divided))


def _arm(counts: Counts) -> Arm:
    """Counts that are read one after another may contradict each other for a moment."""
    answered = max(0, counts.answered)
    return Arm(answered, min(answered, max(0, counts.first_failures)))


def _slow(counted: PodCounters) -> tuple[str, tuple[int, ...]] | None:
    """The life of a pod's process, and its answers in each cell of time; None if it does not say that."""
    try:
        found = counters.decode(counted.counters)
    except msgspec.DecodeError:
        return None
    cells = found.evidence.slow
    usable = len(cells) == len(counters.SLOW_BOUNDS) + 1 and all(0 <= cell < MOST_ANSWERS for cell in cells)
    return (found.epoch, cells) if usable else None


def _pods(name: str, round: Iterable[tuple[Signals, ModelSignals]], trial: Trial) -> Pods | None:
    """What all pods of both versions say; None where one of them is missing, or nobody was asked."""
    for signals, model in round:
        read = [each for each in signals.counters if each.model == name]
        arms: list[dict[str, tuple[int, ...]]] = []
        for revision in (trial.revision, trial.against):
            slot = _slot(model, revision)
            found = [told for each in read if each.revision == revision and (told := _slow(each))]
            if slot is None or len(found) < max(1, slot.pods):
                break
            arms.append(dict(found))
        if len(arms) == 2:
            return Pods(*arms)
    return None
