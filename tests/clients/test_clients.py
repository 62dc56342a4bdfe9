"""Both clients against a server: every call, and how refusals arrive."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rmt_client import (
    Client,
    ConflictError,
    GaveUpError,
    InvalidError,
    NotFoundError,
    Progress,
    ProtocolError,
    Retry,
    SourceError,
    StaleError,
    Stream,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)

from .conftest import API_KEY

TEXT = "Mary moved to the bathroom. Мэри. 🐘 " * 10_000
BYTES = TEXT.encode()


def file_of(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_bytes(BYTES)
    return path


def pipe_of(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(BYTES,), daemon=True).start()
    return path


def cut(size: int) -> Iterator[bytes]:
    return (BYTES[at : at + size] for at in range(0, len(BYTES), size))


SOURCES: dict[str, Callable[[Path], Any]] = {
    "str": lambda _: TEXT,
    "bytes": lambda _: BYTES,
    "path": file_of,
    "fifo": pipe_of,
    "file": lambda _: io.BytesIO(BYTES),
    "iterable": lambda _: cut(4093),
    "list": lambda _: list(cut(1 << 20)),
    "stream": lambda _: Stream(cut(70_001), ahead_bytes=1 << 16, replay_bytes=0),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_arrives_whole(rmt: Client, tmp_path: Path, kind: str) -> None:
    session = rmt.create_session()
    document = rmt.read(session.id, SOURCES[kind](tmp_path))
    assert (document.complete, document.read) == (True, True)
    assert document.offset == document.length == len(BYTES)
    whole = rmt.get_session(session.id)
    assert whole.read_bytes == whole.accepted_bytes == len(BYTES)
    reference = rmt.create_session()
    rmt.read(reference.id, BYTES)
    assert whole.digest == rmt.get_session(reference.id).digest


def test_an_open_file_is_read_from_where_it_is_and_left_open(rmt: Client, tmp_path: Path) -> None:
    with file_of(tmp_path).open("rb") as file:
        file.seek(27)
        document = rmt.read(rmt.create_session().id, file)
        assert document.offset == len(BYTES) - 27
        assert not file.closed


def test_an_empty_document(rmt: Client) -> None:
    document = rmt.read(rmt.create_session().id, b"")
    assert (document.offset, document.complete) == (0, True)


def test_documents_follow_one_another(rmt: Client) -> None:
    session = rmt.create_session()
    first, second = rmt.read(session.id, "One. "), rmt.read(session.id, "Two.")
    assert (first.start, second.start) == (0, 5)
    assert rmt.get_session(session.id).documents == 2


def test_progress_is_told_and_ends_at_the_end(connect: Callable[..., Client], server_url: str) -> None:
    rmt, told = connect(server_url, chunk_bytes=1 << 16), list[Progress]()
    document = rmt.read(rmt.create_session().id, BYTES, on_progress=told.append)
    assert told[-1].sent_bytes == told[-1].total_bytes == told[-1].read_bytes == len(BYTES)
    assert told[-1].document_id == document.id
    assert told[-1].tokens > 0
    assert [p.sent_bytes for p in told] == sorted(p.sent_bytes for p in told)
    assert len({p.sent_bytes for p in told}) > 2


def test_not_waiting_returns_at_once(rmt: Client) -> None:
    session = rmt.create_session()
    document = rmt.read(session.id, BYTES, wait=False)
    assert document.complete
    told: list[Progress] = []
    assert rmt.wait_until_read(session.id, on_progress=told.append).read_bytes == len(BYTES)
    assert told[-1].read_bytes == told[-1].total_bytes == len(BYTES)


def test_waiting_ends_at_its_deadline(rmt: Client) -> None:
    session = rmt.create_session()
    rmt.read(session.id, BYTES * 2, wait=False)
    with pytest.raises(GaveUpError, match="not done within 0 seconds"):
        rmt.wait_until_read(session.id, timeout_s=0)


def test_a_quiet_stream_is_sent_as_it_comes_and_stays_open(rmt: Client) -> None:
    session = rmt.create_session()
    more = threading.Event()

    def lines() -> Iterator[bytes]:
        yield b"first\n"
        arrived_meanwhile.append(more.wait(10))
        yield b"second\n"

    arrived_meanwhile: list[bool] = []

    def note(progress: Progress) -> None:
        if progress.sent_bytes == 6:
            more.set()

    document = rmt.read(session.id, lines(), on_progress=note)
    assert document.offset == 13
    assert arrived_meanwhile == [True]


def test_a_failing_iterable_fails_the_read_and_keeps_what_came(rmt: Client) -> None:
    def lines() -> Iterator[bytes]:
        yield b"so far\n"
        raise LookupError("no more")

    session = rmt.create_session()
    with pytest.raises(LookupError, match="no more"):
        rmt.read(session.id, lines())
    assert rmt.wait_until_read(session.id).accepted_bytes == len(b"so far\n")


@pytest.mark.parametrize("kind", ["path", "iterable"])
def test_a_broken_off_upload_goes_on(rmt: Client, tmp_path: Path, kind: str) -> None:
    session, seen = rmt.create_session(), []

    def broken() -> Iterator[bytes]:
        yield BYTES[:300_000]
        while not (seen and seen[-1].sent_bytes == 300_000):
            time.sleep(0.01)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 (the one raised above)
        rmt.read(session.id, broken(), on_progress=seen.append)
    document = rmt.read(session.id, SOURCES[kind](tmp_path), document_id=seen[-1].document_id)
    assert document.id == seen[-1].document_id
    assert document.offset == len(BYTES)
    assert rmt.read(session.id, SOURCES[kind](tmp_path), document_id=document.id) == document
    with pytest.raises(SourceError, match="bytes already"):
        rmt.read(session.id, b"another", document_id=document.id)


def test_ask(rmt: Client) -> None:
    session = rmt.create_session(focus=["Where is Mary?"])
    assert session.focus == ("Where is Mary?",)
    rmt.read(session.id, BYTES, wait=False)
    answer = rmt.ask(session.id, "Where is Mary?", lane=0, max_tokens=8)
    assert answer.question == "Where is Mary?"
    assert answer.mode == "recall"
    assert answer.usage.completion_tokens > 0
    several = rmt.ask_many(session.id, ["Where is Mary?", "Who moved?"])
    assert [a.question for a in several.answers] == ["Where is Mary?", "Who moved?"]
    assert several.position.bytes == len(BYTES)
    assert rmt.ask(session.id, "Now?", wait=False)
    with pytest.raises(UsageError):
        rmt.ask_many(session.id, [])


def test_asking_ends_at_its_deadline(rmt: Client) -> None:
    session = rmt.create_session()
    rmt.read(session.id, BYTES * 2, wait=False)
    with pytest.raises(GaveUpError):
        rmt.ask(session.id, "Where is Mary?", timeout_s=0.000_001)


def test_sessions(rmt: Client) -> None:
    session = rmt.create_session(keep_text=False, ttl_s=600, metadata={"name": "one"})
    assert session.created_at.tzinfo is not None
    assert session.metadata == {"name": "one"}
    assert not session.keep_text
    changed = rmt.update_session(session.id, metadata={"name": "two"}, revision=session.revision)
    assert changed.metadata == {"name": "two"}
    with pytest.raises(StaleError):
        rmt.update_session(session.id, ttl_s=5, revision=changed.revision + 7)
    first = rmt.list_sessions(limit=1)
    assert len(first.items) == 1
    rmt.create_session()
    assert rmt.list_sessions(limit=1, after=first.items[0].id).items[0] != first.items[0]
    rmt.delete_session(session.id)
    with pytest.raises(NotFoundError) as refused:
        rmt.get_session(session.id)
    assert refused.value.status == 404
    assert refused.value.request_id


def test_snapshots(rmt: Client) -> None:
    session = rmt.create_session(focus=["Where is Mary?"])
    rmt.read(session.id, "Mary is in the garden.")
    snapshot = rmt.create_snapshot(session.id, name="garden", metadata={"a": "b"})
    assert (snapshot.name, snapshot.metadata, snapshot.session_id) == ("garden", {"a": "b"}, session.id)
    assert rmt.get_snapshot(snapshot.id).digest == snapshot.digest
    assert [s.id for s in rmt.list_snapshots(session.id).items] == [snapshot.id]
    assert rmt.list_snapshots(limit=100).items
    rmt.read(session.id, " Mary is in the kitchen.")
    fork, restored = rmt.fork(snapshot.id), rmt.restore(session.id, snapshot.id)
    assert fork.focus == ("Where is Mary?",)
    assert fork.digest == restored.digest == snapshot.digest
    imported = rmt.import_snapshot(rmt.export_snapshot(snapshot.id), name="back")
    assert (imported.name, imported.digest) == ("back", snapshot.digest)
    with pytest.raises(InvalidError):
        rmt.import_snapshot(b"not one")
    rmt.delete_snapshot(snapshot.id)
    with pytest.raises(NotFoundError):
        rmt.get_snapshot(snapshot.id)


def test_text_that_is_not_utf8_is_refused_with_its_offset(rmt: Client) -> None:
    with pytest.raises(InvalidError) as refused:
        rmt.read(rmt.create_session().id, b"good \xff bad")
    assert refused.value.offset == 5


def test_a_document_can_be_looked_at_and_cancelled(rmt: Client) -> None:
    session = rmt.create_session()
    document = rmt.read(session.id, "short")
    assert rmt.get_document(session.id, document.id).length == 5
    rmt.cancel_document(session.id, document.id)


def test_two_writers_of_one_document_are_noticed(rmt: Client) -> None:
    session, seen = rmt.create_session(), []

    def mine() -> Iterator[bytes]:
        yield b"mine "
        while not (seen and seen[-1].sent_bytes == 5):
            time.sleep(0.01)
        other = threading.Thread(target=append_as_another, args=(rmt, session.id, seen[-1].document_id))
        other.start()
        other.join()
        yield b"and mine"

    with pytest.raises(ConflictError, match="Somebody else"):
        rmt.read(session.id, mine(), on_progress=seen.append)


def append_as_another(rmt: Client, session_id: str, document_id: str) -> None:
    with Client(rmt_url(rmt), API_KEY) as other:
        other.read(session_id, b"mine " + b"yours" * 10, document_id=document_id)


def rmt_url(rmt: Any) -> str:
    return str(getattr(rmt, "_client", rmt).url)


def test_status(rmt: Client) -> None:
    assert rmt.status().ready


def test_no_server(connect: Callable[..., Client]) -> None:
    rmt = connect("http://127.0.0.1:9", retry=Retry(give_up_s=60))
    for call in (rmt.status, lambda: rmt.ask("s", "?"), lambda: rmt.read("s", "text")):
        with pytest.raises(UnreachableError, match="No server answers") as refused:
            call()
        assert "make serve" in refused.value.hint


def test_keys(connect: Callable[..., Client], locked_url: str) -> None:
    assert connect(locked_url, "secret").create_session()
    with pytest.raises(UnauthorizedError, match="API key"):
        connect(locked_url, "wrong").create_session()


@pytest.mark.parametrize(
    ("url", "key"), [("localhost:8080", None), ("ftp://a", None), ("http://a\n", None), ("http://a", "k\n")]
)
def test_what_cannot_work_is_refused_before_it_is_tried(
    connect: Callable[..., Client], url: str, key: str | None
) -> None:
    with pytest.raises(UsageError):
        connect(url, key)


def test_another_server_is_recognised(connect: Callable[..., Client], server_url: str) -> None:
    with pytest.raises((NotFoundError, ProtocolError)):
        connect(server_url + "/docs").get_session("s")


def test_ids_cannot_leave_their_place(rmt: Client) -> None:
    with pytest.raises(NotFoundError):
        rmt.get_session("../../readyz?")
