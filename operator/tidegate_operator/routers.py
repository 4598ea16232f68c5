"""What the routers say: they are asked all the time, and what each said last is remembered.

To a router the question is the operator's heartbeat: without it candidates lose their weight. A namespace is asked
often while one of its models waits for routers, or a router is missed, and seldom else.

    asked in time -> answered       what it said counts until it should have answered again, and SILENT_SECONDS more
    asked in vain -> missed         its namespace is asked at the moving pace, until it answers or its pod is gone
    missed        -> silent         after SILENT_SECONDS: it says nothing, and nobody moves on
    silent        -> lost           after LOST_ASKS and LOST_SECONDS: its pod may be replaced
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import msgspec

from tidegate_cluster.api import TRANSIENT, UNREADABLE
from tidegate_cluster.store import Key
from tidegate_contract.router import AGENT_PORT
from tidegate_contract.signals import SIGNALS_PATH, ModelSignals, Signals
from tidegate_operator.cluster.resources import MANAGER
from tidegate_operator.core.types import Router
from tidegate_operator.writer import NotLeader

MOVING_SECONDS = 0.5
"""Between the beginnings of two questions, while a model of the namespace moves or a router is missed."""
REST_SECONDS = 15.0
"""The longest between two others: a router that nobody asks for a minute takes the weight of its candidates."""
ANSWER_SECONDS = 2.0
"""A router that takes longer has not answered."""
TOKENLESS_SECONDS = 5.0
"""Between two tries to learn the token of a namespace: what fails there is the API server's."""
SILENT_SECONDS = 5.0
LOST_ASKS, LOST_SECONDS = 5, 10.0
OTHERS_SECONDS = 5.0
"""So fresh is the answer of another router that tells that the fault is not the operator's, or the network's."""
MOST_BYTES = 4 << 20
"""Of an answer: about a kilobyte for each model."""
MOST_BYTES_OF_PODS = 32 << 20
"""Of one with what the pods have counted: some kilobytes for each of them."""
PODS_SECONDS = 2.0
"""Between two questions for that; one router is asked for it, as all of them know the same pods."""
MOST_AT_ONCE, MOST_OF_ONE = 64, 8
"""Questions at a time, of all namespaces and of one: whoever has many pods that hang keeps only their own waiting."""

NEVER = -math.inf

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pod:
    """A router's pod that may have requests: running, not ended; one that is about to end, too."""

    uid: str
    name: str
    ip: str


class Told(Protocol):
    """Whoever counts what routers say."""

    def counting(self, namespace: str) -> bool:
        """Whether the pods there are to be asked, too."""

    def told(self, namespace: str, round: list[Signals], *, all_told: bool) -> None:
        """All answers to one question. `all_told`: nobody was silent."""


class NoAnswer(Exception):  # noqa: N818 - a fact
    """What a router said, or did not say, is nothing to go by; the message says in a few words why."""


@dataclass(slots=True)
class _Asked:
    """One pod, what it said, and since when it has not."""

    pod: Pod
    models: dict[str, Router] = field(default_factory=dict)
    """As it said last."""
    ever: set[str] = field(default_factory=set)
    """The models that it has told of."""
    answered_at: float = NEVER
    """When the last question that it answered was asked."""
    in_vain: int = 0
    """Questions since then."""
    vain_since: float = math.inf
    """When the first of these was asked."""
    due_at: float = NEVER
    """When that one was due: earlier than it was asked, if the process could not ask in time."""
    quiet: bool = True
    """Whether its models were told that it is silent."""
    given_up: bool = False
    """Whether its namespace was told that it is lost."""
    said: set[str] = field(default_factory=set)
    """Why it has not answered, as far as that was logged."""

    def is_lost(self, now: float) -> bool:
        return self.in_vain >= LOST_ASKS and now - self.vain_since >= LOST_SECONDS


@dataclass(slots=True)
class _Namespace:
    """The routers of one namespace, which are asked together."""

    next_at: float
    """When they are to be asked next; what is past is overdue, or they are being asked."""
    not_before: float = NEVER
    """When the token is asked for again, if it was not known."""
    asked_at: float = NEVER
    asking: bool = False
    tokenless: bool = False
    pods_asked_at: float = NEVER
    """Whether it was logged that the token is not known."""
    pods: dict[str, _Asked] = field(default_factory=dict)
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_OF_ONE))

    @property
    def missed(self) -> bool:
        """Whether a router has not answered what it was asked last, or was not asked yet."""
        return any(asked.in_vain or asked.answered_at == NEVER for asked in self.pods.values())

    @property
    def told(self) -> set[str]:
        """The models that any of its routers has told of."""
        return set().union(*(asked.ever for asked in self.pods.values()))

    def hurry(self, now: float) -> None:
        """Ask at once, if that is not more often than at the moving pace."""
        self.next_at = min(self.next_at, max(now, self.asked_at + MOVING_SECONDS))

    def is_silent(self, asked: _Asked, now: float) -> bool:
        """Whether it should have answered SILENT_SECONDS ago; asked or not, as what is old must not count."""
        return asked.answered_at == NEVER or now - self.due(asked) >= SILENT_SECONDS

    def due(self, asked: _Asked) -> float:
        """When the first question was due that it has not answered."""
        return asked.due_at if asked.in_vain else max(asked.answered_at, self.next_at)


class Routers:
    """The memory of the process that leads; a standby asks nobody, as routers would think that they are led."""

    def __init__(
        self,
        pods: Callable[[str], Iterable[Pod]],
        namespaces: Callable[[], Iterable[str]],
        token: Callable[[str], Awaitable[str | None]],
        changed: Callable[[Key], None],
        told: Told,
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = lambda: random.uniform(0.75, 1.0),
    ) -> None:
        """`pods`: of a namespace, as they are now. `namespaces`: those that have routers. `token`: of the routers of a
        namespace; None, or an error of TRANSIENT or NotLeader, where it is not known. `monotonic`: seconds. `jitter`:
        what a rest is multiplied by, so that not all are asked at once.

        `changed` is called with the key of each model of which a router says something else than before, and when a
        router falls silent or answers again, with those of all that it has told of, of all that move, and of the
        namespace. The namespace's also when a router is lost; those of all its models also when a pod is gone.

        `told` hears all answers to one question.
        """
        self._pods = pods
        self._namespaces = namespaces
        self._token = token
        self._changed = changed
        self._told = told
        self._monotonic = monotonic
        self._jitter = jitter
        self._known: dict[str, _Namespace] = {}
        self._moving: dict[str, set[str]] = {}
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self._wake = asyncio.Event()

    # ---------------------------------------------------------------- what is known

    def moves(self, key: Key, moving: bool) -> None:
        """Say whether a model waits for routers, or will soon give a version more weight; one that is gone does not.

        A namespace that begins to move is asked at once. While it rests, what is known of it is up to REST_SECONDS old.
        """
        namespace, name = key
        names = self._moving.setdefault(namespace, set())
        if moving and not names and (known := self._known.get(namespace)):
            known.hurry(self._monotonic())
            self._wake.set()
        if moving:
            names.add(name)
        else:
            names.discard(name)
        if not names:
            del self._moving[namespace]

    def heard(self, key: Key) -> dict[str, Router | None]:
        """What each router that may have a request said of a model, by the uid of its pod.

        Router() if it does not know the model. None if it is silent: it never answered, or should have
        SILENT_SECONDS ago. No router at all: empty.
        """
        namespace, name = key
        return {
            pod.uid: None if asked is None else asked.models.get(name, Router())
            for pod, asked in self._speaking(namespace)
        }

    def fallen_silent(self, namespace: str) -> int:
        """How many do not answer that did before, or that had long enough to begin: one that just starts is none."""
        now, known = self._monotonic(), self._known.get(namespace)
        if known is None:
            return 0
        silent = [asked for _, asked in self._listed(namespace) if asked and known.is_silent(asked, now)]
        return sum(asked.answered_at != NEVER or asked.is_lost(now) for asked in silent)

    def silent(self, namespace: str) -> tuple[list[Pod], bool]:
        """The pods that were asked LOST_ASKS times in a row in vain, for LOST_SECONDS, so that they may be replaced;
        and whether another one answered within OTHERS_SECONDS: if not, the fault may be anybody's.
        """
        now, lost, answers = self._monotonic(), list[Pod](), False
        for pod, asked in self._listed(namespace):
            if asked is None:
                continue
            if asked.is_lost(now):
                lost.append(pod)
            elif now - asked.answered_at <= OTHERS_SECONDS:
                answers = True
        return lost, answers

    def clear(self) -> None:
        """Forget everything: another process led meanwhile."""
        self._known.clear()
        self._moving.clear()

    def _listed(self, namespace: str) -> list[tuple[Pod, _Asked | None]]:
        known = self._known.get(namespace)
        return [(pod, known.pods.get(pod.uid) if known else None) for pod in self._pods(namespace)]

    def _speaking(self, namespace: str) -> list[tuple[Pod, _Asked | None]]:
        """The pods as they are listed now; None for what is known of one that is silent."""
        now, known = self._monotonic(), self._known.get(namespace)
        return [
            (pod, asked if known and asked and not known.is_silent(asked, now) else None)
            for pod, asked in self._listed(namespace)
        ]

    # ---------------------------------------------------------------- who is asked, and when

    async def run(self) -> None:
        """Ask for ever."""
        async with session() as own, asyncio.TaskGroup() as rounds:
            while True:
                self._wake.clear()
                wait = self._begin(own, rounds)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()

    def _begin(self, own: aiohttp.ClientSession, rounds: asyncio.TaskGroup) -> float:
        """See which pods there are and who is silent, and begin to ask whoever is due; returns the seconds until
        that is to be done again."""
        now = self._monotonic()
        listed = {namespace: tuple(self._pods(namespace)) for namespace in self._namespaces()}
        for namespace in self._known.keys() - listed.keys():
            self._take(namespace, self._known.pop(namespace), (), now)
        wait = MOVING_SECONDS
        for namespace, pods in listed.items():
            known = self._known.setdefault(namespace, _Namespace(now))
            self._take(namespace, known, pods, now)
            self._notice(namespace, known, now)
            if known.asking or not known.pods:
                continue
            left = max(known.next_at, known.not_before) - now
            if left <= 0:
                known.asking = True
                rounds.create_task(self._ask_all(own, namespace, known))
            else:
                wait = min(wait, left)
        return wait

    def _take(self, namespace: str, known: _Namespace, pods: Iterable[Pod], now: float) -> None:
        """These are the pods; the models of one that is gone wait for others than they did."""
        listed = {pod.uid: pod for pod in pods}
        if gone := known.pods.keys() - listed.keys():  # one that never answered has told of no model and held all
            self._mark(namespace, known.told | self._moving.get(namespace, set()))
            for uid in gone:
                del known.pods[uid]
        for uid, pod in listed.items():
            if uid in known.pods:
                known.pods[uid].pod = pod  # whose sandbox is made anew has another address
            else:
                known.pods[uid] = _Asked(pod)
                known.hurry(now)

    def _notice(self, namespace: str, known: _Namespace, now: float) -> None:
        """Tell of routers that have fallen silent, and of those that are lost."""
        for asked in known.pods.values():
            if not asked.quiet and known.is_silent(asked, now):
                asked.quiet = True
                log.warning("router %s/%s is silent", namespace, asked.pod.name)
                self._mark(namespace, asked.ever | self._moving.get(namespace, set()) | {""})
            if not asked.given_up and asked.is_lost(now):
                asked.given_up = True
                self._mark(namespace, known.told | {""})

    def _mark(self, namespace: str, names: Iterable[str]) -> None:
        for name in sorted(names):
            self._changed((namespace, name))

    # ---------------------------------------------------------------- how it is asked

    async def _ask_all(self, own: aiohttp.ClientSession, namespace: str, known: _Namespace) -> None:
        """Ask the routers of a namespace, and again while that took longer than the pace."""
        try:
            while self._known.get(namespace) is known and known.next_at <= self._monotonic():
                known.asked_at = self._monotonic()
                token = await self._token_of(namespace, known)
                if token is None:
                    known.not_before = self._monotonic() + TOKENLESS_SECONDS * self._jitter()
                    return
                there = tuple(known.pods.values())
                tells_of_pods = self._tells_of_pods(namespace, known, there)
                asks = (self._ask(own, namespace, known, each, token, each is tells_of_pods) for each in there)
                heard = [signals for signals in await asyncio.gather(*asks) if signals is not None]
                self._told.told(namespace, heard, all_told=len(heard) == len(known.pods))
                known.next_at = known.asked_at + self._pace(namespace, known)
        finally:
            known.asking = False

    def _tells_of_pods(self, namespace: str, known: _Namespace, there: tuple[_Asked, ...]) -> _Asked | None:
        """Who is asked what the pods have counted, too: of those that answer the one that did first."""
        answer = [asked for asked in there if not asked.quiet and not asked.in_vain]
        if not answer or not self._told.counting(namespace) or known.asked_at - known.pods_asked_at < PODS_SECONDS:
            return None
        known.pods_asked_at = known.asked_at
        return answer[0]

    async def _token_of(self, namespace: str, known: _Namespace) -> str | None:
        try:
            token, why = await self._token(namespace), "there is none"
        except (*TRANSIENT, NotLeader) as error:
            token, why = None, f"{type(error).__name__}: {error}"
        if token is None and not known.tokenless:
            log.warning("the routers of %s cannot be asked without their token: %s", namespace, why)
        known.tokenless = token is None
        return token

    def _pace(self, namespace: str, known: _Namespace) -> float:
        """Seconds from one question to the next."""
        return MOVING_SECONDS if known.missed or self._moving.get(namespace) else REST_SECONDS * self._jitter()

    async def _ask(
        self, own: aiohttp.ClientSession, namespace: str, known: _Namespace, asked: _Asked, token: str, pods: bool
    ) -> Signals | None:
        """Ask one router, and take what it says if it still matters to anybody; returns it then."""
        async with known.at_once, self._at_once:
            at = self._monotonic()
            try:
                told: Signals | NoAnswer = await ask(own, asked.pod, token, pods=pods)
            except NoAnswer as error:
                told = error
        if self._known.get(namespace) is not known or known.pods.get(asked.pod.uid) is not asked:
            return None
        if isinstance(told, NoAnswer):
            _misses(namespace, known, asked, at, told)
            return None
        self._hears(namespace, known, asked, at, {name: _view(model) for name, model in told.models.items()})
        return told

    def _hears(self, namespace: str, known: _Namespace, asked: _Asked, at: float, models: dict[str, Router]) -> None:
        """A router has answered what it was asked at `at`."""
        names = {name for name in asked.models.keys() | models.keys() if asked.models.get(name) != models.get(name)}
        if asked.quiet or known.is_silent(asked, self._monotonic()):
            names |= asked.ever | models.keys() | self._moving.get(namespace, set()) | {""}
        if asked.said:
            log.info("router %s/%s answers", namespace, asked.pod.name)
        asked.models = models
        asked.ever |= models.keys()
        asked.answered_at, asked.in_vain, asked.vain_since = at, 0, math.inf
        asked.quiet = asked.given_up = False
        asked.said.clear()
        self._mark(namespace, names)


def _misses(namespace: str, known: _Namespace, asked: _Asked, at: float, why: NoAnswer) -> None:
    """A router has not answered what it was asked at `at`. Each reason is logged once until it answers."""
    if not asked.in_vain:
        asked.vain_since, asked.due_at = at, known.due(asked)
    asked.in_vain += 1
    if str(why) not in asked.said:
        asked.said.add(str(why))
        log.info("router %s/%s does not answer: %s", namespace, asked.pod.name, why)


def _view(model: ModelSignals) -> Router:
    """What it said of one model, as far as anybody waits for it."""
    pods = {slot: signals.pods for slot, signals in model.slots.items()}
    return Router(model.generation, pods, model.leaving, model.refused, model.answers)


def session() -> aiohttp.ClientSession:
    """What routers are asked through: no proxy, no cookies, and nothing that could be more than it says."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": MANAGER, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        auto_decompress=False,
    )


_SIGNALS = msgspec.json.Decoder(Signals)
_FAILED = (aiohttp.ClientError, TimeoutError, OSError, RecursionError, *UNREADABLE)


async def ask(own: aiohttp.ClientSession, pod: Pod, token: str, *, pods: bool = False) -> Signals:
    """Ask one router for its signals; `pods`: and for what the serving pods have counted.

    Raises NoAnswer, also for what another pod says: an address finds a new pod when the old one is gone.
    """
    try:
        url, most = signals_url(pod.ip) + ("?counters=1" if pods else ""), MOST_BYTES_OF_PODS if pods else MOST_BYTES
        async with own.get(url, headers={"Authorization": f"Bearer {token}"}, allow_redirects=False) as answer:
            if answer.status != 200:
                raise NoAnswer(f"HTTP {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > most:
                    raise NoAnswer(f"more than {most} bytes")
        told = _SIGNALS.decode(body)
    except _FAILED as error:  # whatever a pod says, the others are asked
        raise NoAnswer(type(error).__name__) from error
    if told.router != pod.uid:
        raise NoAnswer("another pod has its address")
    return told


def signals_url(ip: str) -> str:
    """Where a router's pod is asked.

    >>> signals_url("10.0.0.7")
    'http://10.0.0.7:9901/signals'
    >>> signals_url("fd00::7")
    'http://[fd00::7]:9901/signals'
    """
    host = f"[{ip}]" if ":" in ip else ip
    return f"http://{host}:{AGENT_PORT}{SIGNALS_PATH}"
