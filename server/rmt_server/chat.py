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

from rmt_model.state import ReaderState
from rmt_server.asking import Asking, Reply
from rmt_server.errors import (
    CompletedUploadError,
    DocumentNotFoundError,
    QuestionTooLongError,
    SessionNotFoundError,
    SupersededError,
    UnprocessableError,
    UploadOpenError,
)
from rmt_server.idempotency import Creation
from rmt_server.inbox import Inbox
from rmt_server.listening import Listener
from rmt_server.manner import Manner
from rmt_server.service import Service
from rmt_server.settings import Settings
from rmt_server.store import SessionRecord, Store

__all__ = ["MOST_TEXTS", "Chat", "ChatAnswer", "ServedModel", "Turn"]

MOST_TEXTS = 512
"""Texts of one chat: a session keeps the records of its last documents only."""
_LOOK_S = 0.1
_STILL_S = 15.0
"""An upload of another call that does not move for so long is gone: this call goes on with it."""
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_ASKS = re.compile(r"(?:question|query|q)[ \t]*:[ \t]*", re.IGNORECASE)
_ANSWER_COMES = re.compile(r"\s*\b(?:answer|a)[ \t]*:\s*\Z", re.IGNORECASE)
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
            session, cached = await self._read(tenant, texts, listener)
        answers = await self._asking.answer(tenant, session.id, [question], manner, listener)
        return ChatAnswer(answers.replies[0], session.id, answers.state.tokens, min(cached, answers.state.tokens))

    def _split(self, texts: Sequence[str]) -> tuple[list[str], str]:
        """What is to be read, and the question behind it.

        The last text is the question, unless it has a text in front of that: then it is what follows the last blank
        line, or the last line.
        """
        *before, last = texts
        last = _ANSWER_COMES.sub("", last).strip()
        head, question = "", last
        if self._holds_more_than_a_question(last, alone=not before):
            blanks = list(_BLANK_LINE.finditer(last))
            at, end = blanks[-1].span() if blanks else (last.rfind("\n"), last.rfind("\n") + 1)
            head, question = last[: max(0, at)], last[end:]
        read = [text for text in (*before, head) if text.strip()]
        if len(read) > MOST_TEXTS:
            raise UnprocessableError(f"{len(read)} messages; the limit is {MOST_TEXTS}. Join them, or use a session.")
        return read, _ASKS.sub("", question.strip(), count=1) if _ASKS.match(question.strip()) else question.strip()

    def _holds_more_than_a_question(self, text: str, *, alone: bool) -> bool:
        last_line = text.rpartition("\n")[2].strip()
        if "\n" in text and _ASKS.match(last_line):
            return True
        if alone and _BLANK_LINE.search(text):
            return True
        try:
            self._asking.check_questions([text or "?"])
        except QuestionTooLongError:
            return "\n" in text
        return False

    async def _read(self, tenant: str, texts: Sequence[str], listener: Listener) -> tuple[SessionRecord, int]:
        """The session whose documents are these texts, and how many of its tokens had been read before."""
        creations = _creations(texts)
        for count in range(len(texts), -1, -1):
            known = await self._find(tenant, creations[count].new_id("ses", tenant))
            if known is not None and known.metadata.get(_WHOLE):
                break
        else:
            known, count = None, 0
        if known is not None and count == len(texts):
            return known, known.tokens
        session = await self._begin(tenant, creations[-1], known, count, listener)
        for number in range(int(session.metadata.get(_BEGUN_AT, "0")), len(texts)):
            await self._append(tenant, session.id, creations[number + 1], texts[number].encode())
        whole = {**session.metadata, _WHOLE: "yes"}
        return await self._store.update_session(tenant, session.id, metadata=whole), session.tokens

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
        """Send a text as a document, or wait for another call that sends it; go on where that one broke off."""
        did = creation.new_id("doc", tenant, sid)
        while not await self._sent_by_another(tenant, sid, did):
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

    async def _find(self, tenant: str, sid: str) -> SessionRecord | None:
        try:
            return await self._store.get_session(tenant, sid)
        except SessionNotFoundError:
            return None


def _creations(texts: Sequence[str]) -> list[Creation]:
    """How the session of each beginning of these texts is known again: the one without any first."""
    digest = hashlib.sha256(b"chat").digest()
    creations = [Creation(digest.hex(), "chat")]
    for text in texts:
        digest = hashlib.sha256(digest + hashlib.sha256(text.encode()).digest()).digest()
        creations.append(Creation(digest.hex(), "chat"))
    return creations


async def _pieces(text: bytes) -> AsyncIterator[bytes]:
    yield text
