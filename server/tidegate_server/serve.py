"""One server process, from its settings to its exit code.

    listen -> verify, load, ask the golden rows (in a thread) -> ready -> SIGTERM -> unready, still serving
    -> finish what is in flight -> counters of feedback to the log -> exit

The listener comes first: liveness answers and readiness says why not, while libraries are imported.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from tidegate_contract.failure import BundleError, Failure, report
from tidegate_server.batch import Predictor
from tidegate_server.http.app import make_app
from tidegate_server.http.heads import HEAD_SECONDS, Connection, Watch
from tidegate_server.http.state import ServerState, Serving
from tidegate_server.loader import LoadedModel, load_model
from tidegate_server.memory import give_back_large_pieces
from tidegate_server.metrics import Metrics, Quality
from tidegate_server.recorder import Recorder
from tidegate_server.settings import Settings
from tidegate_server.telling import tell

EXIT_BUNDLE_REFUSED = 3
_BACKLOG = 1024
_DOORS = 16
"""Connections that one turn of the loop takes in: uvloop takes one for each listener, and a turn of many requests is
long. A probe, which comes by a new connection, would wait for all that came before it, a turn each."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep an idle connection by habit: the side that may send should close."""

GARBAGE = 20_000
"""Objects that may be made before somebody looks for garbage among them: requests in flight are many, and none is."""

_FLUSH_SECONDS = 1.5
"""For payloads and spans at once, while the last reading of the counters is waited for: a pod has 4 s left after the
drain and the last deadline."""

_logger = logging.getLogger(__name__)


class TidegateServer(uvicorn.Server):
    """uvicorn that loads a model beside the listener and goes on serving for a while after SIGTERM."""

    def __init__(self, settings: Settings, on_ready: Callable[[Serving], None]) -> None:
        self.exit_code = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: Failure | None = None
        self._settings = settings
        self._on_ready = on_ready
        self._state = ServerState()
        self._metrics = Metrics()
        self._flushes: list[Callable[[float], None]] = []
        super().__init__(
            uvicorn.Config(
                self._watched(make_app(self._state, self._metrics, settings.timeout_seconds)),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                http=Connection,
                lifespan="off",
                ws="none",
                backlog=_BACKLOG,
                reset_contextvars=settings.tracing,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
            )
        )

    def _watched(self, app: ASGIApp) -> ASGIApp:
        """With what the environment asks for around it; what it does not ask for is not even imported."""
        settings = self._settings
        if settings.payload_sink:
            from tidegate_server.http.payloads import Outbox, Sampled

            outbox = Outbox(settings.payload_sink, self._metrics.payloads)
            self._flushes.append(outbox.close)
            app = Sampled(app, self._state, outbox, settings.payload_sample)
        if settings.tracing:
            from tidegate_server.http.tracing import Tracing

            tracing = Tracing(settings.model_name or "tidegate")
            self._flushes.append(tracing.close)
            app = tracing.around(app, self._state)
        return app

    @property
    def registry(self) -> CollectorRegistry:
        return self._metrics.registry

    def recorder(self) -> Recorder | None:
        """The counters of what is served; None while nothing is."""
        serving = self._state.serving
        return None if serving is None else serving.recorder

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the listeners, then start to load."""
        await super().startup(sockets)
        loop = self._loop = asyncio.get_running_loop()
        self._look(loop, Watch(self.server_state.connections))
        _logger.info("listening", extra={"port": self._settings.http_port})
        threading.Thread(target=self._load, args=(loop,), name="load", daemon=True).start()

    def _look(self, loop: asyncio.AbstractEventLoop, watch: Watch) -> None:
        watch.look()
        loop.call_later(HEAD_SECONDS, self._look, loop, watch)

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own: load the model, and tell the loop how it went."""
        gc.disable()  # a sixth of the time that the imports take goes into looking for garbage, and there is none
        try:
            model = load_model(
                self._settings.bundle_dir, self._settings.digest, allow_pickle=self._settings.allow_pickle
            )
        except BundleError as error:
            _logger.error("the bundle is refused", extra={"reason": error.failure.reason, "why": error.failure.message})
            self.failure = error.failure
            report(error.failure, self._settings.termination_log)
            loop.call_soon_threadsafe(self._stop, EXIT_BUNDLE_REFUSED)
        except Exception:
            _logger.exception("loading the model failed in an unforeseen way")
            loop.call_soon_threadsafe(self._stop, 1)
        else:
            gc.freeze()  # what is loaded stays; no collection during a request has to walk it
            loop.call_soon_threadsafe(self._ready, model)
        finally:
            gc.enable()
            gc.set_threshold(GARBAGE, 20, 100)

    def _ready(self, model: LoadedModel) -> None:
        try:
            self._take_over(model)
        except Exception:
            _logger.exception("serving the model failed in an unforeseen way")
            self._stop(1)

    def _take_over(self, model: LoadedModel) -> None:
        revision = self._settings.revision or model.digest.removeprefix("sha256:")[:10]
        losses = self._state.feedback.snapshot
        recorder = Recorder(
            model.profile, pod=self._settings.pod, revision=revision, digest=model.digest, losses=losses
        )
        predictor = Predictor(model.engine, self._metrics.predicts.saw, model.manifest.signature, recorder.add)
        serving = Serving(
            model=self._settings.model_name or model.manifest.name,
            revision=revision,
            digest=model.digest,
            manifest=model.manifest,
            profile=model.profile,
            predictor=predictor,
            recorder=recorder,
        )
        recorder.start()
        self._metrics.queued.set_function(lambda: predictor.waiting)
        self._metrics.registry.register(Quality(recorder))
        self._metrics.load_seconds.set(model.load_seconds)
        self._metrics.model_info.labels(serving.model, serving.revision, serving.digest).set(1)
        self._state.serving = serving
        _logger.info(
            "ready",
            extra={
                "model": serving.model,
                "revision": serving.revision,
                "digest": serving.digest,
                "engine": model.engine_kind,
                "load_seconds": round(model.load_seconds, 3),
            },
        )
        self._on_ready(serving)

    def close(self) -> None:
        """Let go of the model, and send what waits to be sent; a predict that hangs is left behind, as is a collector.

        What feedback was counted goes to the log: it is of the past soon, and whoever collects it may have come by too
        early.
        """
        if (report := self._state.feedback.snapshot()).arms:
            _logger.info("feedback", extra={"losses": report})
        flushes = [threading.Thread(target=flush, args=(_FLUSH_SECONDS,), daemon=True) for flush in self._flushes]
        for thread in flushes:
            thread.start()
        if self._state.serving is not None:
            self._state.serving.predictor.close()
            self._state.serving.recorder.close()
            self._state.serving.recorder.linger()
        for thread in flushes:
            thread.join()  # all of them began at once, and each ends in time

    def _stop(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: readiness fails, and serving goes on while the cluster takes notice. Second, or nothing
        served yet: stop now.

        Instead of uvicorn's, which stops at once and then ends the process by the same signal: a drained server
        exits with 0.
        """
        if self._state.draining or self._state.serving is None or self._loop is None:
            self.should_exit = True
            return
        self._state.draining = True
        # In a context of its own: a signal may come in the middle of a request, and is not part of its trace.
        self._loop.call_soon_threadsafe(self._drain, self._loop, context=Context())

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        _logger.info("draining", extra={"seconds": self._settings.drain_seconds})
        loop.call_later(self._settings.drain_seconds, self._stop, self.exit_code)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a server ended: its process's exit code, and the failure if the bundle was refused."""

    exit_code: int
    failure: Failure | None


def serve(settings: Settings, on_ready: Callable[[Serving], None] = lambda serving: None) -> Outcome:
    """Serve until told to stop. `on_ready` is called once, on the event loop.

    Raises OSError if a port is taken.
    """
    give_back_large_pieces()
    with listen(settings.host, settings.http_port) as listener:
        server = TidegateServer(settings, on_ready)
        if settings.metrics_port:
            tell(settings.host, settings.metrics_port, server.registry, server.recorder)
        server.run(sockets=[listener, *(listener.dup() for _ in range(_DOORS - 1))])
        server.close()
    return Outcome(server.exit_code, server.failure)


def leave(exit_code: int) -> NoReturn:
    """End the process as it is: a predict that hangs would hold up every gentler way."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError if the port is taken."""
    return socket.create_server((host, port), backlog=_BACKLOG)
