"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from rmt_client import protocol
from rmt_client.base import DEFAULT_URL, BaseClient, from_httpx, new_key, to_httpx
from rmt_client.errors import ProblemError, TransportError
from rmt_client.events import Answering, Event, Following
from rmt_client.flow import Action, Flow, Outcome, Pause, Read
from rmt_client.models import (
    Answer,
    Answers,
    Document,
    Found,
    Health,
    Listener,
    Model,
    Movements,
    Page,
    Session,
    Snapshot,
    Text,
    TimelinePoint,
    Trace,
)
from rmt_client.options import AskOptions, SessionOptions
from rmt_client.patience import Patience, Retry, persistently
from rmt_client.source import Readable, Source, name_of, open_source
from rmt_client.upload import CHUNK_BYTES
from rmt_client.wire import Call, Request, Response

T = TypeVar("T")


class Client(BaseClient):
    """Speaks with an rmt-server.

    Every method raises a `RmtError` when it cannot do what it says. Safe to use from several threads.

    Args:
        url: Where the server is.
        api_key: Your key, where the server asks for one.
        retry: How long to try again after failures. Calls that change something and that the server could not tell
            from a second one (deletions, restores, changes) are made once.
        chunk_bytes: The most that is sent in one request, less where the server says so.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        retry: Retry = Retry(),  # noqa: B008 (frozen)
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        super().__init__(url, api_key, retry, chunk_bytes)
        self._http = httpx.Client(**self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def status(self) -> Health:
        """Asks whether the server takes work."""
        return self._call(protocol.status())

    def list_models(self) -> tuple[Model, ...]:
        """Lists the checkpoints that are served, for `create_session(model=)`."""
        return self._call(protocol.list_models())

    def create_session(self, **options: Unpack[SessionOptions]) -> Session:
        """Starts a session; `SessionOptions` says with what."""
        return self._call(protocol.create_session(new_key(), **options))

    def fork(self, snapshot_id: str) -> Session:
        """Starts a new session from a snapshot."""
        return self.create_session(from_snapshot=snapshot_id)

    def list_sessions(self, *, limit: int | None = None, after: str | None = None) -> Page[Session]:
        """Lists sessions, a page at a time."""
        return self._call(protocol.list_sessions(limit=limit, after=after))

    def get_session(self, session_id: str) -> Session:
        """Looks at a session."""
        return self._call(protocol.get_session(session_id))

    def update_session(
        self,
        session_id: str,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl_s: int | None = None,
        revision: int | None = None,
    ) -> Session:
        """Changes metadata or lifetime; with `revision`, StaleError if the session has moved on."""
        call = protocol.update_session(session_id, metadata=metadata, ttl_s=ttl_s, revision=revision)
        return self._call(call)

    def delete_session(self, session_id: str) -> None:
        """Deletes a session and all that it knows."""
        self._call(protocol.delete_session(session_id))

    def read(
        self,
        session_id: str,
        source: Source,
        *,
        name: str | None = None,
        wait: bool = True,
        document_id: str | None = None,
        on_progress: Listener | None = None,
    ) -> Document:
        """Sends a document into a session, exactly once through any cut connection.

        Args:
            session_id: The session that reads it, after all that it was sent before.
            source: Text (str), bytes, a path, an open binary file, an iterable of bytes, or a `Stream`.
            name: What the document is called, which citations show; None: as the source's file; "": nothing.
            wait: Whether to return only when all of it is read.
            document_id: An upload that broke off, to go on with; `source` is the same, from its beginning.
            on_progress: Called now and then, in this thread.
        """
        with closing(open_source(source)) as opened:
            flow = self._upload(
                session_id,
                opened.length,
                name=name_of(source) if name is None else name,
                document_id=document_id,
                wait=wait,
                on_progress=on_progress,
            )
            return self._drive(flow, opened)

    def get_document(self, session_id: str, document_id: str) -> Document:
        """Looks at a document."""
        return self._call(protocol.get_document(session_id, document_id))

    def cancel_document(self, session_id: str, document_id: str) -> None:
        """Ends an upload; what was accepted stays accepted."""
        self._call(protocol.cancel_document(session_id, document_id))

    def wait_until_read(
        self, session_id: str, *, timeout_s: float | None = None, on_progress: Listener | None = None
    ) -> Session:
        """Waits until all that the session has accepted by now is read."""
        return self._drive(self._wait(session_id, timeout_s, on_progress))

    def ask(
        self,
        session_id: str,
        question: str,
        *,
        timeout_s: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Answer:
        """Asks one question; see `ask_many`."""
        return self.ask_many(session_id, [question], timeout_s=timeout_s, **options).answers[0]

    def ask_many(
        self,
        session_id: str,
        questions: Sequence[str],
        *,
        timeout_s: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Answers:
        """Asks several questions of one position; asking never changes the memory.

        Args:
            session_id: The session.
            questions: What to ask.
            timeout_s: How long to wait altogether; None is for as long as the session reads on.
            **options: `AskOptions` says which there are.
        """
        return self._drive(self._ask(session_id, questions, timeout_s, **options))

    def stream_answer(self, session_id: str, question: str, **options: Unpack[AskOptions]) -> Iterator[str | Answer]:
        """Asks one question, and gives the words of the answer as they come, then the `Answer` with its citations.

        A connection that is cut is not tried again: what was heard would come twice. Leaving the loop ends the work.
        """
        answering, request = Answering(), protocol.stream_answer(session_id, question, **options)
        try:
            with self._http.stream(**to_httpx(request, self._retry.silence_s)) as response:
                if response.status_code != 200:
                    response.read()
                    from_httpx(response).expect(200)
                for line in response.iter_lines():
                    if words := answering.line(line):
                        yield words
        except httpx.RequestError as failure:
            raise self._failure(failure) from failure
        yield answering.ended()

    def search(
        self,
        session_id: str,
        query: str,
        *,
        limit: int | None = None,
        documents: Sequence[str] | None = None,
        wait: bool | None = None,
    ) -> Found:
        """Finds the passages of a session's text that match a query best, in all that was accepted.

        Args:
            session_id: The session.
            query: Words in any language; there is no syntax.
            limit: How many passages at most; the server's default is 10.
            documents: Ids of documents to search; None searches all.
            wait: Whether all that was accepted is read into the memory first; the search itself does not need it.
        """
        return self._call(protocol.search(session_id, query, limit=limit, documents=documents, wait=wait))

    def trace(self, session_id: str, question: str, *, answer: str | None = None) -> Trace:
        """Finds the part of a session's text that an answer came from; without an answer, the one that it gives."""
        return self._call(protocol.trace(session_id, question, answer=answer))

    def timeline(
        self, session_id: str, *, question: str | None = None, lane: int | None = None, vectors: bool = False
    ) -> tuple[TimelinePoint, ...]:
        """Looks at the memories that are kept along a session's text, and what each answers to a question.

        With `vectors`, each point tells of every memory vector how far it moved.
        """
        return self._call(protocol.timeline(session_id, question=question, lane=lane, vectors=vectors))

    def movements(self, session_id: str, *, lane: int = 0) -> Movements:
        """Tells how far each vector of a lane's memory moved at each segment; in a long text, at a few together."""
        return self._call(protocol.movements(session_id, lane=lane))

    def get_text(self, session_id: str, *, start: int = 0, end: int | None = None) -> Text:
        """Gives the bytes `start` to `end` of a session's kept text, whole characters of them: 64 KiB at most."""
        return self._call(protocol.get_text(session_id, start=start, end=end))

    def events(self, session_id: str, *, after: str | None = None) -> Iterator[Event]:
        """Follows a session: every event once, over cut connections and other processes, until you stop.

        Args:
            session_id: The session.
            after: The id of the last event that you know ("0-0": all that are kept); else it begins with how it stands.

        Raises:
            ProblemError: The session is gone.
        """
        following = Following(session_id, after, Patience(self._retry))
        while True:
            try:
                with self._http.stream(**to_httpx(following.request(), self._retry.silence_s)) as response:
                    following.patience.met()
                    if response.status_code == 200:
                        for line in response.iter_lines():
                            event = following.line(line)
                            if event is not None:
                                yield event
                        error = following.ended()
                    else:
                        response.read()
                        error = following.refused(from_httpx(response))
            except httpx.RequestError as failure:
                error = self._failure(failure)
            except ProblemError as problem:
                if not following.retries(problem):
                    raise
                error = problem
            self._drive(following.patience.after(error))

    def create_snapshot(
        self,
        session_id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl_s: int | None = None,
    ) -> Snapshot:
        """Keeps the memory of a session as it is now."""
        return self._call(protocol.create_snapshot(new_key(), session_id, name=name, metadata=metadata, ttl_s=ttl_s))

    def list_snapshots(
        self, session_id: str | None = None, *, limit: int | None = None, after: str | None = None
    ) -> Page[Snapshot]:
        """Lists the snapshots of a session, or all, a page at a time."""
        return self._call(protocol.list_snapshots(session_id, limit=limit, after=after))

    def get_snapshot(self, snapshot_id: str) -> Snapshot:
        """Looks at a snapshot."""
        return self._call(protocol.get_snapshot(snapshot_id))

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Deletes a snapshot."""
        self._call(protocol.delete_snapshot(snapshot_id))

    def export_snapshot(self, snapshot_id: str) -> bytes:
        """Downloads a snapshot as a safetensors file."""
        return self._call(protocol.export_snapshot(snapshot_id))

    def import_snapshot(self, content: bytes, *, name: str | None = None) -> Snapshot:
        """Uploads a snapshot that was exported, from this server or another."""
        return self._call(protocol.import_snapshot(new_key(), content, name=name))

    def restore(self, session_id: str, snapshot_id: str, *, revision: int | None = None) -> Session:
        """Puts the memory of a session back to a snapshot; with `revision`, StaleError if the session has moved on."""
        return self._call(protocol.restore_session(session_id, snapshot_id, revision=revision))

    def _call(self, call: Call[T]) -> T:
        return self._drive(persistently(call, self._retry))

    def _drive(self, flow: Flow[T], source: Readable | None = None) -> T:
        try:
            action = next(flow)
            while True:
                try:
                    outcome = self._perform(action, source)
                except TransportError as error:
                    action = flow.throw(error)
                else:
                    action = flow.send(outcome)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _perform(self, action: Action, source: Readable | None) -> Outcome:
        match action:
            case Request():
                return self._send(action)
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case Read(offset, size):
                assert source is not None  # noqa: S101 (only uploads read, and they have one)
                return source.read(offset, size)

    def _send(self, request: Request) -> Response:
        try:
            return from_httpx(self._http.request(**to_httpx(request, self._retry.silence_s)))
        except httpx.RequestError as error:
            raise self._failure(error) from error
