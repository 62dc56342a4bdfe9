"""Answers: questions to a memory."""

from fastapi import APIRouter, Request, Response

from rmt_server.progress import PROGRESS, with_progress
from rmt_server.routes.deps import JsonOnly, ServiceDep, TenantDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.schemas import AnswerBody, AnswerRequest, AnswersBody, PositionBody, UsageBody
from rmt_server.service import Answers, Report
from rmt_server.sse import EventStream

router = APIRouter(prefix="/v1/sessions/{sid}", tags=["answers"], route_class=ScopedRoute)


def answers_body(questions: list[str], answers: Answers) -> AnswersBody:
    """The wire form of answers."""
    return AnswersBody(
        answers=[
            AnswerBody(
                question=question,
                answer=one.generation.text,
                confidence=one.generation.confidence,
                mode="recall",
                lane=one.lane,
                finish_reason=one.generation.finish_reason,
                usage=UsageBody(
                    prompt_tokens=one.generation.prompt_tokens,
                    completion_tokens=one.generation.completion_tokens,
                ),
            )
            for question, one in zip(questions, answers.answers, strict=True)
        ],
        position=PositionBody(
            bytes=answers.state.read_bytes,
            tokens=answers.state.tokens,
            segments=answers.state.segments,
            revision=answers.revision,
            digest=answers.state.digest,
        ),
    )


@router.post("/answers", response_model=AnswersBody, responses={200: {"content": PROGRESS}}, dependencies=[JsonOnly])
async def create_answers(
    sid: str, body: AnswerRequest, request: Request, response: Response, service: ServiceDep, tenant: TenantDep
) -> AnswersBody | EventStream:
    """Ask one question or several. Asking never changes the memory."""

    async def answering(report: Report) -> AnswersBody:
        answers = await service.answer(
            tenant,
            sid,
            body.asked,
            lane=body.lane,
            snapshot=body.snapshot,
            wait=body.wait,
            max_tokens=body.max_tokens,
            report=report,
        )
        return answers_body(body.asked, answers)

    return await with_progress(request, response, answering)
