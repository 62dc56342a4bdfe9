"""OpenAI's API: models, chats and completions, for clients that speak nothing else."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel

from rmt_server.errors import ModelNotFoundError
from rmt_server.http.problems import error_document
from rmt_server.http.progress import News
from rmt_server.openai.bodies import (
    ChatBody,
    ChatChunk,
    ChatRequest,
    CompletionBody,
    CompletionRequest,
    DetailsBody,
    FileCitation,
    ModelBody,
    ModelsBody,
    OpenAIRequest,
    OpenAIUsage,
)
from rmt_server.openai.chat import Chat, ChatAnswer, ServedModel, Turn
from rmt_server.routes.deps import ChatDep, JsonOnly, ModelDep, SettingsDep, TenantDep
from rmt_server.routes.scopes import ScopedRoute
from rmt_server.service.listening import NOBODY, Listener
from rmt_server.wire.requests import unless_disconnected
from rmt_server.wire.schemas import CitationBody
from rmt_server.wire.sse import PING, EventStream, events_content, sse_data

router = APIRouter(prefix="/v1", tags=["openai"], route_class=ScopedRoute)

NOT_FOUND = "I did not find this."
"""What is said where there is no answer; the field `rmt` has the guess."""
NOT_SUPPORTED = (
    "I can answer questions whose answer stands at a place of the text: who, what, when, where, which, how many, why. "
    "I cannot summarise, list, translate or judge."
)
_STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": events_content()}}
SessionHeader = Annotated[str | None, Header(alias="X-Session-Id", description="As `session_id` in the body.")]


@router.get("/models")
async def list_models(model: ModelDep) -> ModelsBody:
    """List the checkpoint that is served."""
    return ModelsBody(data=[_model_body(model)])


@router.get("/models/{model}")
async def get_model(model: str, served: ModelDep) -> ModelBody:
    """Look at a checkpoint."""
    _require(model, served)
    return _model_body(served)


@router.post("/chat/completions", response_model=ChatBody, responses=_STREAMED, dependencies=[JsonOnly])
async def create_chat_completion(
    body: ChatRequest,
    request: Request,
    chat: ChatDep,
    model: ModelDep,
    settings: SettingsDep,
    tenant: TenantDep,
    x_session_id: SessionHeader = None,
) -> ChatBody | EventStream:
    """Answer a chat: all messages but the last are read through the memory, the last one asks.

    The same messages with another question are answered from what was read before.
    """
    _require(body.model, model)
    call = _Call(request, chat, tenant, body, body.turn(x_session_id), settings.max_answer_tokens)
    fields = _fields("chatcmpl", model)
    if body.stream:
        return await call.stream(lambda text, reason, **more: ChatChunk.of(text, reason, **fields, **more))
    answer = await call.answer()
    body_fields = fields | {"annotations": _annotations(answer)}
    return ChatBody.of(_said(answer), _reason(answer), **body_fields, usage=_usage(answer), rmt=_details(answer))


@router.post("/completions", response_model=CompletionBody, responses=_STREAMED, dependencies=[JsonOnly])
async def create_completion(
    body: CompletionRequest,
    request: Request,
    chat: ChatDep,
    model: ModelDep,
    settings: SettingsDep,
    tenant: TenantDep,
    x_session_id: SessionHeader = None,
) -> CompletionBody | EventStream:
    """Answer a prompt: its last paragraph or line asks, what stands before it is read through the memory."""
    _require(body.model, model)
    call = _Call(request, chat, tenant, body, body.turn(x_session_id), settings.max_answer_tokens)
    fields = _fields("cmpl", model)
    if body.stream:

        def piece(text: str | None, reason: Any, role: str | None = None, **more: Any) -> CompletionBody:
            del role
            return CompletionBody.of(text or "", reason, **fields, **more)

        return await call.stream(piece)
    answer = await call.answer()
    return CompletionBody.of(_said(answer), _reason(answer), **fields, usage=_usage(answer), rmt=_details(answer))


class _Call:
    """One request for an answer."""

    def __init__(
        self, request: Request, chat: Chat, tenant: str, body: OpenAIRequest, turn: Turn, most_tokens: int
    ) -> None:
        self._request = request
        self._chat = chat
        self._tenant = tenant
        self._turn = turn
        self._manner = body.manner(most_tokens)
        self._tells_usage = body.tells_usage

    async def _work(self, listener: Listener) -> ChatAnswer:
        return await self._chat.answer(self._tenant, self._turn, self._manner, listener)

    async def answer(self) -> ChatAnswer:
        """All of it at once."""
        return await unless_disconnected(self._request, self._work(NOBODY))

    async def stream(self, piece: Callable[..., BaseModel]) -> EventStream:
        """Piece by piece; until there is something to tell nothing is sent, so what is refused has its status."""
        news = News(words=True)
        task: asyncio.Task[ChatAnswer] = asyncio.ensure_future(self._work(news))
        await news.first(self._request, task)
        return EventStream(self._events(task, news, piece), task.cancel)

    async def _events(
        self, task: "asyncio.Task[ChatAnswer]", news: News, piece: Callable[..., BaseModel]
    ) -> AsyncGenerator[bytes, None]:
        ping_s, told = self._request.app.state.settings.event_ping_s, ""
        yield sse_data(piece("", None, role="assistant"))
        while True:
            done = task.done()
            words = "".join(body.text for name, body in news.take() if name == "delta")  # type: ignore[attr-defined]
            if words:
                yield sse_data(piece(words, None))
                told += words
            if done:
                break
            await news.wait_beside(task, ping_s)
            if not words and not task.done():
                yield PING
        try:
            answer = task.result()
        except Exception as error:
            yield sse_data(error_document(self._request, error))
            return
        if answer.reply.outcome != "answered":
            said = _said(answer)
            yield sse_data(piece(f"\n{said}" if told else said, None))
        yield sse_data(piece(None, _reason(answer), rmt=_details(answer)))
        if self._tells_usage:
            last = piece(None, None, usage=_usage(answer))
            yield sse_data(last.model_copy(update={"choices": []}))
        yield b"data: [DONE]\n\n"


def _require(name: str, model: ServedModel) -> None:
    if name not in (model.name, model.fingerprint):
        raise ModelNotFoundError(name)


def _fields(kind: str, model: ServedModel) -> dict[str, Any]:
    """What every piece of an answer has."""
    return {"id": f"{kind}-{secrets.token_urlsafe(16)}", "created": int(time.time()), "model": model.name}


def _model_body(model: ServedModel) -> ModelBody:
    return ModelBody(id=model.name, created=model.started_s)


def _said(answer: ChatAnswer) -> str:
    """The answer, or why there is none; with what is not supported, what comes closest."""
    reply = answer.reply
    if reply.outcome == "answered":
        return reply.answer.generation.text
    if reply.outcome == "not_found":
        return NOT_FOUND
    near = "".join(f"\n- {one.quote}" for one in reply.citations)
    return f"{NOT_SUPPORTED}\nClosest passages:{near}" if near else NOT_SUPPORTED


def _annotations(answer: ChatAnswer) -> list[FileCitation]:
    if answer.reply.outcome != "answered":
        return []
    end = len(answer.reply.answer.generation.text)
    return [
        FileCitation(index=end, file_id=one.document_id, filename=one.document or one.document_id, quote=one.quote)
        for one in answer.reply.citations
    ]


def _reason(answer: ChatAnswer) -> Literal["stop", "length"]:
    return answer.reply.answer.generation.finish_reason


def _usage(answer: ChatAnswer) -> OpenAIUsage:
    generation = answer.reply.answer.generation
    prompt_tokens = answer.document_tokens + generation.prompt_tokens
    return OpenAIUsage.of(prompt_tokens, generation.completion_tokens, answer.cached_tokens)


def _details(answer: ChatAnswer) -> DetailsBody:
    reply = answer.reply.answer
    return DetailsBody(
        session_id=answer.session_id,
        answer=reply.generation.text if answer.reply.outcome == "answered" else None,
        outcome=answer.reply.outcome,
        guess=reply.generation.text,
        confidence=reply.confidence,
        mode=answer.reply.mode,
        citations=[CitationBody.of(one) for one in answer.reply.citations],
        notice=answer.reply.notice,
    )
