"""One span for each request to infer, a child of its caller's, sent to a collector by OTLP over HTTP.

Imported only where the environment names a collector: SDK and exporter cost memory and time at the start. What the
standard OTEL_ variables say beyond that is read by the SDK.

The span is ours, and neither FastAPI's nor that of opentelemetry-instrumentation-asgi: requests to infer do not pass
through FastAPI, and the other one has a span for each message too, knows no route here, and writes down the query.
"""

import logging
import threading

from opentelemetry.context import Context, attach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.attributes import error_attributes, http_attributes, service_attributes, url_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate_contract.logs import OncePerMinute
from tidegate_server.http.paths import INFER_ROUTES, infer_path
from tidegate_server.http.state import ServerState

MODEL = "tidegate.model"
REVISION = "tidegate.revision"
MAX_PATH = 512
"""Characters of a path in a span: two thousand spans may wait, and a client may send 64 KiB of path."""

_W3C = TraceContextTextMapPropagator()
_CONTEXT_HEADERS = {b"traceparent": "traceparent", b"tracestate": "tracestate"}

_logger = logging.getLogger(__name__)


class Tracing:
    """The way of spans to the collector: batches, from a thread of its own. One that is away costs the spans alone."""

    def __init__(self, service: str) -> None:
        """`service` is what OTEL_SERVICE_NAME overrides."""
        resource = Resource.create()
        if str(resource.attributes[service_attributes.SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({service_attributes.SERVICE_NAME: service}))
        # Not made the global one: FastAPI would add spans for probes.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        for handler in logging.getLogger().handlers:
            handler.addFilter(name_the_trace)
            handler.addFilter(OncePerMinute("opentelemetry"))  # the exporter has something to say of each batch

    def around(self, app: ASGIApp, state: ServerState) -> "Traced":
        tracer = self._provider.get_tracer("tidegate_server", schema_url=Schemas.V1_44_0.value)
        return Traced(app, state, tracer)

    def close(self, seconds: float) -> None:
        """Send what waits. The SDK's own limit is half a minute, and a pod has no such time."""
        flush = threading.Thread(target=self._provider.shutdown, name="flush-spans", daemon=True)
        flush.start()
        flush.join(seconds)
        if flush.is_alive():
            _logger.warning("the last spans were not taken in time")


class Traced:
    """Around the whole application. The span is left in the context, so that what the web server logs of a request
    has its trace too; each request must have a context of its own (`reset_contextvars` of uvicorn)."""

    def __init__(self, app: ASGIApp, state: ServerState, tracer: Tracer) -> None:
        self._app = app
        self._state = state
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = infer_path(scope)
        if path is None:
            await self._app(scope, receive, send)
            return
        route = INFER_ROUTES[path["version"] is not None]
        context = _parent(scope)
        span = self._tracer.start_span(
            f"POST {route}",
            context,
            SpanKind.SERVER,
            {
                http_attributes.HTTP_REQUEST_METHOD: "POST",
                http_attributes.HTTP_ROUTE: route,
                url_attributes.URL_SCHEME: scope.get("scheme", "http"),
                url_attributes.URL_PATH: scope["path"][:MAX_PATH],
            },
        )
        attach(set_span_in_context(span, context))
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        failure: str | None = None
        try:
            await self._app(scope, receive, watch)
        except BaseException as error:
            failure = type(error).__qualname__  # and not its text, which may repeat what was sent
            raise
        finally:
            self._end(span, status, failure)

    def _end(self, span: Span, status: int | None, failure: str | None) -> None:
        serving = self._state.serving
        if serving is not None:
            span.set_attributes({MODEL: serving.model, REVISION: serving.revision})
        if status is not None:
            span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, status)
            if status >= 500:
                failure = failure or str(status)
        if failure is not None:
            span.set_attribute(error_attributes.ERROR_TYPE, failure)
            span.set_status(StatusCode.ERROR)
        elif status is None:  # the client went away: nothing of ours went wrong
            span.set_attribute(error_attributes.ERROR_TYPE, "client_disconnected")
        span.end()


def name_the_trace(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass: a line within a request gets `trace_id`, sampled or not."""
    context = get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = f"{context.trace_id:032x}"
    return True


def _parent(scope: Scope) -> Context:
    carrier: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        if name in _CONTEXT_HEADERS:
            carrier.setdefault(_CONTEXT_HEADERS[name], []).append(value.decode("latin-1"))
    return _W3C.extract(carrier, Context())
