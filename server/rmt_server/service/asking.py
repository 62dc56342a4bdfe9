"""Asking: questions to a session or a snapshot: looked up, recalled, reread, or whichever is surer."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rmt_model.answering import Answer, Question, lane_of_focus, normalised
from rmt_model.digest import StreamDigest
from rmt_model.errors import QuestionError
from rmt_model.state import ReaderState
from rmt_server.errors import (
    BusyError,
    EmptyQuestionError,
    QuestionTooLongError,
    TextNotKeptError,
    UnprocessableError,
    WrongCheckpointError,
)
from rmt_server.reading.rereading import Errand
from rmt_server.reading.scheduler import Scheduler
from rmt_server.service.citations import Citation, Citer
from rmt_server.service.evidence import Evidence, asks_for_more, notice_on
from rmt_server.service.listening import NOBODY, Listener
from rmt_server.service.manner import Manner, Mode
from rmt_server.service.together import together
from rmt_server.settings import Settings
from rmt_server.store import READ_BYTES, SessionRecord, Store, StoredState

__all__ = ["Answers", "Asking", "Outcome", "Reply", "has_text", "require_text"]

Words = Callable[[int, str], object]
Outcome = Literal["answered", "not_found", "not_supported"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Attributes:
        answer: What the model found.
        mode: How it was found.
        citations: The sentences that it stands in, the best first; where there is no answer, what came closest.
        supported: Whether the question asks for something that a place of the text can hold.
        notice: What else the caller should know.
        verified: Whether the cited sentence, read alone, gives the answer; None where there is none.
    """

    answer: Answer
    mode: Literal["focus", "search", "recall", "reread"]
    citations: Sequence[Citation] = ()
    supported: bool = True
    notice: str | None = None
    verified: bool | None = None

    @property
    def outcome(self) -> Outcome:
        """Whether there is an answer, none was found, or none of this kind can be given."""
        if not self.supported:
            return "not_supported"
        return "answered" if self.answer.known else "not_found"


@dataclass(frozen=True, slots=True)
class Answers:
    """Replies, and the state they speak for; `session` as it stood then, or None for a snapshot's state."""

    replies: Sequence[Reply]
    state: StoredState
    session: SessionRecord | None


class Asking:
    """Answers questions. Asking never changes a session's memory."""

    def __init__(self, store: Store, scheduler: Scheduler, evidence: Evidence, settings: Settings) -> None:
        self._store = store
        self._scheduler = scheduler
        self._evidence = evidence
        self._settings = settings
        self._checkpoint = scheduler.engine.served

    @property
    def fingerprint(self) -> str:
        """The checkpoint that is asked."""
        return self._checkpoint.fingerprint

    async def wait_until_read(self, tenant: str, sid: str, listener: Listener = NOBODY) -> SessionRecord:
        """Wait until all that a session has accepted by now is in its memory.

        Raises:
            BusyError: It took longer than `read_wait_s`; reading goes on.
        """
        session = await self._store.get_session(tenant, sid)
        target = session.accepted_bytes
        since_s = time.monotonic()
        while not (session.is_read or session.read_bytes > target):
            listener.session(session)
            if time.monotonic() - since_s >= self._settings.read_wait_s:
                raise BusyError(
                    f"Session {sid} is still being read: {session.read_bytes} of {target} bytes.",
                    retry_after_s=5.0,
                )
            if self._scheduler.stopping or self._scheduler.failure is not None:
                raise BusyError("This process reads no more; ask another one.", retry_after_s=1.0)
            await self._scheduler.watch((tenant, sid), since_s)
            session = await self._store.get_session(tenant, sid)
            listener.session(session)
        return session

    async def answer(
        self,
        tenant: str,
        sid: str,
        questions: Sequence[str],
        manner: Manner = Manner(),  # noqa: B008 - frozen
        listener: Listener = NOBODY,
    ) -> Answers:
        """Answer questions from a session's text or memory, or from a snapshot's memory.

        Raises:
            UnprocessableError: Too many questions, one that cannot be asked, a lane that is not there, or a search
                where the served checkpoint writes its answers instead of pointing at them.
            TextNotKeptError: The text is to be read again, but was not kept from its beginning.
        """
        self.check_questions(questions)
        self.check_max_tokens(manner.max_tokens)
        asked = [Question(text, manner.lane, manner.max_tokens, manner.sampling) for text in questions]
        session = await self._store.get_session(tenant, sid)
        lanes = max(1, len(session.focus))
        if manner.snapshot is None and manner.lane is not None and manner.lane >= lanes:
            raise UnprocessableError(f"Lane {manner.lane} does not exist: the session has lanes 0 to {lanes - 1}.")
        mode = manner.mode or self.default_mode
        manner = replace(manner, mode=mode)
        if manner.mode == "search" and not self._evidence.reads:
            raise UnprocessableError("The served checkpoint writes answers and cannot search: send another mode.")
        if manner.mode in ("reread", "search"):
            require_text(session)
        await self._store.require_tokens(tenant)
        if manner.snapshot is not None:
            stored = await self._store.snapshot_state(tenant, manner.snapshot)
            return Answers(await self._recalled(tenant, stored, asked, listener), stored, None)
        if manner.wait and not (manner.mode == "search" or self._only_looks_up(session, asked, manner.mode)):
            await self.wait_until_read(tenant, sid, listener)
        session, stored = await self._store.session_state(tenant, sid)
        if self._evidence.reads:
            return Answers(await self._pointed(session, stored, asked, manner, listener), stored, session)
        replies = await self._replies(session, stored, asked, mode, listener)
        return Answers(replies, stored, session)

    @property
    def default_mode(self) -> Mode:
        """How questions are answered where the caller leaves it open."""
        return "auto" if self._evidence.reads else "recall"

    def needs_text(self, mode: Mode | None) -> bool:
        """Whether this mode is answered from kept text, and not from the memory of it."""
        mode = mode or self.default_mode
        return mode in ("reread", "search") or (mode == "auto" and self._evidence.reads)

    def _only_looks_up(self, session: SessionRecord, asked: Sequence[Question], mode: Mode | None) -> bool:
        """Whether all answers come from the text alone, so that the memory need not have read it yet."""
        focused = any(lane_of_focus(one.text, session.focus) is not None for one in asked)
        return mode == "auto" and self._evidence.reads and has_text(session) and not focused

    async def _pointed(
        self,
        session: SessionRecord,
        stored: StoredState,
        asked: Sequence[Question],
        manner: Manner,
        listener: Listener,
    ) -> list[Reply]:
        """Answers of a checkpoint that points at places, with the sentences that hold them."""
        citer = Citer(self._store, session)
        works = (self._pointed_one(session, stored, one, manner, citer, listener) for one in asked)
        replies = await together(works, self._scheduler.most_calls)
        await self.spend(session.tenant, [one.answer for one in replies])
        for number, reply in enumerate(replies):
            if reply.outcome == "answered":
                listener.words(number, reply.answer.generation.text)
            listener.citations(number, reply.citations)
        return replies

    async def _pointed_one(
        self,
        session: SessionRecord,
        stored: StoredState,
        question: Question,
        manner: Manner,
        citer: Citer,
        listener: Listener,
    ) -> Reply:
        mode, cites = manner.mode, has_text(session)
        if mode == "reread":
            lanes = await self._lanes_for(session, [question.text], listener)
            (answer,) = await self._scheduler.ask(lanes[normalised(question.text)], [question])
            reply = Reply(answer, "reread", supported=not asks_for_more(question.text))
            return await self._noticed(citer, await self._cited(citer, question, reply))
        is_focus = manner.documents is None and lane_of_focus(question.text, session.focus) is not None
        if mode == "recall" or (mode == "auto" and (is_focus or not cites)):
            (reply,) = await self._remembered(stored, [question], NOBODY)
            if reply.answer.known or mode == "recall" or not cites:
                return await self._noticed(citer, await self._cited(citer, question, reply)) if cites else reply
        found = await self._evidence.find(session, question.text, manner.documents)
        reply = Reply(found.answer, "search", supported=not asks_for_more(question.text), notice=found.notice)
        return await self._cited(citer, question, reply)

    async def _cited(self, citer: Citer, question: Question, reply: Reply) -> Reply:
        """A reply with its sentences, the answer as it is written there, and whether the first sentence proves it."""
        citations = await citer.cite(reply.answer.pointers)
        if not citations:
            return reply
        written = replace(reply.answer.generation, text=citations[0].answer)
        reply = replace(reply, answer=replace(reply.answer, generation=written), citations=citations)
        if reply.outcome != "answered":
            return reply
        return replace(reply, verified=await self._evidence.gives(question.text, citations[0]))

    async def _noticed(self, citer: Citer, reply: Reply) -> Reply:
        """A reply from a memory, with what to know about the text: about what is cited, else about its beginning."""
        cited = "\n".join(one.context for one in reply.citations)
        return replace(reply, notice=notice_on(cited or await citer.beginning()))

    async def _replies(
        self, session: SessionRecord, stored: StoredState, asked: Sequence[Question], mode: Mode, listener: Listener
    ) -> list[Reply]:
        if mode == "recall":
            return await self._recalled(session.tenant, stored, asked, listener)
        replies: list[Reply | None] = [None] * len(asked)
        if mode == "auto":
            replies = [*await self._recalled(session.tenant, stored, asked, NOBODY)]
        unsure = [number for number, reply in enumerate(replies) if reply is None or not self._is_trusted(reply)]
        if unsure and (mode == "reread" or has_text(session)):
            words = listener.words if mode == "reread" else NOBODY.words
            reread = await self._reread(session, [asked[number] for number in unsure], listener, words)
            for number, reply in zip(unsure, reread, strict=True):
                replies[number] = _surer(replies[number], reply)
        chosen = [reply for reply in replies if reply is not None]
        if mode == "auto":  # which answer it is was not known before
            for number, reply in enumerate(chosen):
                if reply.answer.known:
                    listener.words(number, reply.answer.generation.text)
        return chosen

    async def _recalled(
        self, tenant: str, stored: StoredState, asked: Sequence[Question], listener: Listener
    ) -> list[Reply]:
        """What a memory answers, with the tokens that it took counted."""
        replies = await self._remembered(stored, asked, listener)
        await self.spend(tenant, [one.answer for one in replies])
        return replies

    async def _remembered(self, stored: StoredState, asked: Sequence[Question], listener: Listener) -> list[Reply]:
        """What a memory answers."""
        state = ReaderState.from_bytes(stored.blob)
        self.require_own(state.fingerprint)
        answers = await self._scheduler.ask(state, asked, listener.words)
        return [
            Reply(
                answer,
                "focus" if answer.way == "focus" else "recall",
                supported=not (self._evidence.reads and asks_for_more(question.text)),
            )
            for question, answer in zip(asked, answers, strict=True)
        ]

    async def _reread(
        self, session: SessionRecord, asked: Sequence[Question], listener: Listener, words: Words
    ) -> list[Reply]:
        """Answer each question from a lane that has read the whole text for it."""
        require_text(session)
        lanes = await self._lanes_for(session, [question.text for question in asked], listener)

        async def reply(number: int, question: Question) -> Reply:
            state = lanes[normalised(question.text)]
            (answer,) = await self._scheduler.ask(state, [question], lambda _, text: words(number, text))
            return Reply(answer, "reread")

        works = (reply(number, question) for number, question in enumerate(asked))
        replies = await together(works, self._scheduler.most_calls)
        await self.spend(session.tenant, [one.answer for one in replies])
        return replies

    async def _lanes_for(
        self, session: SessionRecord, questions: Sequence[str], listener: Listener
    ) -> Mapping[str, ReaderState]:
        """For each question, normalised, the state of one lane that has read the session's text for it.

        Lanes that an earlier question left behind go on from where they stand; the others read from the beginning,
        side by side as far as a session may have focuses.
        """
        texts = {normalised(question): question for question in questions}
        lanes: dict[str, ReaderState] = {}
        for key, state in (await self._kept_lanes(session, list(texts))).items():
            lanes[key] = await self._read_on(session, state, listener)
        missing = [text for key, text in texts.items() if key not in lanes]
        for start in range(0, len(missing), self._settings.max_focuses):
            group = missing[start : start + self._settings.max_focuses]
            read = await self._read_on(session, self._scheduler.engine.fresh_state(group), listener)
            for lane, text in enumerate(group):
                lanes[normalised(text)] = replace(read, focus=(text,), memory=read.memory[lane : lane + 1])
        for text, state in lanes.items():
            await self.keep_lane(session, text, state)
        return lanes

    async def keep_lane(self, session: SessionRecord, question: str, state: ReaderState) -> None:
        """Keep a lane that read the session's text for a question, for when that is asked again."""
        await self._store.keep_lane(session.tenant, session.id, _name_of(normalised(question)), state.to_bytes())

    async def _read_on(self, session: SessionRecord, state: ReaderState, listener: Listener) -> ReaderState:
        if state.bytes_read == session.read_bytes and state.bytes_read > 0:
            return state
        (read,) = await self._scheduler.reread(Errand(session, state, listener.reread))
        await self._store.spend(session.tenant, (read.tokens_read - state.tokens_read) * state.lanes)
        return read

    async def _kept_lanes(self, session: SessionRecord, keys: Sequence[str]) -> dict[str, ReaderState]:
        """Lanes that are kept for these questions and have read the beginning of this very text."""
        blobs = await self._store.kept_lanes(session.tenant, session.id, [_name_of(key) for key in keys])
        found = {}
        for key, blob in zip(keys, blobs, strict=True):
            if blob is not None and await self._is_prefix(session, state := ReaderState.from_bytes(blob)):
                found[key] = state
        return found

    async def _is_prefix(self, session: SessionRecord, state: ReaderState) -> bool:
        """Whether a lane has read what the session's text begins with: a restore, or lost writes, change that."""
        if state.fingerprint != session.model or state.bytes_read > session.read_bytes:
            return False
        if state.bytes_read == session.read_bytes:
            return state.digest == session.digest
        digest = StreamDigest()
        for start in range(0, state.bytes_read, READ_BYTES):
            stop = min(state.bytes_read, start + READ_BYTES)
            digest.update(await self._store.read_text(session.tenant, session.id, start, stop))
        return digest.hexdigest() == state.digest

    async def spend(self, tenant: str, answers: Sequence[Answer]) -> None:
        """Count the tokens that answers took."""
        generations = [one.generation for one in answers]
        await self._store.spend(tenant, sum(one.prompt_tokens + one.completion_tokens for one in generations))

    def _is_trusted(self, reply: Reply) -> bool:
        return self._checkpoint.calibration.is_trusted(reply.answer.confidence, reply.answer.way)

    def check_questions(self, questions: Sequence[str]) -> None:
        """Refuse what could not be answered, before anybody waits for it.

        Raises:
            UnprocessableError: Too many questions.
            EmptyQuestionError: One has no words.
            QuestionTooLongError: One is longer than a segment.
        """
        if len(questions) > self._settings.max_questions:
            raise UnprocessableError(
                f"{len(questions)} questions in one call; the limit is {self._settings.max_questions}."
            )
        for question in questions:
            if not question.strip():
                raise EmptyQuestionError
            self.require_short(question)
            try:
                self._scheduler.engine.require_question(question)
            except QuestionError as error:
                raise QuestionTooLongError(f"The question cannot be asked: {error}.") from error

    def check_max_tokens(self, wanted: int | None) -> None:
        """Refuse an answer that may be longer than the limit.

        Raises:
            UnprocessableError: It may.
        """
        limit = self._settings.max_answer_tokens
        if wanted is not None and wanted > limit:
            raise UnprocessableError(f"max_tokens is {wanted}; the limit is {limit}.")

    def require_short(self, question: str) -> None:
        """Refuse what is too long whatever its tokens are, before it takes time to count them."""
        size, limit = len(question.encode()), self._settings.max_question_bytes
        if size > limit:
            raise QuestionTooLongError(f"A question has {size} bytes; the limit is {limit}.")

    def require_own(self, fingerprint: str) -> None:
        """Refuse a memory that another checkpoint made.

        Raises:
            WrongCheckpointError: It did.
        """
        if fingerprint != self._checkpoint.fingerprint:
            raise WrongCheckpointError(self._checkpoint.fingerprint, fingerprint)


def has_text(session: SessionRecord) -> bool:
    """Whether all of a session's text is there."""
    return session.keeps_all_text


def require_text(session: SessionRecord) -> None:
    """Raise TextNotKeptError unless all of a session's text is there."""
    if not has_text(session):
        raise TextNotKeptError(session.text_start)


def _surer(before: Reply | None, after: Reply) -> Reply:
    """Of what was recalled and what was reread, the likelier to be right."""
    return before if before is not None and before.answer.confidence > after.answer.confidence else after


def _name_of(question: str) -> str:
    """Names the lane of a normalised question in the store."""
    return hashlib.sha256(question.encode()).hexdigest()[:32]
