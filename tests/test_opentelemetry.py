"""OpenTelemetry: its instrumentation of botocore sees each request, though the transport is our own; spans of operations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from mlssocial import Listing, ListingData, Operation, configure, on_operation
from mlssocial.connection import recorded
from mlssocial.settings import current

from .leaks import CANARY, leak_in
from .test_transport import Server, connect, server  # noqa: F401  a fixture

HOME = ListingData(status="active", description=CANARY)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Iterator[Tracer]:
    """Instrument botocore as an application does, and give a tracer of the same provider."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor: Any = BotocoreInstrumentor()  # type: ignore[no-untyped-call]  # its constructor has no annotations
    instrumentor.instrument(tracer_provider=provider)
    yield provider.get_tracer("tests")
    instrumentor.uninstrument()


def named(spans: InMemorySpanExporter) -> list[str]:
    """Give the spans' names."""
    return [span.name for span in spans.get_finished_spans()]


def work() -> None:
    """Send five requests of three kinds."""
    Listing.objects.save("u1", "l1", HOME)
    Listing.objects.get("u1", "l1")
    Listing.objects.get("u1", "l1")
    list(Listing.objects.query_by_status("u1", "active"))
    Listing.objects.delete("u1", "l1")


REQUESTS = ["DynamoDB.UpdateItem", "DynamoDB.GetItem", "DynamoDB.GetItem", "DynamoDB.Query", "DynamoDB.DeleteItem"]


class TestRequests:
    @pytest.mark.usefixtures("table", "tracer")
    @pytest.mark.parametrize("transport", ["direct", "botocore"])
    def test_each_has_its_span(self, transport: str, spans: InMemorySpanExporter) -> None:
        """Every request makes one span, with the table's name, whichever transport sends it."""
        configure(current(), transport=transport)
        with recorded() as calls:
            work()
        assert named(spans) == REQUESTS
        assert len(calls) == len(REQUESTS)
        for span in spans.get_finished_spans():
            assert span.attributes is not None
            assert tuple(span.attributes["aws.dynamodb.table_names"]) == (current().table_name,)  # type: ignore[arg-type]

    def test_from_when_on_it_is_looked_on(self, server: Server, spans: InMemorySpanExporter) -> None:  # noqa: F811
        """The transport keeps its short way where nobody looks on, leaves it as soon as somebody does, and takes it again."""
        connect(server)
        work()
        work()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        instrumentor: Any = BotocoreInstrumentor()  # type: ignore[no-untyped-call]  # its constructor has no annotations
        instrumentor.instrument(tracer_provider=provider)
        work()
        instrumentor.uninstrument()
        assert named(spans) == REQUESTS
        work()
        assert named(spans) == REQUESTS

    @pytest.mark.usefixtures("table", "tracer")
    def test_show_no_value(self, spans: InMemorySpanExporter) -> None:
        """No span has anything of what was written or read."""
        work()
        assert leak_in("\n".join(span.to_json() for span in spans.get_finished_spans())) is None


def make_span(tracer: Tracer, told: Operation) -> None:
    """Make a span of an operation that has ended, as docs/how-to/observe.md does."""
    end = time.time_ns()
    attributes = {"mlssocial.access_pattern": told.access_pattern, "mlssocial.requests": told.requests}
    span = tracer.start_span(told.name, start_time=end - int(told.seconds * 1e9), attributes=attributes)
    if told.outcome != "ok":
        span.set_status(StatusCode.ERROR, told.outcome)
    span.end(end)


class TestOperations:
    @pytest.mark.usefixtures("table")
    def test_have_spans_from_the_hook(self, tracer: Tracer, spans: InMemorySpanExporter) -> None:
        """A callback makes a span of each operation, beside its requests' and under the span that is open."""
        remove = on_operation(lambda told: make_span(tracer, told))
        with tracer.start_as_current_span("request"):
            Listing.objects.save("u1", "l1", HOME)
            assert Listing.objects.find("u1", "l2") is None
            with pytest.raises(Listing.DoesNotExist):
                Listing.objects.get("u1", "l2")
        remove()
        made: dict[str, ReadableSpan] = {span.name: span for span in spans.get_finished_spans()}
        ours = [made[f"Listing.objects.{verb}"] for verb in ("save", "find", "get")]
        assert [span.status.status_code for span in ours] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
        assert ours[2].status.description == "ItemNotFoundError"
        context = made["request"].get_span_context()
        assert context is not None
        assert {span.parent and span.parent.span_id for span in ours} == {context.span_id}
        sent = made["DynamoDB.UpdateItem"]
        assert (sent.end_time or 0) <= (ours[0].end_time or 0)
