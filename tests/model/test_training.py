"""Samples are what they say, and a training run that is cut off goes on as if it had not been."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from rmt_model.config import RMTConfig
from rmt_model.prompt import PromptBuilder
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.data.background import Background, split_by_author
from rmt_model.data.facts import KINDS, draw_fact, draw_facts
from rmt_model.training.samples import Mode, SampleBuilder, SampleShape
from rmt_model.training.trainer import Stage, Trainer, TrainerSettings, run_batch
from rmt_model.data.words import POOLS, Lexicon

PROSE = "It was the best of times. It was the worst of times; nobody knew. The age of wisdom came, and went.\n" * 40


@pytest.fixture(scope="module")
def builder(tiny_tokenizer: Tokenizer) -> SampleBuilder:
    config = RMTConfig("tiny", memory_tokens=4, segment_tokens=64, update="gated")
    return SampleBuilder(tiny_tokenizer, config, Background.of([PROSE], tiny_tokenizer), "train")


def test_validation_words_are_never_trained_on() -> None:
    trained = {word for pool in POOLS.values() for word in pool.train}
    held_out = {word for pool in POOLS.values() for word in pool.validation}

    assert held_out
    assert not trained & held_out


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_says_its_answer_and_what_it_is_about(kind: str) -> None:
    for seed in range(50):
        fact = draw_fact(Random(seed), "train", (kind,))
        assert fact.answer.casefold() in fact.statement.casefold()
        assert fact.key.casefold() in fact.question.casefold()
        assert fact.key.casefold() in fact.statement.casefold()


def test_the_open_vocabulary_is_split_too() -> None:
    lexicon = Lexicon.of([PROSE], least=2)
    drawn = {lexicon.draw(Random(seed), "train") for seed in range(200)}

    assert {"best", "times", "wisdom"} <= set(lexicon.train) | set(lexicon.validation)
    assert not set(lexicon.train) & set(lexicon.validation)
    assert "pavilion" in POOLS["place"].validation
    assert not set(Lexicon.of(["pavilion " * 9], least=2).train)
    assert drawn == set(lexicon.train)
    facts = [draw_fact(Random(seed), "validation", ("object_place",), lexicon) for seed in range(200)]
    assert not any(word in lexicon.train for fact in facts for word in fact.answer.split())


def test_coined_names_differ_between_the_splits() -> None:
    def names(split: str) -> set[str]:
        facts = [draw_fact(Random(seed), split, ("person_place",)) for seed in range(400)]  # type: ignore[arg-type]
        return {fact.key for fact in facts}

    assert not names("train") & names("validation")


def test_planting_keeps_order_length_and_background(builder: SampleBuilder) -> None:
    for seed in range(60):
        rng = Random(seed)
        facts = draw_facts(rng, "train", 4)
        length = rng.randint(400, 900)
        placed = [(fact, rng.randrange(length)) for fact in facts]
        document = builder.plant(rng, length, placed)

        assert len(document.ids) == length
        assert [fact for fact, _ in document.facts] == [fact for fact, _ in sorted(placed, key=lambda item: item[1])]
        rest, taken = [], 0
        for fact, span in document.facts:
            assert fact.statement in builder.tokenizer.decode(document.ids[span.start : span.stop])
            rest += document.ids[taken : span.start]
            taken = span.stop
        rest += document.ids[taken:]
        assert _is_window(rest, builder.background.ids.tolist())


def _is_window(part: list[int], whole: list[int]) -> bool:
    """Whether `part` stands in `whole`, which begins again at its end."""
    twice = whole + whole
    return any(twice[start : start + len(part)] == part for start in range(len(whole)))


def test_facts_that_do_not_fit_are_refused(builder: SampleBuilder) -> None:
    fact = draw_fact(Random(0), "train")

    with pytest.raises(ValueError, match="do not fit"):
        builder.plant(Random(0), 5, [(fact, 0)])


def test_relevant_segments_are_those_that_hold_the_fact(builder: SampleBuilder) -> None:
    shape = SampleShape("focus", lanes=6, segments=3, segment_tokens=128, partial_tokens=40)
    seen: list[bool] = []
    for seed in range(20):
        batch, rng = builder.batch(Random(seed), shape), Random(seed)
        for lane in range(shape.lanes):  # the same documents once more
            document, (asked,) = builder.document(rng, shape)
            held = {index for _, span in document.about(asked) for index in shape.segments_of(span)}
            for index in range(shape.segments):
                assert set(batch.rewritten[index, lane].tolist()) == {index in held}
                seen.append(index in held)
    assert 0.2 < sum(seen) / len(seen) < 0.8


def test_a_mention_is_a_whole_sentence_with_the_word(builder: SampleBuilder) -> None:
    def mention(word: str, longest: int = 80) -> str | None:
        found = builder.background.mention(Random(3), builder.encode(f" {word}"), longest)
        return found and builder.tokenizer.decode(found).strip()

    assert mention("wisdom") == "The age of wisdom came, and went."
    assert mention("worst") == "It was the worst of times; nobody knew."
    assert mention("wisdom", longest=3) is None
    assert mention("zebra") is None


def test_a_mention_is_not_what_the_memory_is_for(builder: SampleBuilder) -> None:
    mentions = "He went out. She moved on. It opens late. It is opened. It was left. They find it. It is in the way. "
    background = Background.of([PROSE + mentions * 40], builder.tokenizer)
    shape = SampleShape("focus", lanes=1, segments=3, segment_tokens=128, partial_tokens=0)
    builder = SampleBuilder(builder.tokenizer, builder.config, background, "train", ("person_place",))
    passed = 0
    for seed in range(200):
        document, (asked,) = builder.document(Random(seed), shape)
        rewritten = builder.batch(Random(seed), shape).rewritten.any(-1)[:, 0].tolist()
        held = {index for _, span in document.about(asked) for index in shape.segments_of(span)}
        assert rewritten == [index in held for index in range(shape.segments)]
        mentions = [span for fact, span in document.facts if fact.kind == "mention"]
        passed += any(not held.intersection(shape.segments_of(span)) for span in mentions)
    assert passed >= 3


def test_what_is_trained_is_what_is_served(builder: SampleBuilder) -> None:
    shape = SampleShape("focus", lanes=4, segments=1, segment_tokens=256, partial_tokens=60)
    served, batch, rng = PromptBuilder(builder.tokenizer, builder.config), builder.batch(Random(1), shape), Random(1)
    for lane in range(shape.lanes):
        document, (asked,) = builder.document(rng, shape)
        prompt = [*document.ids[256:], *served.question(asked.question)]
        focus = served.focus(asked.question)
        assert batch.prefix[lane].tolist()[-len(focus) :] == focus
        assert batch.at_end.ids[lane].tolist()[: len(prompt)] == prompt


def test_a_row_holds_a_documents_questions_and_only_answers_are_labels(builder: SampleBuilder) -> None:
    shape = SampleShape("recall", lanes=3, segments=1, segment_tokens=256, partial_tokens=100, questions=2)
    asked = builder.batch(Random(5), shape).at_end

    assert asked.count == 6
    assert sorted(set(asked.owners.flatten().tolist())) == [-1, 0, 1, 2, 3, 4, 5]
    for row in range(3):
        labels = asked.labels[row][asked.labels[row] >= 0].tolist()
        text = builder.tokenizer.decode(labels)
        assert text.count("\n") == 2
        assert "Question" not in text


def test_with_a_focus_the_note_is_the_answer(builder: SampleBuilder) -> None:
    shape = SampleShape("focus", lanes=8, segments=2, segment_tokens=128, partial_tokens=40)
    batch = builder.batch(Random(3), shape)
    noted = 0
    for index in range(shape.segments):
        for lane in range(shape.lanes):
            ids = [int(token) for token in batch.notes[index, lane] if token >= 0]
            if ids:
                said = builder.tokenizer.decode(ids).strip()
                read = builder.tokenizer.decode(batch.segments[: index + 1, lane].flatten().tolist())
                assert said.casefold() in read.casefold()
                assert batch.rewritten[index, lane].all()
                noted += 1
    assert noted >= 4


def test_for_recall_notes_stand_one_behind_the_other(builder: SampleBuilder) -> None:
    roomy = SampleBuilder(builder.tokenizer, replace(builder.config, memory_tokens=64), builder.background, "train")
    shape = SampleShape("recall", lanes=8, segments=2, segment_tokens=256, partial_tokens=40, questions=2)
    batch = roomy.batch(Random(3), shape)
    for lane in range(shape.lanes):
        vectors = [int(v) for index in range(2) for v in (batch.notes[index, lane] >= 0).nonzero()]
        assert vectors == list(range(len(vectors)))
        for index in range(2):
            assert batch.rewritten[index, lane][batch.notes[index, lane] >= 0].all()
    assert (batch.notes >= 0).any()


@pytest.mark.parametrize("mode", ["focus", "recall"])
def test_gate_and_notes_have_lessons(
    mode: Mode, builder: SampleBuilder, tiny_backbone: Callable[..., PreTrainedModel]
) -> None:
    builder = SampleBuilder(builder.tokenizer, replace(builder.config, memory_tokens=64), builder.background, "train")
    model = RecurrentMemoryTransformer(tiny_backbone(), builder.config)
    batch = builder.batch(Random(1), SampleShape(mode, 4, 2, 96, 30))
    lessons = run_batch(model, batch, TrainerSettings(()))
    alone = run_batch(model, batch, TrainerSettings((), gate_weight=0.0, note_weight=0.0))

    assert lessons.gate_loss > 0
    assert lessons.note_loss > 0
    assert lessons.loss.item() > alone.loss.item()
    assert alone.answer_loss == pytest.approx(lessons.answer_loss)


def test_half_precision_is_for_the_backbone_alone(
    builder: SampleBuilder, tiny_backbone: Callable[..., PreTrainedModel]
) -> None:
    model = RecurrentMemoryTransformer(tiny_backbone(), builder.config)
    batch = builder.batch(Random(1), SampleShape("focus", 2, 2, 64, 30))
    whole = run_batch(model, batch, TrainerSettings(()))
    half = run_batch(model, batch, TrainerSettings((), bfloat16=True))
    half.loss.backward()

    assert half.answer_loss == pytest.approx(whole.answer_loss, rel=0.05)
    assert half.answer_loss != whole.answer_loss
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())


def test_a_run_that_was_cut_off_goes_on_with_the_same_losses(
    builder: SampleBuilder, tiny_backbone: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    settings = TrainerSettings((Stage(1, 1, (320,), 900, 3), Stage(2, 1, (320,), 900, 3)), warmup_steps=2)

    def trainer(directory: Path) -> Trainer:
        torch.manual_seed(0)
        return Trainer(RecurrentMemoryTransformer(tiny_backbone(), builder.config), builder, settings, directory)

    whole = [record["loss"] for record in trainer(tmp_path / "whole").train()]
    first = trainer(tmp_path / "cut")
    before = [record["loss"] for record in islice(first.train(), 3)]
    first.save()
    after = [record["loss"] for record in trainer(tmp_path / "cut").train()]

    assert len(whole) == 6
    assert before + after == whole


def test_authors_are_not_shared_between_the_splits() -> None:
    books = [Path(f"{first}_{last}_Book_{n}.txt") for first in "ABCDEFGH" for last in "XYZ" for n in range(2)]
    train, held_out = split_by_author(books)

    assert sorted(train + held_out) == sorted(books)
    assert held_out
    assert not {b.name[:3] for b in train} & {b.name[:3] for b in held_out}
