"""The ordinary questions are what they are said to be, and their judge is neither strict nor kind."""

from collections import Counter
from pathlib import Path

import pytest
from benchmarks.ordinary import judge
from benchmarks.ordinary.judge import is_right

QUESTIONS = judge.load_questions()
OURS = [document for document in judge.document_list() if document.in_repository]
KINDS = {"who", "when", "where", "how many", "name", "why", "which", "what", "said", "how"}


def test_eighty_questions_on_eight_documents_ten_without_an_answer() -> None:
    assert Counter(one.document for one in QUESTIONS) == {one.name: 10 for one in judge.document_list()}
    assert len(judge.document_list()) == 8
    assert len({(one.document, one.question) for one in QUESTIONS}) == 80
    unanswerable = Counter(one.document for one in QUESTIONS if not one.answers)
    assert unanswerable.total() == 10
    assert len(unanswerable) == 8
    assert {one.kind for one in QUESTIONS} <= KINDS
    assert 24 <= sum(one.hard for one in QUESTIONS) <= 32, "about a third"


def test_accepted_answers_are_short_and_are_judged_right() -> None:
    for one in QUESTIONS:
        assert all(0 < len(answer.split()) <= 12 for answer in one.answers), one
        assert all(is_right(answer, one.answers) for answer in one.answers), one
        assert is_right("", one.answers) == (not one.answers)


@pytest.mark.parametrize("document", OURS, ids=lambda one: one.name)
def test_accepted_answers_stand_in_the_documents_of_the_repository(document: judge.Document, tmp_path: Path) -> None:
    path = document.found(tmp_path)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    asked = [one for one in QUESTIONS if one.document == document.name]
    assert [answer for one in asked for answer in one.answers if not judge.stands_in(answer, text)] == []


def test_what_is_missing_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"(?s)Bram_Stoker_Dracula.*pip download .*yt-dlp==") as missing:
        judge.load_documents(tmp_path)
    assert "transcript" not in str(missing.value)


def test_another_text_of_the_same_name_is_not_taken(tmp_path: Path) -> None:
    for one in judge.document_list():
        if not one.in_repository:
            (tmp_path / one.paths[0]).parent.mkdir(exist_ok=True)
            (tmp_path / one.paths[0]).write_text("another edition")
    with pytest.raises(ValueError, match=r"(?s)dracula.*crusoe.*licence.*manual"):
        judge.load_documents(tmp_path)


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("The Demeter.", ["demeter"]),
        ("on board the Demeter", ["Demeter"]),
        ("eighty four thousand", ["eighty-four thousand", "eighty four thousand"]),
        ("clock stays in reading room", ["so long as the clock stays in the reading room"]),
        ("-r, --limit-rate RATE", ["--limit-rate"]),
        ("06:45", ["0645"]),
        ("“Nobody’s twelve.”", ["nobody's twelve"]),
        ("Thursday\u2014at ten", ["Thursday at ten"]),
        ("York", ["Hull", "York"]),
        ("", []),
        (" ... ", []),
    ],
)
def test_right(answer: str, accepted: list[str]) -> None:
    assert is_right(answer, accepted)


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("", ["Demeter"]),
        ("the", ["the Demeter"]),
        ("Demeter", []),
        ("she came on board the Demeter", ["Demeter"]),  # five words for one
        ("the clock", ["the clock stays in the reading room"]),  # too little of it
        ("131 labels", ["31"]),
        ("room reading", ["reading room"]),
        ("forty-eight thousand", ["eighty-four thousand"]),
        ("Hull", ["York"]),
    ],
)
def test_wrong(answer: str, accepted: list[str]) -> None:
    assert not is_right(answer, accepted)
