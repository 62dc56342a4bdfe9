"""Answers: questions to a memory."""

from fastapi import APIRouter, Request, Response

from rmt_server.http.progress import PROGRESS, with_progress
from rmt_server.routes.deps import AskingDep, JsonOnly, TenantDep, TracingDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.routes.traces import trace_body
from rmt_server.service.asking import Answers, Reply
from rmt_server.service.listening import Listener
from rmt_server.wire.schemas import AnswerBody, AnswerRequest, AnswersBody, CitationBody, PositionBody, UsageBody
from rmt_server.wire.sse import EventStream

router = APIRouter(prefix="/v1/sessions/{sid}", tags=["answers"], route_class=ScopedRoute)


def _answer_body(question: str, reply: Reply) -> AnswerBody:
    answer, generation = reply.answer, reply.answer.generation
    return AnswerBody(
        question=question,
        answer=generation.text if reply.outcome == "answered" else None,
        outcome=reply.outcome,
        citations=[CitationBody.of(one) for one in reply.citations],
        verified=reply.verified,
        notice=reply.notice,
        guess=generation.text,
        confidence=answer.confidence,
        probability=generation.probability,
        margin=generation.margin,
        mode=reply.mode,
        lane=answer.lane if reply.mode in ("focus", "recall") else None,
        finish_reason=generation.finish_reason,
        usage=UsageBody(
            prompt_tokens=generation.prompt_tokens,
            completion_tokens=generation.completion_tokens,
        ),
    )


def answers_body(questions: list[str], answers: Answers) -> AnswersBody:
    """The wire form of answers."""
    return AnswersBody(
        answers=[_answer_body(*pair) for pair in zip(questions, answers.replies, strict=True)],
        position=PositionBody(
            bytes=answers.state.read_bytes,
            tokens=answers.state.tokens,
            segments=answers.state.segments,
            revision=None if answers.session is None else answers.session.revision,
            digest=answers.state.digest,
        ),
    )


@router.post("/answers", response_model=AnswersBody, responses={200: {"content": PROGRESS}}, dependencies=[JsonOnly])
async def create_answers(
    sid: str,
    body: AnswerRequest,
    request: Request,
    response: Response,
    asking: AskingDep,
    tracing: TracingDep,
    tenant: TenantDep,
) -> AnswersBody | EventStream:
    """Ask one question or several. Asking never changes the memory; a caller who leaves ends the work."""

    async def answering(listener: Listener) -> AnswersBody:
        if body.trace:
            await tracing.require_text(tenant, sid)
        found = await asking.answer(tenant, sid, body.asked, body.manner, listener)
        answered = answers_body(body.asked, found)
        for one in answered.answers:
            if body.trace and found.session is not None and one.answer is not None:
                traced = await tracing.trace_in(found.session, found.state, one.question, one.answer, listener)
                one.trace = trace_body(one.question, traced)
        return answered

    return await with_progress(request, response, answering, words=body.stream)
