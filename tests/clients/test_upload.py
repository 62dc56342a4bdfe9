"""The upload without a network: whatever is lost, late or repeated, the same bytes arrive."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmt_client import ConflictError, GaveUpError, ProblemError, Progress, Retry, SourceError, Stream
from rmt_client.errors import ConnectionLostError, TransportError, UnreachableError
from rmt_client.flow import Flow, Outcome, Pause, Read
from rmt_client.patience import Patience
from rmt_client.source import FileSource, Readable
from rmt_client.upload import Upload
from rmt_client.watch import Watch
from rmt_client.wire import Request, Response

DOCUMENT = "/v1/sessions/s/documents/d"


@dataclass
class ModelServer:
    """The server's side of the contract in its fewest words."""

    text: bytearray = field(default_factory=bytearray)
    complete: bool = False
    opened: set[str] = field(default_factory=set)
    max_append_bytes: int | None = None

    def answer(self, request: Request, taken: int | None = None) -> Response:
        """Answers; `taken` is how many bytes of the body arrive before the connection breaks."""
        if request.method == "POST":
            self.opened.add(request.headers["Idempotency-Key"])
            return self.here(201, self.document())
        if request.method == "HEAD":
            return self.here(204)
        if request.method == "GET":
            found = self.document() if request.path == DOCUMENT else {}
            return Response(200 if found else 404, content=json.dumps(found).encode())
        return self.append(request, taken)

    def append(self, request: Request, taken: int | None) -> Response:
        data, offset = request.content or b"", int(request.headers["Upload-Offset"])
        if offset != len(self.text):
            return self.refuse(409, **{"expected-offset": len(self.text), "provided-offset": offset})
        if self.complete:
            return self.refuse(400)
        if self.max_append_bytes is not None and len(data) > self.max_append_bytes:
            return self.refuse(413)
        self.text += data[:taken]
        if taken is None:
            self.complete = request.headers["Upload-Complete"] == "?1"
        return self.here(204)

    def here(self, status: int, body: dict[str, Any] | None = None) -> Response:
        headers = {"upload-offset": str(len(self.text)), "upload-complete": f"?{self.complete:d}"}
        return Response(status, headers | self.limit(), json.dumps(body).encode() if body else b"")

    def refuse(self, status: int, **fields: int) -> Response:
        return Response(status, self.limit(), json.dumps({"detail": "no", **fields}).encode())

    def limit(self) -> dict[str, str]:
        size = self.max_append_bytes
        return {} if size is None else {"upload-limit": f"max-size=99999, max-append-size={size}"}

    def document(self) -> dict[str, Any]:
        size = len(self.text)
        known = {"id": "d", "session_id": "s", "start": 0, "offset": size, "complete": self.complete}
        return known | {"length": size if self.complete else None, "read": False}


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    kind: "lost" never arrives; "part" arrives in part; "unanswered" arrives; "late" arrives after the
    next one; "twice" arrives two times; "busy" is refused; "forget" arrives after the server lost its
    latest bytes.
    """

    kind: str
    size: int = 0


FAULTS = st.builds(
    Fault,
    st.sampled_from(["none", "lost", "part", "unanswered", "late", "twice", "busy", "forget"]),
    st.integers(0, 40),
)


@dataclass
class World:
    """Runs a flow: a clock that only pauses move, a server, and the faults on the way to it."""

    server: ModelServer
    source: Readable
    faults: list[Fault] = field(default_factory=list)
    before_read: Callable[[], None] = lambda: None
    late: list[Request] = field(default_factory=list)
    now_s: float = 0.0

    def run(self, flow: Flow[Any]) -> Any:
        try:
            action = next(flow)
            while True:
                try:
                    outcome = self.perform(action)
                except TransportError as error:
                    action = flow.throw(error)
                else:
                    action = flow.send(outcome)
        except StopIteration as stop:
            return stop.value

    def perform(self, action: Request | Pause | Read) -> Outcome:
        if isinstance(action, Pause):
            self.now_s += action.seconds
            return None
        if isinstance(action, Read):
            self.before_read()
            return self.source.read(action.offset, action.size)
        return self.send(action)

    def send(self, request: Request) -> Response:
        fault = self.faults.pop(0) if self.faults else Fault("none")
        late, self.late = self.late, []
        match fault.kind:
            case "lost":
                raise ConnectionLostError("lost")
            case "part":
                self.server.answer(request, min(fault.size, max(0, len(request.content or b"") - 1)))
                raise ConnectionLostError("cut")
            case "unanswered":
                self.server.answer(request)
                raise ConnectionLostError("unanswered")
            case "late":
                self.late = [request]
                raise ConnectionLostError("late")
            case "twice":
                self.server.answer(request)
            case "busy":
                return Response(503, {"retry-after": "1"})
            case "forget" if not self.server.complete:
                del self.server.text[max(0, len(self.server.text) - fault.size) :]
        for former in late:
            self.server.answer(former)
        return self.server.answer(request)


def upload(world: World, chunk_bytes: int = 16, listener: Any = None, **options: Any) -> Upload:
    def clock() -> float:
        return world.now_s

    patience = Patience(Retry(give_up_s=1000), clock=clock, jitter=lambda: 1.0)
    watch = Watch("s", clock, listener)
    return Upload("s", world.source.length, "key", patience, watch, chunk_bytes=chunk_bytes, **options)


def fed(
    pieces: list[bytes], replay_bytes: int = 1 << 20, failure: Exception | None = None
) -> tuple[Stream, Callable[[], None]]:
    """A stream that gets its next piece whenever it is about to be read, and ends or fails behind the last."""
    stream, coming = Stream(ahead_bytes=64, replay_bytes=replay_bytes), list(pieces)

    def feed() -> None:
        if coming and stream.offer(coming[0]):
            coming.pop(0)
        if not coming:
            stream.end(failure)

    return stream, feed


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(FAULTS, max_size=40), st.integers(1, 50), st.sampled_from([None, 1, 7]))
def test_a_file_arrives_exactly_once(text: bytes, faults: list[Fault], chunk: int, most: int | None) -> None:
    world = World(ModelServer(max_append_bytes=most), FileSource(io.BytesIO(text)), faults)
    document = world.run(upload(world, chunk).run())
    assert bytes(world.server.text) == text
    assert document.complete
    assert world.server.opened == {"key"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20), st.lists(FAULTS, max_size=40), st.integers(1, 50))
def test_a_stream_arrives_exactly_once(pieces: list[bytes], faults: list[Fault], chunk: int) -> None:
    stream, feed = fed(pieces)
    world = World(ModelServer(), stream, faults, feed)
    assert world.run(upload(world, chunk).run()).complete
    assert bytes(world.server.text) == b"".join(pieces)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.integers(1, 9), st.integers(0, 20), st.lists(FAULTS, max_size=10))
def test_a_finished_stream_ends_with_a_whole_character(text: str, size: int, reads: int, faults: list[Fault]) -> None:
    data = text.encode()
    stream, feed = fed([data[at : at + size] for at in range(0, len(data), size)])
    left = reads

    def feed_or_finish() -> None:
        nonlocal left
        feed() if left else stream.finish()
        left -= 1

    world = World(ModelServer(), stream, faults, feed_or_finish)
    assert world.run(upload(world, 5).run()).complete
    assert data.startswith(world.server.text)
    world.server.text.decode()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200), st.lists(FAULTS, max_size=20), st.booleans())
def test_a_broken_off_upload_goes_on_where_it_was(
    text: bytes, there: int, faults: list[Fault], as_stream: bool
) -> None:
    stream, feed = fed([text[at : at + 9] for at in range(0, len(text), 9)])
    faults = [fault for fault in faults if fault.kind != "forget" or not as_stream]
    server = ModelServer(bytearray(text[:there]))
    world = World(server, stream, faults, feed) if as_stream else World(server, FileSource(io.BytesIO(text)), faults)
    world.run(upload(world, document_id="d").run())
    assert bytes(server.text) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20), st.lists(FAULTS, max_size=40), st.integers(1, 50))
def test_all_that_came_before_a_failure_arrives(pieces: list[bytes], faults: list[Fault], chunk: int) -> None:
    stream, feed = fed(pieces, failure=LookupError("no more"))
    world = World(ModelServer(), stream, faults, feed)
    with pytest.raises(LookupError, match="no more"):
        world.run(upload(world, chunk).run())
    assert bytes(world.server.text) == b"".join(pieces)
    assert not world.server.complete


def test_bytes_that_a_stream_no_longer_has_are_an_error_and_not_a_gap() -> None:
    stream, feed = fed([b"0123456789"] * 5, replay_bytes=10)
    faults = [Fault("none")] * 4 + [Fault("forget", 40)]
    world = World(ModelServer(), stream, faults, feed)
    with pytest.raises(SourceError, match="only those from"):
        world.run(upload(world, 10).run())
    assert (b"0123456789" * 5).startswith(world.server.text)


def test_a_short_file_is_an_error_and_not_a_document() -> None:
    file = io.BytesIO(b"x" * 50)
    world = World(ModelServer(), FileSource(file))
    world.before_read = lambda: file.truncate(30)
    with pytest.raises(SourceError, match="became shorter"):
        world.run(upload(world).run())
    assert not world.server.complete


def test_another_writer_is_noticed() -> None:
    server = ModelServer()
    world = World(server, FileSource(io.BytesIO(b"x" * 50)), [Fault("none"), Fault("none"), Fault("lost")])
    original = world.perform

    def perform(action: Request | Pause | Read) -> Outcome:
        if isinstance(action, Pause):
            server.text += b"not ours, and beyond what we sent"
        return original(action)

    world.perform = perform  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="Somebody else"):
        world.run(upload(world).run())


def test_a_refusal_that_waiting_cannot_help_is_raised() -> None:
    world = World(ModelServer(), FileSource(io.BytesIO(b"x")))
    world.server.append = lambda request, taken: Response(422, content=b'{"byte-offset": 3}')  # type: ignore[method-assign]
    with pytest.raises(ProblemError) as refused:
        world.run(upload(world).run())
    assert refused.value.fields == {"byte-offset": 3}


def test_a_mismatch_that_stays_is_given_up() -> None:
    world = World(ModelServer(), FileSource(io.BytesIO(b"x")))
    world.server.append = lambda request, taken: Response(409)  # type: ignore[method-assign]
    with pytest.raises(GaveUpError):
        world.run(upload(world).run())
    assert 1000 <= world.now_s <= 1012


def test_back_pressure_is_not_given_up_while_the_server_reads() -> None:
    """An hour of 503 is fine as long as the session reads on; only standing still is a failure."""
    server, busy = ModelServer(), 600
    world = World(server, FileSource(io.BytesIO(b"x" * 20)))
    answer = server.answer

    def slow(request: Request, taken: int | None = None) -> Response:
        nonlocal busy
        if request.method == "GET" and request.path == "/v1/sessions/s":
            return Response(200, content=json.dumps(session(601 - busy)).encode())
        if request.method == "PATCH" and busy:
            busy -= 1
            return Response(503, {"retry-after": "6"})
        return answer(request, taken)

    server.answer = slow  # type: ignore[method-assign]
    world.run(upload(world).run())
    assert bytes(server.text) == b"x" * 20
    assert world.now_s >= 3600


def test_what_a_listener_is_told_counts_as_progress_too() -> None:
    """The looks that are made for a listener see the session read on; those after a refusal come too soon to."""
    server = ModelServer()
    world = World(server, FileSource(io.BytesIO(b"x" * 20)))
    answer = server.answer

    def slow(request: Request, taken: int | None = None) -> Response:
        if request.method == "GET" and request.path == "/v1/sessions/s":
            return Response(200, content=json.dumps(session(int(world.now_s / 400))).encode())
        if request.method == "PATCH" and server.text and world.now_s < 3600:
            return Response(503, {"retry-after": "6"})
        return answer(request, taken)

    server.answer = slow  # type: ignore[method-assign]
    world.run(upload(world, listener=lambda progress: None).run())
    assert bytes(server.text) == b"x" * 20


def session(read_bytes: int) -> dict[str, Any]:
    known = {"id": "s", "model": "m", "created_at": "2026-01-01T00:00:00Z", "expires_at": None}
    known |= {"status": "reading", "focus": [], "keep_text": True, "auto_snapshots": 0, "metadata": {}, "digest": ""}
    counts = ("accepted_bytes", "tokens", "segments", "state_bytes", "revision", "documents")
    return known | dict.fromkeys(counts, 0) | {"read_bytes": read_bytes}


def test_trouble_is_told_to_the_listener_and_ends() -> None:
    told: list[Progress] = []
    world = World(ModelServer(), FileSource(io.BytesIO(b"x" * 40)))
    world.faults = [Fault("none")] * 3 + [Fault("lost")]
    world.run(upload(world, listener=told.append).run())
    assert [p.problem for p in told if p.problem] == ["lost"]
    assert told[-1].problem == ""
    assert (told[-1].sent_bytes, told[-1].total_bytes) == (40, 40)


def test_pauses_grow_with_jitter_and_end() -> None:
    now, pauses = 0.0, []
    patience = Patience(Retry(give_up_s=100), clock=lambda: now, jitter=lambda: 0.0)
    with pytest.raises(GaveUpError, match="Gave up after 100 seconds of trying again: cut"):  # noqa: PT012
        while True:
            for action in patience.after(ConnectionLostError("cut")):
                assert isinstance(action, Pause)
                pauses.append(action.seconds)
                now += action.seconds
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == 5.0
    assert sum(pauses) == pytest.approx(100)


def test_a_server_that_was_never_there_is_told_at_once() -> None:
    world = World(ModelServer(), FileSource(io.BytesIO(b"x")))

    def refuse(request: Request) -> Response:
        raise UnreachableError("nobody")

    world.send = refuse  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        world.run(upload(world).run())
    assert world.now_s == 0


def test_small_pieces_are_sent_together_but_do_not_wait_long() -> None:
    stream = Stream()
    stream.offer(b"a")
    world = World(ModelServer(), stream)
    sent_s: list[float] = []

    def note(progress: Progress) -> None:
        if progress.sent_bytes == 2:
            sent_s.append(world.now_s)
            stream.end()

    world.before_read = lambda: None if stream._window.endswith(b"b") else bool(stream.offer(b"b"))  # type: ignore[func-returns-value]
    world.run(upload(world, listener=note).run())
    assert bytes(world.server.text) == b"ab"
    assert 0 < sent_s[0] <= 0.5
