"""Traces, timelines and movements: a session's memory along its text."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from rmt_server.http.progress import PROGRESS, with_progress
from rmt_server.intake.utf8 import whole_characters
from rmt_server.routes.deps import JsonOnly, StoreDep, TenantDep, TracingDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.service.listening import Listener
from rmt_server.service.tracing import TimelinePoint, Trace
from rmt_server.wire.requests import unless_disconnected
from rmt_server.wire.schemas import (
    MovementColumnBody,
    MovementsBody,
    ProbeBody,
    TextBody,
    TimelineBody,
    TimelinePointBody,
    TraceBody,
    TraceRequest,
)
from rmt_server.wire.sse import EventStream

TEXT_BYTES = 64 * 1024
MOST_BYTES = 2**53
"""Beyond that, JSON's numbers are not exact everywhere."""

router = APIRouter(prefix="/v1/sessions/{sid}", tags=["traces"], route_class=ScopedRoute)


def trace_body(question: str, found: Trace) -> TraceBody:
    """The wire form of a trace."""
    return TraceBody(
        question=question,
        answer=found.answer,
        segment=found.segment,
        bytes=None if found.segment is None else (found.start, found.stop),
        excerpt=found.excerpt,
        verified=found.verified,
        probes=[
            ProbeBody(segment=one.segment, answer=one.answer.generation.text, confidence=one.answer.confidence)
            for one in found.probes
        ],
    )


@router.post("/traces", response_model=TraceBody, responses={200: {"content": PROGRESS}}, dependencies=[JsonOnly])
async def create_trace(
    sid: str, body: TraceRequest, request: Request, response: Response, tracing: TracingDep, tenant: TenantDep
) -> TraceBody | EventStream:
    """Find the part of the text that an answer came from, and its text; it says when that could not be verified."""

    async def finding(listener: Listener) -> TraceBody:
        return trace_body(body.question, await tracing.trace(tenant, sid, body.question, body.answer, listener))

    return await with_progress(request, response, finding)


@router.get("/timeline")
async def get_timeline(
    sid: str,
    request: Request,
    tracing: TracingDep,
    tenant: TenantDep,
    question: Annotated[str | None, Query(description="Ask each memory this.")] = None,
    lane: Annotated[int | None, Query(ge=0, description="The lane that answers.")] = None,
    vectors: Annotated[bool, Query(description="Tell of each memory vector how far it moved.")] = False,
) -> TimelineBody:
    """The memories that are kept along the text: how far each moved, and what it answers to a question."""
    points = await unless_disconnected(request, tracing.timeline(tenant, sid, question, lane))
    return TimelineBody(points=[_point_body(point, vectors=vectors) for point in points])


@router.get("/movements")
async def get_movements(
    sid: str,
    tracing: TracingDep,
    tenant: TenantDep,
    lane: Annotated[int, Query(ge=0, description="The lane whose memory it is.")] = 0,
) -> MovementsBody:
    """How far each vector of a lane's memory moved at each segment; for a long text, at a few segments together."""
    found = await tracing.movements(tenant, sid, lane)
    if found is None:
        return MovementsBody(start=0, segments_each=1, columns=[])
    moved = found.moved[:, lane].astype(float).round(4)
    columns = zip(found.segments.tolist(), found.ends.tolist(), moved.tolist(), strict=True)
    return MovementsBody(
        start=found.first_byte,
        segments_each=found.segments_each,
        columns=[MovementColumnBody(segment=segment, bytes=end, moved=row) for segment, end, row in columns],
    )


@router.get("/text")
async def get_text(
    sid: str,
    store: StoreDep,
    tenant: TenantDep,
    start: Annotated[int, Query(ge=0, le=MOST_BYTES, description="First byte.")] = 0,
    end: Annotated[int | None, Query(ge=0, le=MOST_BYTES, description="The byte behind the last one.")] = None,
) -> TextBody:
    """A part of the kept text, whole characters of it: 64 KiB at most, and no further than was accepted."""
    most = start + TEXT_BYTES
    kept = await store.read_text(tenant, sid, start, most if end is None else max(start, min(end, most)))
    first, text = whole_characters(kept)
    return TextBody(start=start + first, end=start + first + len(text.encode()), text=text)


def _point_body(point: TimelinePoint, *, vectors: bool) -> TimelinePointBody:
    answer = point.answer
    return TimelinePointBody(
        segment=point.segment,
        bytes=point.bytes,
        tokens=point.tokens,
        moved=list(point.moved),
        vectors=[list(lane) for lane in point.vectors] if vectors else None,
        answer=answer.generation.text if answer is not None and answer.known else None,
        guess=None if answer is None else answer.generation.text,
        confidence=None if answer is None else answer.confidence,
    )
