"""Whether a session's memory took anything of its text in, and what answers from a memory say of themselves.

python -m pytest tests/server/test_took.py
"""

from collections.abc import Callable

import pytest
import torch
from tests.conftest import StoreBench, stored_state
from tests.serving import Server, ServerFactory, text

from rmt_model.engine import Engine
from rmt_server.service.evidence import NOT_ENGLISH

FOCUS = "Where is the key?"
GERMAN = "Sie wohnt in Köln und er in Bonn, und beide fahren mit dem Zug zur Arbeit in die Stadt. " * 20
ENGLISH = "It is the key that she had with her, and they were all in the house when it was not there. " * 20


@pytest.fixture
def closed(start_server: ServerFactory, make_engine: Callable[..., Engine]) -> Server:
    """A server whose checkpoint keeps its memory as it is, whatever it reads."""
    engine = make_engine()
    with torch.no_grad():
        engine.checkpoint.model.cell.update.bias += 100.0
    return start_server(engine)


@pytest.mark.parametrize("focus", [[], ["Who?", "Where?"]])
def test_a_memory_that_never_moved_took_nothing(closed: Server, focus: list[str]) -> None:
    sid = closed.session(focus=focus)
    assert closed.look(sid)["memory_took"] is None
    closed.send(sid, text(5_000), wait=True)
    session = closed.look(sid)
    assert session["segments"] > 1
    assert session["memory_took"] == "nothing"
    (listed,) = closed.http.get("/v1/sessions").json()["sessions"]
    assert listed["memory_took"] == "nothing"
    found = closed.http.post("/v1/documents", content=text(3_000), params={"wait": True}).json()
    assert found["session"]["memory_took"] == "nothing"


def test_a_memory_that_moved_took_something(server: Server, pointing: Server) -> None:
    for one in (server, pointing):
        assert one.look(one.read(text(5_000)))["memory_took"] == "something"


def test_text_that_fills_no_segment_leaves_it_open(closed: Server) -> None:
    session = closed.look(closed.read(b"Mary."))
    assert (session["segments"], session["memory_took"]) == (0, None)


def test_a_restore_and_a_fork_know_nothing_yet(closed: Server) -> None:
    sid = closed.session()
    empty = closed.snapshot(sid)
    closed.send(sid, text(3_000), wait=True)
    assert closed.look(closed.session(from_snapshot=closed.snapshot(sid)))["memory_took"] is None
    closed.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": empty})
    assert closed.look(sid)["memory_took"] is None


async def test_one_movement_is_enough_and_nothing_is_said_too_early(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(b"x" * 100)
    lease = await bench.lease()
    took = []
    for read, moved in ((20, None), (40, 0.0), (60, 0.25), (80, 0.0)):
        lease = await bench.store.commit(lease, stored_state(read), moved=moved)
        took.append((lease.session.moved, lease.session.memory_took))
    assert took == [(None, None), (0.0, None), (0.25, "something"), (0.25, "something")]
    await bench.session("other")
    assert (await bench.store.get_session("t", "other")).memory_took is None


@pytest.mark.parametrize("mode", ["focus", "recall", "reread", "search"])
def test_every_mode_tells_what_it_cannot_answer(pointing: Server, mode: str) -> None:
    asked = "Summarise the key."
    sid = pointing.session(focus=[asked] if mode == "focus" else [])
    pointing.send(sid, ENGLISH.encode(), wait=True)
    answer = pointing.ask(sid, asked, **({} if mode == "focus" else {"mode": mode}))
    assert (answer["mode"], answer["outcome"], answer["answer"]) == (mode, "not_supported", None)
    assert answer["verified"] is None
    supported = pointing.ask(sid, FOCUS, mode="recall" if mode == "focus" else mode)
    assert supported["outcome"] in ("answered", "not_found")


@pytest.mark.parametrize("mode", ["focus", "recall", "reread", "search"])
@pytest.mark.parametrize(("text_", "notice"), [(GERMAN, NOT_ENGLISH), (ENGLISH, None)], ids=["german", "english"])
def test_every_mode_tells_of_text_that_is_no_english_prose(
    pointing: Server, mode: str, text_: str, notice: str | None
) -> None:
    asked = "Wohnt sie in the house?"
    sid = pointing.session(focus=[asked] if mode == "focus" else [])
    pointing.send(sid, text_.encode(), wait=True)
    answer = pointing.ask(sid, asked, **({} if mode == "focus" else {"mode": mode}))
    assert (answer["mode"], answer["notice"]) == (mode, notice)


def test_memories_without_their_text_tell_what_they_can(pointing: Server) -> None:
    """Of a snapshot, or where the text was not kept, nobody knows what kind of text it was."""
    asked = "List all keys"
    sid = pointing.session(focus=[asked], keep_text=False)
    pointing.send(sid, GERMAN.encode(), wait=True)
    forgotten = pointing.ask(sid, asked)
    snapshot = pointing.ask(sid, asked, snapshot=pointing.snapshot(sid))
    for answer in (forgotten, snapshot):
        assert (answer["outcome"], answer["notice"], answer["citations"]) == ("not_supported", None, [])
