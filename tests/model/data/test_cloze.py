"""Cloze exercises: the answers say what was masked, and the question's sentence stands no longer in the passage.

Run with `pytest tests/model/data/test_cloze.py`.
"""

import re
import time
from random import Random

import pytest

from rmt_model.data.cloze import BLANK, ClozeSource
from rmt_model.data.passages import Passage

NAMES = ["Holmes", "Doctor Watson", "Irene Adler", "the old King of Bohemia", "Baker Street", "1887", "Mr. Norton"]
VERBS = ["met", "asked", "remembered", "had written to", "was looking for", "never trusted", "spoke about"]
PLACES = ["in the small garden", "near the church", "on a cold morning", "at the railway station", "with great care"]


def book(seed: int, sentences: int = 400) -> str:
    """Sentences about a few names, with lines that break anywhere, paragraphs and speech."""
    rng, parts = Random(seed), []
    for _ in range(sentences):
        who, whom = rng.sample(NAMES, 2)
        sentence = f"{who} {rng.choice(VERBS)} {whom} {rng.choice(PLACES)}{rng.choice('.!?.')}"
        parts.append(f'"{sentence}"' if rng.random() < 0.1 else sentence)
    text = rng.choice([" ", "  "]).join(parts)
    words = text.split(" ")
    return "".join(word + ("\n\n" if n % 91 == 0 else "\n" if n % 12 == 0 else " ") for n, word in enumerate(words, 1))


@pytest.fixture(scope="module")
def source() -> ClozeSource:
    return ClozeSource([book(1), book(2), "too short"])


@pytest.fixture(scope="module")
def passages(source: ClozeSource) -> list[Passage]:
    rng = Random(5)
    return [source.draw(rng) for _ in range(300)]


def joined(text: str) -> str:
    return " ".join(text.split())


def squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


BOOKS = [squeezed(book(seed)) for seed in (1, 2)]


def is_put_back(passage: Passage, sentence: str) -> bool:
    """Whether a passage with this sentence somewhere within is a stretch of a book, but for blanks."""
    rest, said = squeezed(passage.text), squeezed(sentence)
    for whole in BOOKS:
        for found in re.finditer(re.escape(said), whole):
            before, after = found.span()
            for cut in range(len(rest) + 1):
                fits = whole[before - 1 : before] == rest[cut - 1 : cut] or cut == 0
                if fits and whole.startswith(rest[cut:], after) and whole.endswith(rest[:cut], 0, before):
                    return True
    return False


def test_every_answer_is_what_was_masked(passages: list[Passage]) -> None:
    blanks = 0
    for passage in passages:
        (question,) = passage.questions
        answers = {joined(passage.text[start:end]).casefold() for start, end in question.spans}
        assert len(answers) == 1
        assert question.spans == tuple(sorted(question.spans))
        assert passage.answers(question)
        if BLANK in question.text:
            blanks += 1
            assert question.text.count(BLANK) == 1
            assert is_put_back(passage, question.text.replace(BLANK, answers.pop()))
    assert 90 < blanks < 210, "half of the questions keep the masked sentence"


def test_answers_lie_on_borders_of_words(passages: list[Passage]) -> None:
    for passage in passages:
        for start, end in passage.questions[0].spans:
            assert 0 <= start < end <= len(passage.text)
            assert not passage.text[start:end].startswith((" ", "\n"))
            assert not (start and passage.text[start - 1].isalnum())
            assert not passage.text[end : end + 1].isalnum()


def test_the_question_stands_no_longer_in_the_passage(source: ClozeSource) -> None:
    """Unless a sentence is said twice, its words are gone with the masked ones."""
    rng, twice = Random(8), 0
    for _ in range(100):
        passage = source.draw(rng)
        parts = [part for part in passage.questions[0].text.split(BLANK) if len(part) > 40]
        twice += any(squeezed(part) in squeezed(passage.text) for part in parts)
    assert twice < 5


def test_questions_say_enough_and_not_too_much(passages: list[Passage]) -> None:
    for passage in passages:
        question = passage.questions[0].text
        assert question == joined(question)
        assert len(question) < 280
        assert len(question.split()) >= 5
        assert (passage.source, passage.name) == ("cloze", "")
        assert 300 < len(passage.text) < 1900


def test_half_of_them_are_bent_towards_a_question(passages: list[Passage]) -> None:
    words = {"who", "what", "when", "how many"}
    bent = [passage.questions[0].text for passage in passages if BLANK not in passage.questions[0].text]
    assert all(any(word in question for word in words) for question in bent)
    assert all(not question.endswith((".", "!", '"')) for question in bent)
    assert {question.endswith("?") for question in bent} == {True, False}
    assert any(question.startswith("who ") for question in bent) or any(" who " in question for question in bent)
    assert any("when" in question for question in bent)


def test_names_are_asked_for_more_often_than_other_words(passages: list[Passage]) -> None:
    answers = [passage.answers(passage.questions[0])[0] for passage in passages]
    named = sum(any(letter.isupper() or letter.isdigit() for letter in answer) for answer in answers)
    assert named > len(answers) / 2
    assert any(" " in answer for answer in answers), "phrases of several words come up, too"


def test_the_same_seed_gives_the_same_passages(source: ClozeSource) -> None:
    first, second = ([source.draw(Random(seed)) for seed in range(20)] for _ in range(2))
    assert first == second == [ClozeSource([book(1), book(2), "too short"]).draw(Random(seed)) for seed in range(20)]
    assert len({passage.text for passage in first}) > 15


def test_lines_are_joined_in_most_passages(passages: list[Passage]) -> None:
    broken = sum(re.search(r"(?<!\n)\n(?!\n)", passage.text) is not None for passage in passages)
    assert 0.15 < broken / len(passages) < 0.45


def test_it_is_quick(source: ClozeSource) -> None:
    began = time.process_time()
    rng = Random(3)
    for _ in range(50):
        source.draw(rng)
    assert time.process_time() - began < 2
