"""Asking with the clients and the command line: words as they come, rereading, traces and timelines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving import Server, text

from rmt_client import Answer, AsyncClient, Client, ConflictError, InvalidError, NotFoundError

DATA = text(12_000).decode()


@pytest.fixture(scope="module")
def sid(server: Server) -> str:
    return server.read(DATA.encode(), focus=["Where is Mary?"])


@pytest.fixture
def rmt(server: Server) -> Iterator[Client]:
    with Client(server.url) as rmt:
        yield rmt


def rmt_command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("rmt"), *arguments, "--url", server.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_any_character_comes_through_a_stream(rmt: Client, server: Server) -> None:
    question = "Where is Mary?\u2028\u2029\x85 Here?"
    *_, answer = rmt.stream_answer(server.read(b"Mary went home. "), question, max_tokens=2)
    assert isinstance(answer, Answer)
    assert answer.question == question


def test_words_and_then_the_answer(rmt: Client, sid: str) -> None:
    *words, answer = rmt.stream_answer(sid, "Where is Mary?", max_tokens=16)
    assert isinstance(answer, Answer)
    assert all(isinstance(one, str) for one in words)
    assert "".join(map(str, words)) == answer.answer
    plain = rmt.ask(sid, "Where is Mary?", max_tokens=16)
    assert (answer.answer, answer.lane, answer.usage) == (plain.answer, plain.lane, plain.usage)


async def test_words_come_to_the_asynchronous_client_too(server: Server, rmt: Client, sid: str) -> None:
    async with AsyncClient(server.url) as other:
        pieces = [piece async for piece in other.stream_answer(sid, "Where is Mary?", max_tokens=16)]
        assert [str(one) for one in pieces[:-1]]
        assert isinstance(pieces[-1], Answer)
        assert await other.trace(sid, "Where is Mary?") == rmt.trace(sid, "Where is Mary?")
        assert await other.timeline(sid) == rmt.timeline(sid)
        assert await other.movements(sid) == rmt.movements(sid)


def test_errors_of_a_stream_are_those_of_the_call(rmt: Client, server: Server, sid: str) -> None:
    with pytest.raises(NotFoundError):
        list(rmt.stream_answer("ses_none", "Who?"))
    with pytest.raises(InvalidError, match="mode"):
        list(rmt.stream_answer(sid, "Who?", mode="guess"))
    bare = server.read(b"Mary went home.", keep_text=False)
    with pytest.raises(ConflictError, match="keep_text"):
        rmt.ask(bare, "Who?", mode="reread")
    with pytest.raises(ConflictError, match="keep_text"):
        rmt.trace(bare, "Who?")


def test_options_reach_the_server(rmt: Client, sid: str) -> None:
    drawn = [rmt.ask(sid, "Who?", temperature=1.4, top_p=0.99, seed=7, max_tokens=12).guess for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert rmt.ask(sid, "Who went?", mode="reread").mode == "reread"
    assert rmt.ask(sid, "Where is Mary?", trace=True).trace == rmt.trace(sid, "Where is Mary?")
    whole = rmt.ask(sid, "Who?", max_tokens=30).guess
    assert rmt.ask(sid, "Who?", max_tokens=30, stop=[whole[2]]).guess == whole[: whole.index(whole[2])].strip()


def test_movements_are_read(rmt: Client, sid: str) -> None:
    moved = rmt.movements(sid)
    assert (moved.start, moved.segments_each) == (0, 1)
    assert [column.segment for column in moved.columns] == list(range(1, len(moved.columns) + 1))
    assert len(moved.columns) == rmt.get_session(sid).segments
    assert all(min(column.moved) >= 0 for column in moved.columns)
    with pytest.raises(InvalidError, match="Lane 1"):
        rmt.movements(sid, lane=1)


def test_a_timeline_is_read_and_asked(rmt: Client, sid: str) -> None:
    points = rmt.timeline(sid)
    assert [point.segment for point in points] == sorted(point.segment for point in points)
    assert all(len(point.moved) == 1 and point.guess is None for point in points)
    asked = rmt.timeline(sid, question="Where is Mary?", lane=0)
    assert all(0 <= (point.confidence or 0) <= 1 and point.guess is not None for point in asked)


def test_the_command_shows_words_traces_and_timelines(server: Server, rmt: Client, sid: str) -> None:
    streamed = rmt_command(server, "ask", "Where is Mary?", "--session", sid, "--stream", "--max-tokens", "8")
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout.rstrip("\n") == rmt.ask(sid, "Where is Mary?", max_tokens=8).answer
    traced = rmt_command(server, "trace", "Where is Mary?", "--session", sid)
    assert traced.returncode == 0, traced.stderr
    found = rmt.trace(sid, "Where is Mary?")
    assert found.answer in traced.stdout
    assert (found.bytes is None) == ("No memory along the text" in traced.stderr)
    told = json.loads(rmt_command(server, "trace", "Where is Mary?", "--session", sid, "--json").stdout)
    assert told["excerpt"] == found.excerpt
    plain = rmt_command(server, "timeline", "--session", sid, "-q", "Where is Mary?")
    assert len(plain.stdout.splitlines()) == len(rmt.timeline(sid))
    drawn = rmt_command(server, "timeline", "--session", sid, "-q", "Where is Mary?", "--plot").stdout
    moved, confidence, axis, *changes = drawn.splitlines()
    assert moved.split()[0] == "moved"
    assert confidence.split()[0] == "confidence"
    assert axis.endswith(f"{rmt.movements(sid).columns[-1].bytes:,} bytes")
    assert rmt_command(server, "timeline", "--session", sid, "--plot").stdout.splitlines() == [moved, axis]
    assert changes
    told = json.loads(rmt_command(server, "timeline", "--session", sid, "--json").stdout)
    assert len(told) == len(rmt.timeline(sid))
    empty = rmt_command(server, "timeline", "--session", server.session(), "--plot")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "No memories are kept" in empty.stderr


async def test_passages_are_found(server: Server, rmt: Client, sid: str) -> None:
    found = rmt.search(sid, "Where is Mary?", limit=3)
    assert len(found.passages) == 3
    assert found.position == len(DATA.encode())
    for one in found.passages:
        assert rmt.get_text(sid, start=one.start, end=one.end).text == one.text
    async with AsyncClient(server.url) as other:
        assert (
            await other.search(sid, "Where is Mary?", limit=3, documents=[found.passages[0].document_id or ""]) == found
        )
    with pytest.raises(InvalidError, match="no words"):
        rmt.search(sid, "?")
    with pytest.raises(NotFoundError):
        rmt.search(sid, "Mary", documents=["doc_none"])


def test_the_command_shows_passages(server: Server, rmt: Client, sid: str) -> None:
    shown = rmt_command(server, "search", "Where is Mary?", "--session", sid, "--limit", "2")
    assert shown.returncode == 0, shown.stderr
    found = rmt.search(sid, "Where is Mary?", limit=2)
    best = found.passages[0]
    assert shown.stdout.startswith(
        f"bytes {best.start} to {best.end} of {best.document_id} (score {best.score:.2f}):\n"
    )
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(best.text.split()) in " ".join(shown.stdout.split())
    told = json.loads(rmt_command(server, "search", "Mary", "-s", sid, "--json").stdout)
    assert [one["text"] for one in told["passages"]] == [one.text for one in rmt.search(sid, "Mary", limit=5).passages]
    none = rmt_command(server, "search", "zebra", "--session", sid)
    assert (none.returncode, none.stdout) == (0, "")
    assert "None of these words" in none.stderr


def test_wrong_usage_of_the_command(server: Server, sid: str) -> None:
    for arguments in (["a?", "b?", "--stream"], ["a?", "--stream", "--json"], ["a?", "--stream", "--timeout", "3"]):
        assert rmt_command(server, "ask", *arguments, "--session", sid).returncode == 2
    refused = rmt_command(server, "ask", "a?", "--session", sid, "--mode", "guess")
    assert refused.returncode == 2
    assert "mode" in refused.stderr
