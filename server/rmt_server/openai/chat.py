"""Chat: texts and a question behind them, as OpenAI's clients send them. Each beginning of a chat is read once.

The texts before the question are documents of a session whose id is a digest of them, so whoever sends the same texts
again, to any process, finds it read. Texts that go on where others ended begin with the memory of those: a chat that
grows is read piece by piece.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rmt_model.state import ReaderState
from rmt_server.errors import (
    BusyError,
    CompletedUploadError,
    DocumentNotFoundError,
    QuestionTooLongError,
    SessionNotFoundError,
    SupersededError,
    UnprocessableError,
    UploadOpenError,
)
from rmt_server.intake.inbox import Inbox
from rmt_server.service.asking import Asking, Reply, has_text
from rmt_server.service.idempotency import Creation
from rmt_server.service.listening import Listener
from rmt_server.service.manner import Manner
from rmt_server.service.sessions import Service
from rmt_server.settings import Settings
from rmt_server.store import SessionRecord, Store

__all__ = ["MOST_TEXTS", "Chat", "ChatAnswer", "ServedModel", "Turn"]

MOST_TEXTS = 512
"""Texts of one chat: a session keeps the records of its last documents only."""
_LOOK_S = 0.1
_STILL_S = 2.0
"""An upload of another call that does not move for so long: this call goes on with it, whatever became of that one."""
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_ASKS = re.compile(r"(?:question|query|q)[ \t]*:[ \t]*", re.IGNORECASE)
_ANSWER_COMES = re.compile(r"\b(?:answer|a)[ \t]*:\Z", re.IGNORECASE)
_PROMPT_CHARS = 64
_BEGUN_AT, _WHOLE = "texts_before", "whole"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a chat asks.

    Attributes:
        texts: All messages, in order; the last one asks, or ends with what it asks.
        session_id: Ask this session; the texts before the last are not looked at.
    """

    texts: Sequence[str]
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer, the session that gave it, and what it took.

    Attributes:
        reply: The answer.
        session_id: The session that was asked.
        document_tokens: Tokens of the texts that are in its memory.
        cached_tokens: Those of them that had been read before.
    """

    reply: Reply
    session_id: str
    document_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The checkpoint, as clients name it.

    Attributes:
        name: Its name.
        fingerprint: Another name.
        started_s: Since when it is served, in seconds of the epoch.
    """

    name: str
    fingerprint: str
    started_s: int


class Chat:
    """Answers chats from cached readings."""

    def __init__(self, store: Store, service: Service, asking: Asking, inbox: Inbox, settings: Settings) -> None:
        self._store = store
        self._service = service
        self._asking = asking
        self._inbox = inbox
        self._settings = settings

    async def answer(self, tenant: str, turn: Turn, manner: Manner, listener: Listener) -> ChatAnswer:
        """Read what is new of the texts, and answer the question.

        Raises:
            UnprocessableError: The question cannot be asked, or there are too many texts.
            SessionNotFoundError: The session that is named does not exist.
        """
        if turn.session_id is not None:
            self._asking.check_questions([turn.texts[-1]])
            session = await self._store.get_session(tenant, turn.session_id)
            question, cached = turn.texts[-1], session.tokens
        else:
            texts, question = self._split(turn.texts)
            self._asking.check_questions([question])
            await self._store.require_tokens(tenant)
            session, cached = await self._read(tenant, texts, listener, rereads=self._asking.needs_text(manner.mode))
        answers = await self._asking.answer(tenant, session.id, [question], manner, listener)
        return ChatAnswer(answers.replies[0], session.id, answers.state.tokens, min(cached, answers.state.tokens))

    def _split(self, texts: Sequence[str]) -> tuple[list[str], str]:
        """What is to be read, and the question behind it."""
        *before, last = texts
        read = [text for text in before if text.strip()]
        head, question = self._parted(_without_prompt(last), alone=not read)
        read += [head.rstrip()] if head.strip() else []
        if len(read) > MOST_TEXTS:
            raise UnprocessableError(f"{len(read)} messages; the limit is {MOST_TEXTS}. Join them, or use a session.")
        question = question.strip()
        label = _ASKS.match(question)
        return read, question[label.end() :] if label else question

    def _parted(self, text: str, *, alone: bool) -> tuple[str, str]:
        """The last text: what of it is to be read, and the question.

        It is the question, unless it says where that begins, stands alone and has a blank line, or is too long for one:
        then the question is what follows the last blank line, or the last line.
        """
        line = text.rfind("\n") + 1
        if line and _ASKS.match(text[line : line + _PROMPT_CHARS].lstrip()):
            return text[: line - 1], text[line:]
        is_long, blank = self._is_too_long(text), self._last_blank_line(text)
        if blank is not None and (alone or is_long) and not self._is_too_long(text[blank.end() :]):
            return text[: blank.start()], text[blank.end() :]
        return (text[: line - 1], text[line:]) if line and is_long else ("", text)

    def _last_blank_line(self, text: str) -> re.Match[str] | None:
        """The last blank line, as far as what follows it may be a question."""
        start = max(0, len(text) - self._settings.max_question_bytes - _PROMPT_CHARS)
        return next(reversed([*_BLANK_LINE.finditer(text, start)]), None)

    def _is_too_long(self, text: str) -> bool:
        try:
            self._asking.check_questions([text.strip() or "?"])
        except QuestionTooLongError:
            return True
        return False

    async def _read(
        self, tenant: str, texts: Sequence[str], listener: Listener, *, rereads: bool
    ) -> tuple[SessionRecord, int]:
        """The session whose documents are these texts, and how many of its tokens had been read before.

        For who `rereads` it is one that has the first text, too, and not only the memory of it.
        """
        creations = self._creations(texts)
        known, count = await self._longest_known(tenant, creations)
        if rereads and known is not None and not (count == len(texts) and has_text(known)):
            creations = self._creations(texts, b"with text")
            known = await self._find_whole(tenant, creations[-1])
            count = len(texts) if known is not None else 0
        if known is not None and count == len(texts):
            return await self._prolonged(known), known.tokens
        session = await self._begin(tenant, creations[-1], known, count, listener)
        for number in range(int(session.metadata.get(_BEGUN_AT, "0")), len(texts)):
            await self._append(tenant, session.id, creations[number + 1], texts[number].encode())
        whole = {**session.metadata, _WHOLE: "yes"}
        return await self._store.update_session(tenant, session.id, metadata=whole), session.tokens

    async def _longest_known(self, tenant: str, creations: Sequence[Creation]) -> tuple[SessionRecord | None, int]:
        """The session that has read most of the texts from the first on, and how many."""
        for count in range(len(creations) - 1, -1, -1):
            known = await self._find_whole(tenant, creations[count])
            if known is not None:
                return known, count
        return None, 0

    async def _find_whole(self, tenant: str, creation: Creation) -> SessionRecord | None:
        try:
            known = await self._store.get_session(tenant, creation.new_id("ses", tenant))
        except SessionNotFoundError:
            return None
        return known if known.metadata.get(_WHOLE) else None

    async def _prolonged(self, session: SessionRecord) -> SessionRecord:
        """A session that is asked stays; it is not told so at every question."""
        left_s = (session.expires_at - datetime.now(UTC)).total_seconds()
        if left_s > session.ttl_s / 2:
            return session
        return await self._store.update_session(session.tenant, session.id, ttl_s=session.ttl_s)

    async def _begin(
        self, tenant: str, creation: Creation, known: SessionRecord | None, count: int, listener: Listener
    ) -> SessionRecord:
        """A session for texts: with the memory of one that has read the first of them, or empty."""
        state = None
        if known is not None:
            await self._asking.wait_until_read(tenant, known.id, listener)
            _, stored = await self._store.session_state(tenant, known.id)
            state = ReaderState.from_bytes(stored.blob)
        return await self._service.create_session(
            tenant,
            state=state,
            ttl_s=self._settings.chat_ttl_s,
            auto_snapshots=0,
            metadata={"made_by": "chat", _BEGUN_AT: str(count)},
            creation=creation,
        )

    async def _append(self, tenant: str, sid: str, creation: Creation, text: bytes) -> None:
        """Send a text as a document, or wait for another call that sends it; go on where that one broke off.

        Raises:
            BusyError: Something else was being sent to the session for longer than a caller may wait.
        """
        did, until_s = creation.new_id("doc", tenant, sid), time.monotonic() + self._settings.read_wait_s
        while not await self._sent_by_another(tenant, sid, did):
            if time.monotonic() >= until_s:
                raise BusyError(f"Session {sid} is being sent something else.", retry_after_s=5.0)
            try:
                document = await self._store.create_document(tenant, sid, did, len(text), creation.asked)
                if not document.complete:
                    await self._inbox.receive(tenant, document, _pieces(text[document.offset :]), complete=True)
            except UploadOpenError as error:
                await self._sent_by_another(tenant, sid, error.document_id)
            except (SupersededError, CompletedUploadError):
                continue
            else:
                return

    async def _sent_by_another(self, tenant: str, sid: str, did: str) -> bool:
        """Wait while another call sends a document; whether it is whole then."""
        offset, moved_s = -1, time.monotonic()
        while True:
            try:
                document = await self._store.get_document(tenant, sid, did)
            except DocumentNotFoundError:
                return False
            if document.complete:
                return True
            if document.offset != offset:
                offset, moved_s = document.offset, time.monotonic()
            elif time.monotonic() - moved_s >= _STILL_S:
                return False
            await asyncio.sleep(_LOOK_S)

    def _creations(self, texts: Sequence[str], kind: bytes = b"") -> list[Creation]:
        """How the session of each beginning of these texts is known again, the one without any first."""
        digest = hashlib.sha256(b"chat" + kind + self._asking.fingerprint.encode()).digest()
        creations = [Creation(digest.hex(), "chat")]
        for text in texts:
            digest = hashlib.sha256(digest + hashlib.sha256(text.encode()).digest()).digest()
            creations.append(Creation(digest.hex(), "chat"))
        return creations


def _without_prompt(text: str) -> str:
    """A text without surrounding white space and the words that ask for the answer behind it."""
    stripped = text.strip()
    start = max(0, len(stripped) - _PROMPT_CHARS)
    prompt = _ANSWER_COMES.search(stripped, start)
    return stripped[: prompt.start()].rstrip() if prompt else stripped


async def _pieces(text: bytes) -> AsyncIterator[bytes]:
    yield text
