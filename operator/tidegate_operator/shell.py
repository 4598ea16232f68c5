"""The process: kopf around the core.

kopf gives the process its life (login, signals, liveness) and is the one feed of
ModelDeployments. Everything else is ours: reflectors for the children, the queue, the
workers, the Lease. Only `on.event` is used of kopf's handlers, because every other kind
writes to the user's object.
"""

import asyncio
import contextlib
import gc
import itertools
import logging
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any

import kopf
import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tidegate_cluster.api import (
    INACTIVITY_SECONDS,
    TRANSIENT,
    UNREADABLE,
    Api,
    ApiError,
    Conflict,
    NotFound,
    is_away,
)
from tidegate_cluster.connection import Connection, connect
from tidegate_cluster.reflector import Reflector
from tidegate_cluster.resource import Resource
from tidegate_cluster.store import Key, Store, key_of, version
from tidegate_contract import labels, names
from tidegate_contract.actions import ACTION
from tidegate_operator import clock
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.cluster.feed import Feed
from tidegate_operator.core.types import Kind
from tidegate_operator.keys import Tokens
from tidegate_operator.leader import Leader, LeaseExpired
from tidegate_operator.live import PATH as LIVE_PATH
from tidegate_operator.live import Live
from tidegate_operator.metrics import Metrics
from tidegate_operator.queue import BACKOFF_AWAY, BACKOFF_LAST, Queue
from tidegate_operator.reconcile import Policy, Reconciler, Stores
from tidegate_operator.refusals import Refusals
from tidegate_operator.routers import Pod as RouterPod
from tidegate_operator.routers import Routers
from tidegate_operator.settings import Settings
from tidegate_operator.trials import Trials
from tidegate_operator.writer import NotLeader, Writer

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long a start may do without looking for garbage."""
PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Endless:
    """kopf ends the process when a sequence of pauses ends; an API server may be away for longer than that."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1.0), itertools.repeat(2.0))


def namespace_key(namespace: str) -> Key:
    """The key of what the models of a namespace share."""
    return namespace, ""


def _wish(model: r.ModelDeployment) -> tuple[str, int, str | None]:
    """What changes when a person changes what they want."""
    metadata = model.metadata
    return metadata.uid, metadata.generation, metadata.annotations.get(ACTION)


class Operator:
    """Everything that lives as long as the process does."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self.settings = settings
        self.connection = connection
        self.queue = Queue(clock.monotonic)
        self.metrics = Metrics(
            depth=lambda: len(self.queue), models=lambda: len(self.stores.models), states=self._states
        )
        self.leader = Leader(settings, clock.now, clock.monotonic)
        self.api = Api(connection, self.metrics.count_request)
        self.writer = Writer(connection, self.leader.held, self.metrics.count_request)
        self.stores = Stores(
            models=Store(self._changed, key_of),
            pods=Store(self._of_a_model_changed),
            revisions=Store(self._of_a_model_changed),
            children={kind: Store(self._of_a_model_changed) for kind in Kind},
        )
        self.refusals = Refusals(settings.lease.deadline, clock.monotonic)
        tokens = Tokens(self.api, self.writer, settings.namespace)
        self.trials = Trials(self.api, self.writer, self._of_a_model_changed, clock.now, clock.monotonic)
        self.routers = Routers(
            self._router_pods,
            self._router_namespaces,
            tokens.token,
            self._of_a_model_changed,
            self.trials,
            clock.monotonic,
        )
        self.reconciler = Reconciler(
            self.stores,
            self.api,
            self.writer,
            self.refusals,
            self.routers,
            self.trials,
            tokens,
            self._know,
            self._changed,
            Policy(settings.release, settings.via),
            clock.now,
        )
        watched: list[tuple[Resource[Any], Store[Any]]] = [
            (r.PODS, self.stores.pods),
            (r.REVISIONS, self.stores.revisions),
        ]
        watched += [(r.CHILDREN[kind], self.stores.children[kind]) for kind in Kind]
        self.reflectors = [
            Reflector(
                self.api,
                resource,
                store,
                namespace=namespace,
                selector=r.SELECTOR,
                restarted=lambda plural: self.metrics.watch_restarts.labels(resource=plural).inc(),
            )
            for namespace in settings.watch_namespaces or ("",)
            for resource, store in watched
        ]
        self.ready = False
        """Every cache is filled; a standby is ready too."""
        self.leading = False
        """Whether anybody takes keys; when that begins, every key is marked."""
        self.tasks: list[asyncio.Task[None]] = []

    def _changed(self, key: Key) -> None:
        if self.leading:
            self.queue.mark(key)

    def _of_a_model_changed(self, key: Key) -> None:
        """While the model itself is not known there is nothing to do for it; when it comes it marks its key."""
        if key == namespace_key(key[0]) or self.stores.models.get(key) is not None:
            self._changed(key)

    def _router_pods(self, namespace: str) -> list[RouterPod]:
        """The routers that may have requests."""
        pods = self.stores.pods.of(namespace_key(namespace))
        routers = [pod for pod in pods if pod.metadata.labels.get(labels.COMPONENT) == labels.ROUTER]
        there = [pod for pod in routers if pod.may_have_requests]
        return [RouterPod(pod.metadata.uid, pod.metadata.name, pod.status.podIP) for pod in there]

    def _router_namespaces(self) -> set[str]:
        owners = self.stores.pods.owners()
        return {namespace for namespace, model in owners if (namespace, model) == namespace_key(namespace)}

    def seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """One event of the feed of ModelDeployments."""
        model = r.model(body)
        key = key_of(model)
        if event == "DELETED":
            self.stores.models.remove(model)
            self._changed(namespace_key(key[0]))  # its revisions are orphans now
        else:
            self._know(model)

    def _know(self, model: r.ModelDeployment) -> None:
        key = key_of(model)
        known = self.stores.models.get(key)
        self.stores.models.put(model)
        if known is None or _wish(known) != _wish(model):
            self.queue.forgive(key)

    def _states(self) -> Iterator[tuple[str, str]]:
        for key in self.stores.models:
            if model := self.stores.models.get(key):
                yield from convert.states(model.status)

    async def check_definition(self) -> None:
        """Fail early, and in words, where the CRD is missing: kopf would wait for it without one."""
        namespace = next(iter(self.settings.watch_namespaces), "")
        try:
            await self.api.get(f"{r.MODELS.path(namespace)}?limit=1", msgspec.Raw)
        except NotFound as error:
            raise SystemExit(
                f"the API server does not know {names.PLURAL}.{names.GROUP}: install the CustomResourceDefinition "
                "(kubectl apply -f manifests/crd.yaml, or the chart with crds.install=true)"
            ) from error

    async def lead(self) -> None:
        """Fill the caches, wait for the Lease, then work; ends when another process has taken it.

        An API server that is away for long takes the Lease from everybody. That is no
        reason to end: the caches go on from where they were, and everything is looked at again.
        """
        # `main` has switched it off; where the API server is away, the failures of days would pile up.
        asyncio.get_running_loop().call_later(START_SECONDS, gc.enable)
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))
        gc.freeze()  # what the caches hold stays: no collection has to walk it
        gc.enable()
        self.ready = True
        await self.leader.acquire(self.api, self.writer)
        while True:
            try:
                await self._lead_on()
            except* LeaseExpired as expired:
                log.warning("%s; waiting to hold it again", expired.exceptions[0])
            self.leading = False
            self.metrics.leader.set(0)
            await self.leader.acquire(self.api, self.writer, again=True)

    async def _lead_on(self) -> None:
        """Work as long as the Lease is held.

        Raises a group with LeaseExpired or LeaseLost.
        """
        self.metrics.leader.set(1)
        self.queue.clear()
        self.refusals.clear()
        self.routers.clear()
        self.trials.clear()
        self.reconciler.clear()
        self.leading = True
        self._mark_models()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leader.keep(self.api, self.writer))
            group.create_task(self.routers.run())
            for _ in range(self.settings.workers):
                group.create_task(self.work())

    async def work(self) -> None:
        while True:
            key, waited = await self.queue.take()
            self.metrics.queue_wait_seconds.observe(waited)
            started = clock.monotonic()
            result = await self._look(key)
            self.metrics.reconciles.labels(result=result).inc()
            self.metrics.reconcile_seconds.observe(clock.monotonic() - started)
            await asyncio.sleep(0)  # a look that finds nothing to do waits for nothing: a thousand would stop the rest

    async def _look(self, key: Key) -> str:
        """One look, whatever becomes of it; returns the result's name."""
        namespace, name = key
        try:
            if name:
                again = await self.reconciler.look(key)
            else:
                again = await self.reconciler.look_around(namespace)
            self.queue.done(key, again)
        except Conflict:
            # Somebody was faster; the newer version is on its way to us, or was read.
            self.queue.failed(key, BACKOFF_AWAY)
            return "conflict"
        except NotLeader:
            self.queue.failed(key)
            return "not_leader"
        except TRANSIENT as error:
            asked = error.retry_after if isinstance(error, ApiError) else 0.0
            wait = self.queue.failed(key, BACKOFF_AWAY if is_away(error) else BACKOFF_LAST, asked=asked)
            log.warning("%s: %s, again in %.1f s", type(error).__name__, error, wait, extra={"model": "/".join(key)})
            return "error"
        except Exception:  # one object's bug must not stop the others'
            wait = self.queue.failed(key)
            log.exception("a bug, again in %.1f s", wait, extra={"model": "/".join(key)})
            return "bug"
        return "done"

    async def resync(self) -> None:
        """Make the cache true now and then, of a standby too, and look at everything if this process leads."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            for namespace in self.settings.watch_namespaces or ("",):
                try:
                    await self.catch_up(namespace)
                except TRANSIENT as error:
                    log.warning("the resync could not list: %s: %s", type(error).__name__, error)
            if not self.leading:
                continue
            self._mark_models()
            # Not at the start: until the feed has told of every model, all revisions would seem to be orphans.
            models, owners = self.stores.models, self.stores.revisions.owners()
            orphans = {owner[0] for owner in owners if models.get(owner) is None}
            for namespace in orphans | self._router_namespaces():
                self.queue.mark(namespace_key(namespace))

    def _mark_models(self) -> None:
        for key in self.stores.models:
            self.queue.mark(key)

    async def catch_up(self, namespace: str) -> None:
        """See the objects that a list shows and the feed has not told of, and forget those that it does not show.

        The feed never tells of deletions that it missed. What was made after the list stays. Raises RuntimeError
        if the list is older than what was known when it was asked for: etcd was restored.
        """
        models = self.stores.models
        before = models.newest(namespace)  # a long list takes its time, in which we write on
        listed = await self.api.list(r.MODELS.path(namespace), r.Meta, accept=PARTIAL)
        if int(listed.resource_version) < before:
            raise RuntimeError("the cluster is in an older state than it was: starting anew, from what it holds now")
        for item in listed.items:
            known = models.get(key_of(item))
            if known is None or version(known) < version(item):
                await self._see(key_of(item))
        uids = {item.metadata.uid for item in listed.items}
        for key in models:
            known = models.get(key)
            if known and namespace in ("", key[0]) and known.metadata.uid not in uids:
                await self._see(key)

    async def _see(self, key: Key) -> None:
        """Ask for one model, where feed and list differ."""
        try:
            await self.reconciler.read_model(key)
        except UNREADABLE as error:
            log.warning("a model is left out, it cannot be read: %s", error, extra={"model": "/".join(key)})

    async def serve_http(self) -> None:
        async def metrics(_: web.Request) -> web.Response:
            return web.Response(
                body=generate_latest(self.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
            )

        async def readyz(_: web.Request) -> web.Response:
            return web.Response(text="ok") if self.ready else web.Response(status=503, text="the caches are not full")

        live = Live(
            lambda key: self.stores.models.get(key) is not None,
            lambda: self.leading,
            lambda: self.leader.elsewhere,
            self.trials.evidence,
            self.routers.heard,
            lambda: convert.timestamp(clock.now()),
        )
        app = web.Application()
        app.add_routes([web.get("/metrics", metrics), web.get("/readyz", readyz), web.get(LIVE_PATH, live.answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, None, self.settings.metrics_port).start()
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def start(self, stop: asyncio.Event) -> None:
        """Start every task; the end of any of them ends the process."""

        async def supervised(name: str, work: Awaitable[None]) -> None:
            try:
                await work
                log.error("%s ended", name)
            except asyncio.CancelledError:
                raise
            except BaseException:
                log.exception("%s failed", name)
            stop.set()

        works: list[tuple[str, Awaitable[None]]] = [
            ("lead", self.lead()),
            ("resync", self.resync()),
            ("http", self.serve_http()),
        ]
        works += [("reflector", reflector.run()) for reflector in self.reflectors]
        self.tasks = [asyncio.create_task(supervised(name, work), name=name) for name, work in works]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        try:
            await self.trials.save_all()
        except (*TRANSIENT, NotLeader) as error:
            log.warning("a trial was not kept at the end: %s: %s", type(error).__name__, error)
        await self.leader.release(self.api, self.writer)


class NoDiffs(kopf.DiffBaseStorage):
    """kopf compares each object with what it saw last, for handlers that we do not have; that is most of its time."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def kopf_settings() -> kopf.OperatorSettings:
    found = kopf.OperatorSettings()
    found.posting.enabled = False  # kopf's Events have random names
    found.scanning.disabled = True  # it would want to watch CRDs and namespaces
    found.persistence.diffbase_storage = NoDiffs()
    found.watching.chunk_size = 100
    found.watching.inactivity_timeout = INACTIVITY_SECONDS
    found.networking.request_timeout = 60  # a pause that the API server asks for is a part of it
    found.networking.connect_timeout = 5
    found.networking.error_backoffs = Endless()
    found.process.ultimate_exiting_timeout = 20
    return found


async def run(settings: Settings, environment: Mapping[str, str]) -> int:
    """Run until SIGTERM, SIGINT or a lost Lease; returns the exit code."""
    connection = connect(environment, clock.monotonic, agent=r.MANAGER)
    operator = Operator(settings, connection)
    middleware = Feed(operator.metrics.count_request)
    stop, failed = asyncio.Event(), asyncio.Event()
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def start(**_: Any) -> None:
        operator.start(failed)

    @kopf.on.cleanup(registry=registry)
    async def finish(**_: Any) -> None:
        await operator.stop()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        # A session of its own: after an answer of 401 kopf closes the one it has and logs in anew.
        own = connect(environment, clock.monotonic, middleware, agent=r.MANAGER)
        return kopf.AiohttpSession(server=own.server, aiohttp_session=own.session)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        operator.seen(event["type"], event["object"])  # returns None: a value would be written into the status

    # Left to itself, a probe that raises hangs for a minute with a lock held.
    @kopf.on.probe(registry=registry, id="tasks", errors=kopf.ErrorsMode.PERMANENT, retries=1)
    async def tasks(**_: Any) -> int:
        ended = [task.get_name() for task in operator.tasks if task.done()]
        if ended:
            raise RuntimeError(f"ended: {', '.join(ended)}")
        return len(operator.tasks)

    async def stop_on_failure() -> None:
        await failed.wait()
        stop.set()

    watcher = asyncio.create_task(stop_on_failure())
    try:
        try:
            await operator.check_definition()
        except TRANSIENT as error:
            log.warning("the API server could not be asked for the CustomResourceDefinition: %s", error)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not settings.watch_namespaces,
            namespaces=settings.watch_namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
            stop_flag=stop,
        )
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        await connection.session.close()
    return 1 if failed.is_set() else 0
