"""Answers of a checkpoint that points at places: where they come from, and that quotes are what the offsets hold.

    python -m pytest tests/server/test_evidence.py

The encoder has random weights: what it answers is of no interest here, where that stands is.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.event_reader import EventReader
from tests.serving import Server, ServerFactory

from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.pointers import Pointer
from rmt_model.span_engine import SpanEngine, WindowReading
from rmt_server.service.citations import sentence_around, trimmed
from rmt_server.service.evidence import NOT_ENGLISH, asks_for_more, best_pointers, notice_on

ENGLISH = (Path(__file__).parents[2] / "LICENSE").read_text()
MIXED = (
    "Zoë lives in “Šibenik”. 彼は東京に住んでいる。それは遠い。 Она живёт в Москве! "
    "Ça va? The key is in the café’s drawer.\n"
) * 20
GERMAN = "Sie wohnt in Köln und er in Bonn, und beide fahren mit dem Zug zur Arbeit in die Stadt. "


def send(server: Server, sid: str, text: str) -> str:
    """A document; its id."""
    return str(server.send(sid, text.encode())["id"])


def check_citations(server: Server, sid: str, answer: dict[str, Any], documents: list[tuple[str, str]]) -> None:
    """Quotes and answers are what the session's text, and the document's, hold at their places."""
    assert answer["citations"], answer
    for one in answer["citations"]:
        size = one["end"] - one["start"]
        found = server.http.get(f"/v1/sessions/{sid}/text", params={"start": one["start"], "end": one["end"]}).json()
        assert (found["text"], len(found["text"].encode())) == (one["quote"], size)
        (text,) = [text for known, text in documents if known == one["document_id"]]
        assert text[one["start_char"] : one["end_char"]] == one["quote"]
        assert one["start"] <= one["answer_start"] < one["answer_end"] <= one["end"]
    first = answer["citations"][0]
    inside = first["quote"].encode()[first["answer_start"] - first["start"] : first["answer_end"] - first["start"]]
    assert inside.decode() == answer["guess"]


@pytest.mark.parametrize("mode", ["auto", "search", "reread", "focus"])
def test_quotes_are_what_their_offsets_hold(pointing: Server, mode: str) -> None:
    asked = "Where is the key?"
    sid = pointing.session(focus=[asked] if mode == "focus" else [])
    texts = [ENGLISH[:3000], MIXED, ENGLISH[3000:9000]]
    documents = [(send(pointing, sid, text), text) for text in texts]
    answer = pointing.ask(sid, asked, **({} if mode == "focus" else {"mode": mode}))
    assert answer["mode"] == {"auto": "search"}.get(mode, mode)
    assert answer["outcome"] == "answered"
    assert answer["verified"] in (True, False)
    check_citations(pointing, sid, answer, documents)


def test_a_search_can_be_kept_to_some_documents(pointing: Server) -> None:
    sid = pointing.session()
    first, second = (send(pointing, sid, f"The {colour} key is in the drawer. " * 5) for colour in ("red", "blue"))
    for document in (first, second):
        answer = pointing.ask(sid, "Which key is in the drawer?", documents=[document])
        assert {one["document_id"] for one in answer["citations"]} == {document}
    body = {"question": "Which?", "mode": "recall", "documents": [first]}
    assert pointing.http.post(f"/v1/sessions/{sid}/answers", json=body).status_code == 422


def test_a_question_without_any_word_of_the_text_finds_nothing(pointing: Server) -> None:
    sid = pointing.session()
    send(pointing, sid, "The red key is in the drawer.")
    answer = pointing.ask(sid, "Xylophonquartett?", mode="search")
    assert (answer["answer"], answer["outcome"], answer["citations"]) == (None, "not_found", [])


@pytest.mark.parametrize("asked", ["Summarise this text.", "List all keys", "What do you think of it?", "Translate it"])
def test_what_no_place_can_hold_is_told_apart_and_gets_passages(pointing: Server, asked: str) -> None:
    sid = pointing.session()
    text = "All keys are in the text of the drawer. What it is I think not. Translate that."
    documents = [(send(pointing, sid, text), text)]
    answer = pointing.ask(sid, asked)
    assert (answer["answer"], answer["outcome"]) == (None, "not_supported")
    check_citations(pointing, sid, answer, documents)


@pytest.mark.parametrize(
    "asked", ["Who wrote the summary?", "What is on the list?", "Which translation was used?", "What did you find?"]
)
def test_questions_that_only_sound_like_it_are_answered(asked: str) -> None:
    assert not asks_for_more(asked)


def test_text_that_is_not_kept_is_answered_from_the_memory(pointing: Server) -> None:
    sid = pointing.session(focus=["Where is the key?"], keep_text=False)
    send(pointing, sid, "The red key is in the drawer. " * 4)
    answer = pointing.ask(sid, "Where is the key?")
    assert (answer["mode"], answer["citations"], answer["outcome"]) == ("focus", [], "answered")
    assert "".join(answer["answer"].lower().split()) in "theredkeyisinthedrawer." * 4
    assert pointing.ask(sid, "Who?")["mode"] == "recall"
    refused = pointing.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?", "mode": "search"})
    assert refused.status_code == 409


def test_snapshots_and_forks_are_asked_as_before(pointing: Server) -> None:
    sid = pointing.session(focus=["Where is the key?"])
    send(pointing, sid, "The red key is in the drawer. " * 4)
    wanted = pointing.ask(sid, "Where is the key?")
    snapshot = pointing.snapshot(sid)
    kept = pointing.ask(sid, "Where is the key?", snapshot=snapshot)
    assert (kept["mode"], kept["confidence"]) == ("focus", wanted["confidence"])
    fork = pointing.http.post("/v1/sessions", json={"from_snapshot": snapshot}).json()["id"]
    assert pointing.ask(fork, "Where is the key?")["confidence"] == wanted["confidence"]


def test_a_stream_brings_the_citations_before_the_result(pointing: Server) -> None:
    sid = pointing.session()
    send(pointing, sid, "The red key is in the drawer. " * 4)
    body = {"question": "Where is the key?", "stream": True}
    with httpx.stream("POST", f"{pointing.url}/v1/sessions/{sid}/answers", json=body, timeout=30) as answer:
        events = list(EventReader(answer))
    names = [event.kind for event in events]
    assert names[-2:] == ["citations", "result"]
    (result,) = events[-1].data["body"]["answers"]
    assert events[-2].data == {"question": 0, "citations": result["citations"]}
    assert "".join(event.data["text"] for event in events if event.kind == "delta") == result["answer"]


def test_openai_bodies_have_annotations(pointing: Server) -> None:
    model = pointing.http.get("/v1/models").json()["data"][0]["id"]
    messages = [
        {"role": "user", "content": "The red key is in the drawer. " * 4},
        {"role": "user", "content": "Where is the key?"},
    ]
    answer = pointing.http.post("/v1/chat/completions", json={"model": model, "messages": messages}).json()
    (choice,) = answer["choices"]
    annotations, cited = choice["message"]["annotations"], answer["rmt"]["citations"]
    assert [(one["file_id"], one["quote"]) for one in annotations] == [
        (one["document_id"], one["quote"]) for one in cited
    ]
    assert annotations[0] | {"type": "file_citation", "index": len(choice["message"]["content"])} == annotations[0]
    asked = [*messages[:1], {"role": "user", "content": "Summarise the key."}]
    answer = pointing.http.post("/v1/chat/completions", json={"model": model, "messages": asked}).json()
    assert answer["rmt"]["outcome"] == "not_supported"
    assert "I cannot summarise" in answer["choices"][0]["message"]["content"]


def test_a_checkpoint_that_writes_cannot_search(server: Server) -> None:
    sid = server.read(b"The red key is in the drawer.")
    refused = server.http.post(f"/v1/sessions/{sid}/answers", json={"question": "Who?", "mode": "search"})
    assert refused.status_code == 422
    assert "writes answers" in refused.json()["detail"]
    assert server.ask(sid, "Who?")["mode"] == "recall"


def test_two_processes_read_one_session_on(
    start_server: ServerFactory, tiny_encoder_checkpoint: Callable[..., Path]
) -> None:
    """Whoever reads it, in whatever pieces: the state is the same, bit for bit."""
    checkpoint = load_encoder_checkpoint(tiny_encoder_checkpoint())
    first, second = (start_server(SpanEngine(checkpoint), max_readings=1) for _ in range(2))
    asked = ["Where is the key?", "Who grants the licence?"]
    whole, pieces = first.session(focus=asked), first.session(focus=asked)
    text = (ENGLISH[:4000] + MIXED).encode()
    first.send(whole, text)
    document, offset = first.open(pieces), 0
    for number, size in enumerate((1, 700, 3001, 2, len(text))):
        server, data = (first, second)[number % 2], text[offset : offset + size]
        assert server.append(document, data, offset, complete=offset + len(data) == len(text)).is_success
        offset += len(data)
    assert second.state(whole) == first.state(pieces)
    answers = [[second.ask(sid, question)["guess"] for question in asked] for sid in (whole, pieces)]
    assert answers[0] == answers[1]


def test_no_more_passages_are_read_than_allowed(pointing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    read, read_windows = [], pointing.scheduler.read_windows

    async def counted(question: str, windows: Any) -> Any:
        read.append(len(windows))
        return await read_windows(question, windows)

    monkeypatch.setattr(pointing.scheduler, "read_windows", counted)
    sid = pointing.session()
    for passages in (7, 8, 9):  # one in each document
        while pointing.look(sid)["documents"] < passages:
            send(pointing, sid, "The red key is in the drawer.")
        pointing.ask(sid, "Where is the key?", mode="search")
        assert read == [min(8, passages), 1]  # and the sentence that is cited, alone
        read.clear()


def test_no_more_citations_than_allowed(pointing: Server) -> None:
    for places in (3, 4, 5):
        found = [WindowReading([Pointer(1.0, start, start + 3, (7,))], tokens=9) for start in range(0, 10 * places, 10)]
        assert len(best_pointers(found, rank_weight=0.0)) == min(4, places)
    sid = pointing.session()
    for colour in ("red", "blue", "green", "black", "white", "brown"):
        send(pointing, sid, f"The {colour} key is in the drawer.")
    for mode in ("search", "reread"):
        citations = pointing.ask(sid, "Where is the key?", mode=mode)["citations"]
        assert len(citations) == len({one["quote"] for one in citations}) == 4, mode


def test_no_more_is_cited_around_an_answer_than_allowed(pointing: Server) -> None:
    before, after = "é " * 120, " é" * 120  # 480 characters
    for sentence, fits in ((f"{before}key{after}", True), (f"{before}key{after}é", False)):
        first, last = sentence_around(sentence, len(before), len(before) + len("key"))
        assert (last - first == len(sentence)) is fits
        assert last - first <= 480 + len("key")
    sid = pointing.session()
    send(pointing, sid, "the red key is in the drawer and " * 60)
    for mode in ("search", "reread"):
        for one in pointing.ask(sid, "Where is the key?", mode=mode)["citations"]:
            assert len(one["quote"]) <= one["answer_end"] - one["answer_start"] + 480, mode


@given(st.text(alphabet='ab .!?\n"”)。é', max_size=80), st.data())
def test_a_sentence_holds_its_answer(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    first, last = sentence_around(text, start, end)
    assert 0 <= first <= start <= end <= last <= len(text)
    a, b = trimmed(text, start, end)
    assert start <= a <= b <= end


BROKEN = """A "pass" statement is a null operation which does
nothing at all when it is executed by the machine
and is useful as a placeholder for code. Behind it
comes more.

10:02 Anna: I would rather meet in the long library on Tuesday
10:03 Ben: The library is closed then, as it is on every Tuesday
"""


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("nothing at all", BROKEN[: BROKEN.index(" Behind")]),
        ("comes more", "Behind it\ncomes more."),
        ("Tuesday", "10:02 Anna: I would rather meet in the long library on Tuesday"),
    ],
)
def test_lines_of_a_broken_paragraph_are_one_sentence(answer: str, wanted: str) -> None:
    start = BROKEN.index(answer)
    assert BROKEN[slice(*sentence_around(BROKEN, start, start + len(answer)))] == wanted


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("the drawer,", "the drawer"),
        ("(see below)", "(see below)"),
        ("“Yes”", "“Yes”"),
        (" 3.5 %.", "3.5 %"),
        ("...", "..."),
    ],
)
def test_what_is_around_an_answer_goes(answer: str, wanted: str) -> None:
    first, last = trimmed(f"a {answer} b", 2, 2 + len(answer))
    assert f"a {answer} b"[first:last] == wanted


def test_texts_of_another_kind_are_told() -> None:
    assert notice_on(ENGLISH[:3000]) is None
    assert notice_on(GERMAN * 6) == NOT_ENGLISH
    assert notice_on(json.dumps({f"key{n}": n for n in range(200)})) == NOT_ENGLISH
    assert notice_on("") is None
