"""Answers of a server whose checkpoint points at places of the text: citations in both clients and in OpenAI's form.

    .venv/bin/python -m pytest tests/clients/test_citations.py

The model is random, so that nothing is known of what it answers, only that all of it fits together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.serving import Server, one_thread

from rmt_client import Answer, Client, InvalidError, NotFoundError
from rmt_client.source import name_of
from rmt_server.redis_process.server import EmbeddedRedis

from .conftest import Blocking, Connect

FIRST = "Mary went to the garden. Bärbel saß – im Grünen. Daniel travelled to the office.\n" * 3
SECOND = "Sandra journeyed back to the kitchen. John moved to the hallway; nobody followed him.\n" * 3
QUESTIONS = ["Where is Mary?", "Who journeyed to the kitchen?"]


@pytest.fixture(scope="module")
def pointing(service_redis: EmbeddedRedis, tiny_encoder_checkpoint: Callable[..., Path]) -> Iterator[Server]:
    """A server with a random encoder."""
    from rmt_model.encoder_checkpoint import load_encoder_checkpoint
    from rmt_model.span_engine import SpanEngine

    with one_thread():
        engine = SpanEngine(load_encoder_checkpoint(tiny_encoder_checkpoint()), slots=64, max_batch_lanes=16)
        with Server(service_redis.url, engine, {}) as server:  # type: ignore[arg-type]
            yield server


def streamed(rmt: Any, *args: Any, **options: Any) -> list[str | Answer]:
    """All that a stream of either client gives."""
    if not isinstance(rmt, Blocking):
        return list(rmt.stream_answer(*args, **options))

    async def all_of_it() -> list[str | Answer]:
        return [piece async for piece in rmt._client.stream_answer(*args, **options)]

    return rmt._runner.run(all_of_it())


@pytest.fixture
def rmt(connect: Connect, pointing: Server) -> Client:
    return connect(pointing.url)


def test_answers_have_the_sentences_that_they_stand_in(rmt: Client) -> None:
    session = rmt.create_session()
    documents = [rmt.read(session.id, one) for one in (FIRST, SECOND)]
    for mode in (None, "auto", "search", "reread", "recall"):
        for answer in rmt.ask_many(session.id, QUESTIONS, mode=mode).answers:
            assert answer.mode == ({None: "search", "auto": "search"}.get(mode) or mode)
            assert answer.outcome == ("answered" if answer.answer is not None else "not_found")
            assert (answer.verified is None) == (answer.outcome != "answered")
            for one in answer.citations:
                assert rmt.get_text(session.id, start=one.start, end=one.end).text == one.quote
                document = next(known for known in documents if known.id == one.document_id)
                text = (FIRST, SECOND)[documents.index(document)]
                assert text[one.start_char : one.end_char] == one.quote
                assert "".join(one.parts) == one.quote
            if answer.citations:
                assert answer.citations[0].parts[1] == answer.guess


def test_a_stream_ends_with_the_answer_of_the_call(rmt: Client) -> None:
    session = rmt.create_session()
    rmt.read(session.id, FIRST)
    for question in QUESTIONS:
        *words, answer = streamed(rmt, session.id, question)
        assert answer == rmt.ask(session.id, question)
        assert isinstance(answer, Answer)
        assert "".join(map(str, words)) == (answer.answer or "")


def test_documents_restrict_a_search(rmt: Client) -> None:
    session = rmt.create_session()
    first, second = (rmt.read(session.id, one) for one in (FIRST, SECOND))
    for document in (first, second):
        answer = rmt.ask(session.id, "Who went to the garden, and who to the kitchen?", documents=[document.id])
        assert {one.document_id for one in answer.citations} <= {document.id}
    with pytest.raises(NotFoundError):
        rmt.ask(session.id, "Who?", documents=["doc_none"], mode="search")
    with pytest.raises(InvalidError, match="documents restrict a search"):
        rmt.ask(session.id, "Where is Mary?", documents=[first.id], mode="recall")


def test_what_no_place_of_a_text_holds_is_not_supported(rmt: Client) -> None:
    session = rmt.create_session()
    rmt.read(session.id, FIRST)
    answer = rmt.ask(session.id, "Summarize how Mary went to the garden.")
    assert (answer.answer, answer.outcome) == (None, "not_supported")


def test_citations_and_passages_have_the_names_of_documents(rmt: Client, tmp_path: Path) -> None:
    """That of a file by itself, another if one is given, and none where there is none."""
    book = tmp_path / "Bärbels Buch.txt"
    book.write_text(FIRST)
    session = rmt.create_session()
    with book.open("rb") as opened:
        documents = [
            rmt.read(session.id, book),
            rmt.read(session.id, opened),
            rmt.read(session.id, book, name="garden/chapter one"),
            rmt.read(session.id, book, name=""),
            rmt.read(session.id, FIRST),
        ]
    names = [one.name for one in documents]
    assert names == ["Bärbels Buch.txt", "Bärbels Buch.txt", "chapter one", None, None]
    assert rmt.get_document(session.id, documents[2].id).name == "chapter one"
    known = {one.id: one.name for one in documents}
    for document in documents:
        cited = rmt.ask(session.id, "Where is Mary?", documents=[document.id]).citations
        assert cited
        assert {one.document for one in cited} == {document.name}
    found = rmt.search(session.id, "garden").passages
    assert {one.document_id: one.document for one in found} == known
    with pytest.raises(InvalidError, match="has 201 characters; the limit is 200"):
        rmt.read(session.id, "some", name="n" * 201)


class Named:
    def __init__(self, name: object) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (Path("a/b.txt"), "b.txt"),
        (Path("a/b\\c.txt"), "c.txt"),
        (Path("x" * 250), "x" * 200),
        (Path("."), ""),
        (Path(" "), ""),
        (Path("b\udcff.txt"), "b?.txt"),
        (Named("/a/b.txt"), "b.txt"),
        (Named(Path("a/b.txt")), "b.txt"),
        (Named("<stdin>"), ""),
        (Named(3), ""),
        ("a/b.txt", ""),
        (b"text", ""),
    ],
)
def test_the_name_of_a_source_is_its_files(source: object, name: str) -> None:
    assert name_of(source) == name


def test_citations_in_openais_form(pointing: Server) -> None:
    with openai.OpenAI(base_url=f"{pointing.url}/v1", api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id

        def ask(question: str, **more: Any) -> Any:
            messages: Any = [{"role": "system", "content": FIRST}, {"role": "user", "content": question}]
            return client.chat.completions.create(model=model, messages=messages, **more)

        outcomes = set()
        for question in (*QUESTIONS, "Where is the zebra?", "Who?"):
            answer = ask(question)
            message, details = answer.choices[0].message, answer.rmt
            outcomes.add(details["outcome"])
            if details["outcome"] != "answered":
                assert (message.content, message.annotations) == ("I did not find this.", [])
                continue
            assert message.content == details["answer"]
            assert [one.quote for one in message.annotations] == [one["quote"] for one in details["citations"]]
            assert {one.index for one in message.annotations} == {len(message.content)}
            assert all(
                one.file_id == cited["document_id"]
                for one, cited in zip(message.annotations, details["citations"], strict=True)
            )
            *_, last = ask(question, stream=True)
            assert last.rmt == details
        assert "answered" in outcomes
        assert "I cannot summarise" in ask("Summarize the text.").choices[0].message.content
