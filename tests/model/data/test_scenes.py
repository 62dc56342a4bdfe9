"""Scenes have exact answers, every kind appears, and validation shares no names with training.

Run with `pytest tests/model/data/test_scenes.py`.
"""

import time
from collections.abc import Iterator
from random import Random

import pytest

from rmt_model.data.passages import Passage, SpanQuestion
from rmt_model.data.scenes import KINDS, SceneSource
from rmt_model.data.scenes.grammar import Choice, Nodes, Slot, Spec, parse, read_kind
from rmt_model.data.scenes.pools import NAMES
from rmt_model.data.scenes.tone import vary
from rmt_model.data.story import Split

Asked = tuple[Passage, SpanQuestion]


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    source, rng = SceneSource("train"), Random(7)
    return [source.draw(rng) for _ in range(600)]


@pytest.fixture(scope="module")
def asked(passages: list[Passage]) -> list[Asked]:
    return [(passage, question) for passage in passages for question in passage.questions]


def within_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def slots(nodes: Nodes) -> Iterator[Slot]:
    for node in nodes:
        if isinstance(node, Slot):
            yield node
        elif isinstance(node, Choice):
            for option in node.options:
                yield from slots(option)


def every_spec() -> list[Spec]:
    return [spec for kinds in KINDS.values() for kind in kinds for spec in kind.specs()]


def test_spans_lie_on_word_borders_within_the_text(asked: list[Asked]) -> None:
    for passage, question in asked:
        for start, end in question.spans:
            answer = passage.text[start:end]
            assert answer
            assert answer == answer.strip()
            assert not within_word(passage.text, start), (passage.name, question, answer)
            assert not within_word(passage.text, end), (passage.name, question, answer)


def test_all_spans_of_a_question_say_the_same(asked: list[Asked]) -> None:
    for passage, question in asked:
        assert len({passage.text[start:end].lower() for start, end in question.spans}) <= 1


def test_documents_are_of_the_promised_size(passages: list[Passage]) -> None:
    for passage in passages:
        assert 150 <= len(passage.text.split()) <= 900
        assert 4 <= len(passage.questions) <= 10
        assert len({question.text for question in passage.questions}) == len(passage.questions)
        assert sum(not question.spans for question in passage.questions) in (1, 2)


def test_no_template_is_left_unfilled(passages: list[Passage]) -> None:
    for passage in passages:
        for text in (passage.text, *(question.text for question in passage.questions)):
            assert "{" not in text
            assert " // " not in text


def test_every_kind_appears(passages: list[Passage]) -> None:
    names = {f"{group}/{kind.name}" for group, kinds in KINDS.items() for kind in kinds}
    assert {passage.name for passage in passages} == names
    assert {passage.source for passage in passages} == {"scenes"}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_same_seed_gives_the_same_passage(split: Split) -> None:
    assert [SceneSource(split).draw(Random(seed)) for seed in range(20)] == [
        SceneSource(split).draw(Random(seed)) for seed in range(20)
    ]


@pytest.mark.parametrize("pool", ["woman", "man", "surname", "town", "brand"])
def test_names_of_validation_are_not_seen_in_training(passages: list[Passage], pool: str) -> None:
    train = {word for name in ("woman", "man", "surname", "town", "brand") for word in NAMES[name].train}
    assert not train & set(NAMES[pool].validation)
    for name in NAMES[pool].validation:
        assert not any(f" {name} " in passage.text for passage in passages), name


def test_a_fifth_of_the_questions_has_no_answer(asked: list[Asked]) -> None:
    share = sum(not question.spans for _, question in asked) / len(asked)
    assert 0.12 < share < 0.3


def test_questions_begin_in_many_ways(asked: list[Asked]) -> None:
    openings = {" ".join(question.text.lower().split()[:2]) for _, question in asked[:500]}
    assert len(openings) > 120
    assert sum(not question.text.endswith("?") for _, question in asked) > len(asked) / 20


def test_answers_are_short(asked: list[Asked]) -> None:
    lengths = sorted(
        len(passage.text[slice(*question.spans[0])].split()) for passage, question in asked if question.spans
    )
    assert lengths[len(lengths) // 2] <= 3
    assert lengths[-1] <= 20


def test_questions_name_only_what_their_statement_holds() -> None:
    for spec in every_spec():
        said = {slot.name for says in spec.says for slot in slots(parse(says))}
        for answer, asks in spec.asks.items():
            named = [slot for ask in asks for slot in slots(parse(ask))]
            assert answer in said, spec.says
            assert answer not in {slot.name for slot in named}, spec.says
            assert {slot.name for slot in named if not slot.base.startswith("our_")} <= said, spec.says


def test_a_like_statement_makes_a_question_undecided() -> None:
    kind = read_kind("like", "== lines 2-2\n\n- {person} lives in {country}.\nperson? Who lives in {country}?")
    assert [slot.name for slot in slots(parse(kind.sections[0].specs[0].says[0]))] == ["person", "country"]
    assert not kind.sections[0].specs[0].once


def test_a_line_that_is_no_template_is_refused() -> None:
    with pytest.raises(ValueError, match="two spaces"):
        read_kind("wrong", "== lines 1-1\n\nnothing of the kind")
    with pytest.raises(ValueError, match="section begins"):
        read_kind("wrong", "- {person} went.")


def test_typing_changes_how_a_question_looks_not_its_words() -> None:
    rng = Random(3)
    typed = [vary("Where is the station of the old town?", rng) for _ in range(300)]
    assert 10 < len(set(typed)) < 250
    assert all("old" in question and "is the" in question for question in typed)


def test_two_hundred_passages_a_second() -> None:
    source, rng = SceneSource("train"), Random(1)
    source.draw(rng)
    start = time.process_time()
    for _ in range(200):
        source.draw(rng)
    assert time.process_time() - start < 3, "about 0.8 seconds on an idle machine; the test leaves room for a busy one"
