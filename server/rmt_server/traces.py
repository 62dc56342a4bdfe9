"""Traces: spans of OpenTelemetry, sent where its environment variables say; without those nothing is kept or sent.

Spans name things by their ids and count them; nothing of what is read or asked goes into one.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from rmt_server.errors import StartupError

__all__ = ["Attributes", "current_span", "request_span", "span", "start_traces", "traces_wanted"]

Attributes = Mapping[str, AttributeValue]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
_tracer = trace.get_tracer("rmt_server")
current_span = trace.get_current_span


def traces_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces.

    Raises:
        StartupError: It asks for what this server cannot do, or the packages for it are not installed.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    asked = exporter or any(environment.get(name) for name in _ENDPOINTS)
    if not asked or exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if exporter not in ("", "otlp"):
        raise StartupError(f"OTEL_TRACES_EXPORTER is {exporter!r}; this server knows otlp and none")
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _HTTP)
    if protocol != _HTTP:
        raise StartupError(f"{' or '.join(_PROTOCOLS)} is {protocol!r}; this server sends traces by {_HTTP}")
    if not all(map(_installed, _NEEDED)):
        raise StartupError("traces are asked for (OTEL_…), and need packages: pip install 'rmt-server[otel]'")
    return True


def start_traces(environment: Mapping[str, str]) -> Callable[[], None]:
    """Send spans from now on, if the environment asks for it; what is returned sends the last ones.

    Raises:
        StartupError: See `traces_wanted`.
    """
    if not traces_wanted(environment):
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "rmt-server"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


@contextmanager
def span(name: str, attributes: Attributes, after: Sequence[SpanContext | None] = ()) -> Iterator[Span]:
    """A span around what happens inside, below the one that is around it.

    Args:
        name: What happens.
        attributes: Ids and counts.
        after: Spans that it is linked to, because it goes on with what they did.
    """
    links = [Link(context) for context in after if context is not None]
    with _marked(name, SpanKind.INTERNAL, attributes, links=links) as current:
        yield current


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """A span around a request, which continues the trace that its `traceparent` names."""
    attributes = {"http.request.method": method}
    with _marked(method, SpanKind.SERVER, attributes, context=propagate.extract(headers)) as current:
        yield current


@contextmanager
def _marked(
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    context: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A current span; of an error it keeps the kind alone, for messages may quote."""
    with _tracer.start_as_current_span(
        name,
        context,
        kind,
        attributes,
        links,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(StatusCode.ERROR)
            current.set_attribute("error.type", type(error).__name__)
            raise


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
