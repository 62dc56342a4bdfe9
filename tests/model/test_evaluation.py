"""Evaluation's documents are what they are said to be: facts in order and in place, the rest untouched, no leak."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.model.evaluation_data import prose, write_babi, write_fairytales, write_squad
from tokenizers import Tokenizer

from rmt_model.data.background import Background
from rmt_model.data.documents import read_fairytales, read_squad
from rmt_model.data.facts import SEEN_KINDS, UNSEEN_KINDS, draw_facts
from rmt_model.data.paper import PLACES
from rmt_model.errors import DataError
from rmt_model.evaluation.babilong import BabilongExamples, BabiTask
from rmt_model.evaluation.books import Books
from rmt_model.evaluation.examples import Example, rng_of
from rmt_model.evaluation.paper import PaperExamples
from rmt_model.evaluation.planted import PlantedExamples
from rmt_model.evaluation.qa import DocumentExamples, chosen

SEGMENT = 64


@pytest.fixture(scope="module")
def background(tiny_tokenizer: Tokenizer) -> Background:
    return Background.of_sentences([prose(400)], tiny_tokenizer)


@pytest.fixture
def encode(tiny_tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    return lambda text: list(tiny_tokenizer.encode(text, add_special_tokens=False).ids)


def stated(example: Example, tokenizer: Tokenizer) -> list[str]:
    """The statements as they stand in the document."""
    return [tokenizer.decode(example.ids[span.start : span.stop].tolist()).strip() for span in example.spans]


def require_untouched(example: Example, background: Background, *, at_gaps: bool = True) -> None:
    """Without the statements, the document is one window of the background; they stand between its sentences."""
    hidden = np.zeros(len(example.ids), np.bool_)
    for span in example.spans:
        hidden[span.start : span.stop] = True
    rest, around = example.ids[~hidden], np.concatenate((background.ids, background.ids))
    windows = np.lib.stride_tricks.sliding_window_view(around, len(rest))
    starts = np.flatnonzero((windows == rest).all(1))
    assert len(starts), "the rest of the document is no window of the background"
    gaps = np.concatenate((background.gaps, background.gaps))[starts[0] : starts[0] + len(rest)]
    for span in example.spans if at_gaps else ():
        before = int((~hidden[: span.start]).sum())
        cut_by_the_end = not gaps[before:].any()
        assert before == 0 or before == len(rest) or gaps[before] or cut_by_the_end


def require_in_order(example: Example) -> None:
    edges = [edge for span in example.spans for edge in (span.start, span.stop)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(example.ids)


@pytest.mark.parametrize("length", [150, 1000])
def test_babilong_hides_the_whole_story_in_order(
    tmp_path: Path, tiny_tokenizer: Tokenizer, background: Background, encode: Callable[[str], list[int]], length: int
) -> None:
    babi = BabiTask(write_babi(tmp_path), 1, "validation", encode)
    examples = BabilongExamples(babi, length, background, seed=1)
    stories = {(one.question, one.answer): one.sentences for one in babi.questions}
    firsts = []
    for number in range(examples.available or 0):
        example = examples.example(number)
        assert len(example.ids) == length
        assert tuple(stated(example, tiny_tokenizer)) == stories[example.question, *example.answers]
        require_in_order(example)
        require_untouched(example, background)
        text = tiny_tokenizer.decode(example.ids.tolist())
        assert example.question not in text
        assert text.count(example.answers[0]) == sum(
            example.answers[0] in one for one in stated(example, tiny_tokenizer)
        )
        firsts.append(example.spans[0].start)
    assert len(set(firsts)) > 1


def test_babilong_at_0k_is_the_story_alone(
    tmp_path: Path, tiny_tokenizer: Tokenizer, encode: Callable[[str], list[int]]
) -> None:
    babi = BabiTask(write_babi(tmp_path), 1, "all", encode)
    examples = BabilongExamples(babi, 0, None, seed=1)
    assert examples.available == len(babi.questions) == 60
    for number in range(60):
        example = examples.example(number)
        assert tiny_tokenizer.decode(example.ids.tolist()) == "".join(
            f" {one}" for one in stated(example, tiny_tokenizer)
        )
        assert len(example.ids) == sum(len(span) for span in example.spans)


def test_babilong_takes_validation_stories_and_those_that_fit(
    tmp_path: Path, background: Background, encode: Callable[[str], list[int]]
) -> None:
    folder = write_babi(tmp_path)
    babi = BabiTask(folder, 1, "validation", encode)
    assert {one.story % 10 for one in babi.questions} == {9}
    assert babi.labels == {"garden", "office", "bathroom"}
    whole = BabiTask(folder, 1, "all", encode)
    shortest, longest = min(whole.sizes), max(whole.sizes)
    some = BabilongExamples(whole, longest - 1, background, seed=1)
    assert 0 < some.left_out < 60
    assert some.left_out + (some.available or 0) == 60
    for number in range(some.available or 0):
        assert len(some.example(number).ids) == longest - 1
    with pytest.raises(DataError, match=f"the shortest story has {shortest} tokens"):
        BabilongExamples(whole, shortest - 1, background, seed=1)


def test_the_same_stories_at_every_length_and_in_any_order_of_building(
    tmp_path: Path, background: Background, encode: Callable[[str], list[int]]
) -> None:
    babi = BabiTask(write_babi(tmp_path), 1, "all", encode)
    short, long = (BabilongExamples(babi, length, background, seed=3) for length in (500, 900))
    again = BabilongExamples(babi, 500, background, seed=3)
    other = BabilongExamples(babi, 500, background, seed=4)
    ids = [short.example(number).ids.tolist() for number in range(20)]
    assert [again.example(number).ids.tolist() for number in reversed(range(20))] == ids[::-1]
    assert [other.example(number).ids.tolist() for number in range(20)] != ids
    assert [long.example(n).question for n in range(20)] == [short.example(n).question for n in range(20)]


def solved(statements: list[str], question: str) -> str:
    """The answer to a question on where places lie, from the statements."""
    opposite = {"north": "south", "south": "north", "east": "west", "west": "east"}
    known = [re.fullmatch(r"The (\w+) is (\w+) of the (\w+)\.", one) for one in statements]
    facts = [(m[1], m[2], m[3]) for m in known if m] + [(m[3], opposite[m[2]], m[1]) for m in known if m]
    if match := re.fullmatch(r"What is (\w+) of the (\w+)\?", question):
        return next(a for a, way, b in facts if (way, b) == (match[1], match[2]))
    match = re.fullmatch(r"What is the (\w+) (\w+) of\?", question)
    assert match
    return next(b for a, way, b in facts if (a, way) == (match[1], match[2]))


@pytest.mark.parametrize("segments", [2, 12])
@pytest.mark.parametrize("task", ["memorize", "detect", "reasoning"])
def test_paper(
    tiny_tokenizer: Tokenizer, background: Background, encode: Callable[[str], list[int]], task: str, segments: int
) -> None:
    examples = PaperExamples(task, segments, background, encode, segment_tokens=SEGMENT, seed=1)  # type: ignore[arg-type]
    starts, answers = [], set()
    for number in range(60):
        example = examples.example(number)
        statements, answer = stated(example, tiny_tokenizer), example.answers[0]
        assert len(example.ids) == segments * SEGMENT
        assert len(statements) == (2 if task == "reasoning" else 1)
        require_in_order(example)
        require_untouched(example, background)
        if task == "reasoning":
            assert solved(statements, example.question) == answer
            assert len({place for one in statements for place in PLACES if place in one}) == 3
        else:
            person = re.fullmatch(r"Where is (\w+)\?", example.question)
            assert person
            assert statements[0].startswith(f"{person[1]} ")
            assert statements[0].endswith(f" to the {answer}.")
        starts += [span.start / len(example.ids) for span in example.spans]
        answers.add(answer)
    assert answers == set(PLACES)
    if task == "memorize":
        assert set(starts) == {0}
    else:
        assert min(starts) < 0.15
        assert max(starts) > 0.8 - SEGMENT / (segments * SEGMENT)


@pytest.mark.parametrize(("group", "kinds"), [("seen", SEEN_KINDS), ("unseen", UNSEEN_KINDS)])
def test_planted(
    tiny_tokenizer: Tokenizer,
    background: Background,
    encode: Callable[[str], list[int]],
    group: str,
    kinds: tuple[str, ...],
) -> None:
    examples = PlantedExamples(group, kinds, 600, background, encode, others=3, seed=1)
    places = set()
    for number in range(40):
        example = examples.example(number)
        statements, answer = stated(example, tiny_tokenizer), example.answers[0].removeprefix("the ")
        assert len(example.ids) == 600
        assert len(set(statements)) == 4
        require_in_order(example)
        require_untouched(example, background)
        asked, *others = draw_facts(rng_of(1, "planted", group, 600, number), "validation", 4, kinds)
        assert set(statements) == {fact.statement for fact in (asked, *others)}
        assert (example.question, example.answers) == (asked.question, (asked.answer,))
        assert not any(f" {fact.key} " in f" {asked.statement[:-1]} " or fact.answer == asked.answer for fact in others)
        rest = "".join(
            tiny_tokenizer.decode(example.ids[stop:start].tolist())
            for stop, start in zip(
                [0, *(s.stop for s in example.spans)], [*(s.start for s in example.spans), 600], strict=True
            )
        )
        assert answer not in rest
        assert example.question not in tiny_tokenizer.decode(example.ids.tolist())
        places.add(statements.index(asked.statement))
    assert places == {0, 1, 2, 3}


def test_what_is_asked_of_a_document_that_does_not_say(
    tiny_tokenizer: Tokenizer, background: Background, encode: Callable[[str], list[int]]
) -> None:
    examples = PlantedExamples("seen", SEEN_KINDS, 600, background, encode, others=3, seed=1, absent=True)
    assert examples.group == "seen absent"
    for number in range(40):
        example = examples.example(number)
        text = tiny_tokenizer.decode(example.ids.tolist())
        asked, *others = draw_facts(rng_of(1, "planted", "seen absent", 600, number), "validation", 4, SEEN_KINDS)
        assert (example.question, example.answers) == (asked.question, (asked.answer,))
        assert set(stated(example, tiny_tokenizer)) == {fact.statement for fact in others}
        assert asked.statement not in text
        assert asked.answer.removeprefix("the ") not in text
        assert examples.scores(example, asked.answer) == {}


def test_documents_alone_and_as_one_block_in_a_haystack(
    tmp_path: Path, tiny_tokenizer: Tokenizer, background: Background, encode: Callable[[str], list[int]]
) -> None:
    documents = read_squad(write_squad(tmp_path / "squad.json"))
    texts = {document.questions[1].question: document.text for document in documents}
    settings = {"articles": "all"}
    alone = DocumentExamples("squad", documents, 0, None, encode, seed=1, settings=settings)
    within = DocumentExamples("squad", documents, 500, background, encode, seed=1, settings=settings)
    assert alone.available == within.available == 8
    begins = []
    for number in range(8):
        one, other = alone.example(number), within.example(number)
        assert (one.question, one.answers) == (other.question, other.answers)
        text = tiny_tokenizer.decode(one.ids.tolist())
        assert text == texts.get(one.question, text)
        assert text in texts.values()
        assert len(other.ids) == 500
        block = range(other.spans[0].start, other.spans[-1].stop)
        assert other.ids[block.start : block.stop].tolist() == one.ids.tolist()
        assert all(a.stop == b.start for a, b in zip(other.spans, other.spans[1:], strict=False))
        require_untouched(other, background, at_gaps=False)
        begins.append(block.start)
    assert len(set(begins)) > 4


def test_documents_of_one_half_and_those_that_are_too_long(
    tmp_path: Path, background: Background, encode: Callable[[str], list[int]]
) -> None:
    documents = read_squad(write_squad(tmp_path / "squad.json"))
    assert [one.name for one in chosen(documents, "first-half")] == ["Town_0", "Town_2"]
    assert [one.name for one in chosen(documents, "second-half")] == ["Town_1", "Town_3"]
    assert chosen(documents, "all") == documents
    with pytest.raises(DataError, match="--articles second-half"):
        chosen(documents[:1], "second-half")
    with pytest.raises(DataError, match=r"Town_\d has \d+ tokens and does not fit .*take a longer length, or 0"):
        DocumentExamples("squad", documents, 40, background, encode, seed=1, settings={})


def test_fairytales_keep_all_answers(tmp_path: Path, encode: Callable[[str], list[int]]) -> None:
    documents = read_fairytales(write_fairytales(tmp_path), "val")
    examples = DocumentExamples("fairytaleqa", documents, 0, None, encode, seed=1, settings={})
    example = examples.example(0)
    assert example.answers == ("a fox", "the fox")
    assert examples.scores(example, "fox.") == {"f1": 1.0, "exact_match": 1.0}
    assert examples.scores(example, "the red fox") == {"f1": pytest.approx(2 / 3), "exact_match": 0.0}


def test_books_are_those_of_held_out_authors_unless_all_are_asked_for(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    (tmp_path / "Voltaire_Philosophical_Dictionary.txt").write_text(f"{prose(30)} Oh.")  # is held out
    (tmp_path / "Bram_Stoker_Dracula.txt").write_text(prose(30, seed=2))
    held_out, every = Books(tmp_path, tiny_tokenizer), Books(tmp_path, tiny_tokenizer, all_books=True)
    assert [path.name for path in held_out.paths] == ["Voltaire_Philosophical_Dictionary.txt"]
    assert len(every.paths) == 2
    assert held_out.digest != every.digest
    text = tiny_tokenizer.decode(held_out.sentences(100).ids.tolist())
    assert text == f" {prose(30)}"
    with pytest.raises(DataError, match="add books, or take --all-books"):
        held_out.sentences(100_000)
    with pytest.raises(DataError, match="no folder with books"):
        Books(tmp_path / "missing", tiny_tokenizer)
    (tmp_path / "Voltaire_Philosophical_Dictionary.txt").unlink()
    with pytest.raises(DataError, match="no book of a held-out author"):
        Books(tmp_path, tiny_tokenizer)
    (tmp_path / "Bram_Stoker_Dracula.txt").write_text("Another text.")
    assert Books(tmp_path, tiny_tokenizer, all_books=True).digest != every.digest
