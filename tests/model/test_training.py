"""Batches are what they say, gradients go where they should, and a run that was cut off goes on as it would have."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import PreTrainedModel

from rmt_model.backbone import load_backbone
from rmt_model.checkpoint import load_checkpoint
from rmt_model.cli import main
from rmt_model.config import RMTConfig
from rmt_model.data.background import Background
from rmt_model.data.documents import DocumentSource, read_lines
from rmt_model.data.mentions import WithMentions
from rmt_model.data.paper import PaperSource
from rmt_model.data.planted import PlantedSource
from rmt_model.data.story import Asked, Kept, Mode, Source, Story, Wish
from rmt_model.errors import DataError, TrainingError
from rmt_model.prompt import PromptBuilder
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.batches import BatchBuilder, Lesson, SampleShape, WeightedSource
from rmt_model.training.branches import Branches
from rmt_model.training.config import (
    GrowthConfig,
    LessonWeights,
    ModelConfig,
    Modes,
    OptimizerConfig,
    Stage,
    TrainingConfig,
)
from rmt_model.training.curriculum import Curriculum, Progress
from rmt_model.training.memory import activation_bytes, free_bytes
from rmt_model.training.questions import Questions
from rmt_model.training.run import TrainingRun, prepare
from rmt_model.training.step import StepOptions, run_batch
from rmt_model.training.trainer import Trainer, TrainerSettings
from rmt_model.weights import own_weights

PROSE = "It was the best of times. It was the worst of times; nobody knew. The age of wisdom came, and went.\n" * 40
PLAIN = StepOptions(LessonWeights())
FOCUS_ONLY = Modes(focus=1, recall=0, both=0)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Tokenizer) -> Tokenizer:
    return tiny_tokenizer


@pytest.fixture(scope="module")
def build(tiny_tokenizer: Tokenizer) -> Callable[..., BatchBuilder]:
    """``build(*sources, **fields of RMTConfig)``; planted facts where no source is given."""
    background = Background.of([PROSE], tiny_tokenizer)

    def make(*sources: Source, **fields: Any) -> BatchBuilder:
        config = RMTConfig("tiny", **{"memory_tokens": 16, "segment_tokens": 64, "update": "gated", **fields})
        weighted = [WeightedSource(source, 1.0) for source in sources or (PlantedSource("train"),)]
        return BatchBuilder(tiny_tokenizer, config, background, weighted)

    return make


@pytest.fixture
def model(
    tiny_backbone: Callable[..., PreTrainedModel], build: Callable[..., BatchBuilder]
) -> RecurrentMemoryTransformer:
    torch.manual_seed(0)
    model = RecurrentMemoryTransformer(tiny_backbone(), build().config)
    torch.nn.init.normal_(model.cell.initial, std=0.1)
    return model


class _Told:
    """A source with one story only."""

    def __init__(self, *statements: str, kept: Sequence[Kept] = (), focus: Sequence[Kept] | None = ()) -> None:
        asked = (Asked("Where is Mary?", "in the office", None if focus is None else tuple(focus)),)
        self.story = Story(statements, asked, tuple(kept))

    def draw(self, rng: Random, wish: Wish) -> Story:
        return self.story


def in_document(batch: Any, tokenizer: Tokenizer, lane: int) -> list[str]:
    return [tokenizer.decode(segment[lane].tolist()) for segment in batch.segments]


def test_what_is_trained_is_what_is_served(build, tokenizer) -> None:
    builder = build(_Told("Mary is in the office."))
    batch = builder.batch(Random(1), SampleShape("focus", 4, 1, 256, 60))
    served = PromptBuilder(tokenizer, builder.config)
    for lane in range(4):
        asked = served.question("Where is Mary?")
        assert batch.prefix[lane].tolist() == served.focus("Where is Mary?")
        assert batch.at_end.ids[lane].tolist()[: len(asked)] == asked
        answer = [label for label in batch.at_end.labels[lane].tolist() if label >= 0]
        assert tokenizer.decode(answer) == " in the office\n"
        assert batch.at_end.labels[lane, len(asked) - 1] == answer[0]
        assert set(batch.at_end.branches.seen[lane].tolist()) == {60}


@pytest.mark.parametrize(("mode", "lengths"), [("focus", [1, 1, 1]), ("both", [1, 0, 0]), ("recall", [0, 0, 0])])
def test_where_the_question_stands(build, mode: Mode, lengths: list[int]) -> None:
    batch = build().batch(Random(1), SampleShape(mode, 2, 2, 128, 10))

    assert [min(1, batch.prefix_of(index).shape[1]) for index in range(3)] == lengths


def test_the_lesson_says_which_vectors_change_where(build, tokenizer) -> None:
    focus = [Kept(0, 0, "office", 16), Kept(1, 4, "best", 1)]
    builder = build(_Told("Mary is in the office.", "It is the best.", focus=focus))
    seen = 0
    for seed in range(20):
        batch = builder.batch(Random(seed), SampleShape("focus", 3, 3, 128, 40))
        for lane in range(3):
            texts = in_document(batch, tokenizer, lane)
            for index, text in enumerate(texts):
                rewritten = batch.lesson.rewritten[index, lane, -1].tolist()
                if "Mary is in the office." in text:
                    assert rewritten == [1] * 16
                    said = [token for token in batch.lesson.notes[index, lane, -1].tolist() if token >= 0]
                    assert tokenizer.decode(said).startswith(" office")
                    seen += 1
                elif "It is the best." in text:
                    assert rewritten == [int(vector == 4) for vector in range(16)]
                    seen += 1
                elif not any(word in text for word in ("Mary", "is the")):
                    assert rewritten == [0] * 16
    assert seen > 40


def test_nobody_knows_what_to_keep_of_a_story_that_is_not_understood(build) -> None:
    batch = build(_Told("Mary is in the office.", focus=None)).batch(Random(1), SampleShape("focus", 8, 3, 128, 0))
    values = batch.lesson.rewritten

    assert set(values.unique().tolist()) == {-1, 0}
    assert (batch.lesson.notes == -100).all()


def test_for_recall_notes_stand_one_behind_the_other(build) -> None:
    roomy = build(memory_tokens=64)
    batch = roomy.batch(Random(3), SampleShape("recall", 8, 2, 256, 40, questions=2))
    for lane in range(8):
        vectors = [int(v) for index in range(2) for v in (batch.lesson.notes[index, lane, -1] >= 0).nonzero()]
        assert sorted(vectors) == list(range(len(vectors)))
        for index in range(2):
            assert (batch.lesson.rewritten[index, lane, -1][batch.lesson.notes[index, lane, -1] >= 0] == 1).all()
    assert (batch.lesson.notes >= 0).any()


def test_a_mention_is_not_what_the_memory_is_for(tokenizer) -> None:
    mentions = "Mary was bored. The office is shut. Some office was open. Nobody saw Mary leave. "
    background = Background.of([PROSE + mentions * 40], tokenizer)
    kept = (Kept(1, 0, "in the office", 16),)
    told = _Told("John is here.", "Mary is in the office.", kept=kept, focus=kept)
    source, passed = WithMentions(told, background, tokenizer), 0
    for seed in range(200):
        story = source.draw(Random(seed), Wish("focus", 300))
        others = [one for one in story.statements if one not in told.story.statements]
        passed += len(others)
        assert all(one in mentions for one in others)
        assert len(others) <= 1
        for each in (*(story.kept or ()), *(story.asked[0].kept or ())):
            assert story.statements[each.after] == "Mary is in the office."
    assert 50 < passed < 110
    crowded = [source.draw(Random(seed), Wish("focus", 30)) for seed in range(50)]
    assert all(story == told.story for story in crowded)


def test_a_row_holds_a_documents_questions_and_only_answers_are_labels(build, tokenizer) -> None:
    asked = build().batch(Random(5), SampleShape("recall", 3, 0, 256, 200, questions=2)).at_end

    assert asked.count == 6
    assert sorted(set(asked.branches.owners.flatten().tolist())) == [-1, 0, 1, 2, 3, 4, 5]
    for row in range(3):
        labels = asked.labels[row][asked.labels[row] >= 0].tolist()
        text = tokenizer.decode(labels)
        assert text.count("\n") == 2
        assert "Question" not in text


def test_questions_along_the_way_come_when_the_answer_is_there(build, tokenizer) -> None:
    """Each behind the statement that it is asked after, and before the one that follows."""
    told = _Told("Mary is in the office.", "Mary is in the garden.")
    main = told.story.asked[0]
    told.story = replace(told.story, asked=(main, replace(main, after=0), replace(main, answer="in the garden")))
    builder, early = build(told), 0
    for seed in range(30):
        batch = builder.batch(Random(seed), SampleShape("focus", 4, 3, 128, 40, questions=4))
        for lane in range(4):
            texts = [segment[lane].tolist() for segment in (*batch.segments, batch.partial)]
            for index, asked in enumerate((*batch.asked, batch.at_end)):
                owned = asked.branches.owners[lane].unique().tolist() if asked is not None else []
                for owner in filter(lambda owner: owner >= 0, owned):
                    here = asked.branches.owners[lane] == owner
                    seen = int(asked.branches.seen[lane][here][0])
                    before = tokenizer.decode([*chain.from_iterable(texts[:index]), *texts[index][:seen]])
                    at_end = index == 3 and seen == 40
                    assert "Mary is in the office." in before
                    assert ("Mary is in the garden." in before) == at_end
                    early += not at_end
    assert early > 60


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("mode", ["focus", "both", "recall"])
def test_a_question_along_the_way_is_what_a_document_ending_there_would_be_asked(
    mode: Mode, family: str, attention: str, tiny_backbone, build
) -> None:
    """Branches of one pass give the losses that served prompts give, one by one."""
    builder = build(PaperSource(), PlantedSource("train"))
    model = RecurrentMemoryTransformer(tiny_backbone(family), builder.config).eval()
    model.backbone.set_attn_implementation(attention)
    torch.nn.init.normal_(model.cell.initial, std=0.1)
    batch, checked = builder.batch(Random(4), SampleShape(mode, 3, 2, 96, 40, questions=3)), 0
    losses: list[float] = []
    with torch.no_grad():
        memory = model.cell.fresh(3)
        for index, asked in enumerate((*batch.asked, batch.at_end)):
            text = batch.segments[index] if index < 2 else batch.partial
            prefix = batch.prefix_of(index)
            for number in range(asked.count if asked is not None else 0):
                lane, columns = asked.branches.owners.eq(number).nonzero().unbind(1)
                one, labels = lane[:1], asked.labels[lane[0], columns]
                seen = int(asked.branches.seen[lane[0], columns[0]])
                served = torch.cat((prefix[one], text[one, :seen], asked.ids[one][:, columns]), dim=1)
                logits = model.project(model.hidden_after(memory[one], served))[0, -len(columns) :]
                losses.append(functional.cross_entropy(logits, labels).item())
                checked += 0 < seen < text.shape[1]
            memory = model.read(memory, torch.cat((prefix, text), dim=1))
        together = run_batch(model, batch, PLAIN).answer_loss

    assert checked > 3
    assert together == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_segment_writes_at_its_endings_what_it_would_write_if_it_ended_there(
    family: str, tiny_backbone, build
) -> None:
    """Gate and note losses of one pass are those of the shorter segments, each read alone."""
    builder = build(PaperSource(), PlantedSource("train"))
    model = RecurrentMemoryTransformer(tiny_backbone(family), builder.config).eval()
    for parameter in model.cell.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = builder.batch(Random(4), SampleShape("focus", 6, 2, 96, 10, questions=2, endings=3))
    gates, notes = list[torch.Tensor](), list[torch.Tensor]()
    with torch.no_grad():
        memory = model.cell.fresh(6)
        for index, segment in enumerate(batch.segments):
            tokens = torch.cat((batch.prefix_of(index), segment), dim=1)
            for lane in range(6):
                for ending, seen in enumerate(batch.lesson.seen[index, lane].tolist()):
                    until = tokens[lane : lane + 1, : tokens.shape[1] - 96 + seen]
                    written = model.write(memory[lane : lane + 1], until)
                    rewritten = batch.lesson.rewritten[index, lane, ending]
                    known, logits = rewritten >= 0, model.cell.update.logits(memory[lane : lane + 1], written)[0]
                    kept = (rewritten[known] == 0).float()
                    gates.append(functional.binary_cross_entropy_with_logits(logits[known], kept, reduction="none"))
                    wanted = batch.lesson.notes[index, lane, ending]
                    if (wanted >= 0).any():
                        said = model.project(written[0][wanted >= 0] / model.cell.scale)
                        notes.append(functional.cross_entropy(said, wanted[wanted >= 0]))
            memory = model.read(memory, tokens)
        result = run_batch(model, batch, PLAIN)

    assert len(notes) > 10
    assert result.gate_loss == pytest.approx(torch.cat(gates).mean().item(), rel=1e-4)
    assert result.note_loss == pytest.approx(torch.stack(notes).mean().item(), rel=1e-4)


def test_the_lesson_of_an_ending_is_of_what_was_read_before_it(build, tokenizer) -> None:
    builder = build(_Told("Mary is in the office.", focus=[Kept(0, 0, "office", 16)]))
    before = after = 0
    for seed in range(30):
        batch = builder.batch(Random(seed), SampleShape("focus", 3, 2, 128, 40, endings=3))
        for at in np.ndindex(2, 3, 3):
            text = tokenizer.decode(batch.segments[at[:2]][: batch.lesson.seen[at]].tolist())
            rewritten, notes = batch.lesson.rewritten[at].tolist(), batch.lesson.notes[at]
            if "Mary is in the office." in text:
                assert rewritten == [1] * 16
                assert tokenizer.decode(notes[notes >= 0].tolist()).startswith(" office")
                after += 1
            elif not any(word in text for word in ("Mary", "is in", "office")):
                assert rewritten == [0] * 16
                assert (notes == -100).all()
                before += 1
    assert min(before, after) > 50


def test_answers_are_counted_by_source(tokenizer, build, model) -> None:
    sources = [WeightedSource(_Told("Mary is in the office."), 1.0, "one"), WeightedSource(PaperSource(), 1.0, "two")]
    builder = BatchBuilder(tokenizer, build().config, Background.of([PROSE], tokenizer), sources)
    batch = builder.batch(Random(2), SampleShape("recall", 8, 2, 128, 10, questions=3))
    result, single = run_batch(model, batch, PLAIN), batch.sources.count("one")

    assert set(result.sources) == {"one", "two"}
    assert 0 < result.sources["one"].questions == single
    questions = sum(one.questions for one in result.sources.values())
    assert questions == sum(one.count for one in (*batch.asked, batch.at_end) if one is not None) > 8
    total = sum(one.loss for one in result.sources.values())
    assert total / questions == pytest.approx(result.answer_loss, rel=1e-5)


def test_sources_are_drawn_by_weight(tokenizer, build) -> None:
    sources = [WeightedSource(PaperSource(["detect"]), 3.0), WeightedSource(PaperSource(["reasoning"]), 1.0)]
    builder = BatchBuilder(tokenizer, build().config, Background.of([PROSE], tokenizer), sources)
    batch = builder.batch(Random(1), SampleShape("recall", 400, 1, 128, 0))
    where = sum("Where is" in tokenizer.decode(row.tolist()) for row in batch.at_end.ids)

    assert 250 < where < 350


def test_short_documents_are_left_to_the_sources_that_are_for_them(tokenizer, build) -> None:
    sources = [WeightedSource(PaperSource(), 1.0, "any"), WeightedSource(PaperSource(), 1.0, "long", from_tokens=160)]
    builder = BatchBuilder(tokenizer, build().config, Background.of([PROSE], tokenizer), sources)

    assert set(builder.batch(Random(1), SampleShape("recall", 40, 1, 128, 31)).sources) == {"any"}
    assert set(builder.batch(Random(1), SampleShape("recall", 40, 1, 128, 32)).sources) == {"any", "long"}


def test_a_story_that_never_fits_is_an_error(build) -> None:
    with pytest.raises(DataError, match="no story out of 64 fits into a document of 20 tokens: statements of"):
        build(_Told("Mary is in the office. " * 9)).batch(Random(1), SampleShape("focus", 1, 0, 64, 20))


def test_a_long_answer_counts_no_more_than_a_short_one(build, model, tokenizer) -> None:
    """Two documents, two answers of different length: the loss is the mean of what each has alone."""
    shape = SampleShape("recall", 1, 0, 64, 30)
    short, long = _Told("Mary is here."), _Told("Mary is here.")
    long.story = replace(
        long.story, asked=(replace(long.story.asked[0], answer="in the office of the bathroom again"),)
    )
    background = Background.of([PROSE], tokenizer)
    builder = BatchBuilder(tokenizer, build().config, background, [WeightedSource(_InTurn(long, short), 1.0)])
    both = builder.batch(Random(1), replace(shape, lanes=2))

    def alone(lane: int) -> Any:
        def of(rows: torch.Tensor) -> torch.Tensor:
            return rows[lane : lane + 1]

        asked = both.at_end
        owners = torch.where(asked.branches.owners == lane, 0, -1)
        branches = Branches(of(owners), of(asked.branches.seen), of(asked.branches.steps))
        labels = asked.labels.where(owners == 0, -100)
        questions = Questions(of(asked.ids), of(labels), branches, torch.tensor([0]))
        return replace(both, shape=shape, prefix=of(both.prefix), partial=of(both.partial), at_end=questions)

    losses = [run_batch(model, alone(lane), PLAIN).answer_loss for lane in range(2)]
    assert len(set((both.at_end.labels >= 0).sum(1).tolist())) == 2
    assert run_batch(model, both, PLAIN).answer_loss == pytest.approx(sum(losses) / 2, rel=1e-4)


class _InTurn:
    """The stories of two sources, one after the other."""

    def __init__(self, *sources: _Told) -> None:
        self.stories = [source.story for source in sources]

    def draw(self, rng: Random, wish: Wish) -> Story:
        self.stories.append(self.stories.pop(0))
        return self.stories[-1]


def test_a_question_in_front_of_the_first_segment_alone_may_be_kept_anyhow(build) -> None:
    batch = build(_Told("Mary is in the office.")).batch(Random(1), SampleShape("both", 8, 3, 128, 0))

    assert (batch.lesson.rewritten[0] == -1).all()
    assert (batch.lesson.rewritten[1:] == 0).any()
    assert (batch.lesson.notes == -100).all()


@pytest.mark.parametrize("mode", ["focus", "recall"])
def test_gate_and_notes_have_lessons(mode: Mode, build, model) -> None:
    batch = build().batch(Random(1), SampleShape(mode, 4, 2, 96, 30))
    lessons = run_batch(model, batch, PLAIN)
    alone = run_batch(model, batch, StepOptions(LessonWeights(gate=0.0, note=0.0)))

    assert lessons.gate_loss > 0
    assert lessons.note_loss > 0
    assert lessons.loss.item() == pytest.approx(alone.loss.item() + lessons.gate_loss + lessons.note_loss, rel=1e-5)
    assert alone.answer_loss == pytest.approx(lessons.answer_loss)


def test_half_precision_is_for_the_backbone_alone(build, model) -> None:
    batch = build().batch(Random(1), SampleShape("focus", 2, 2, 64, 30))
    whole = run_batch(model, batch, PLAIN)
    half = run_batch(model, batch, replace(PLAIN, bfloat16=True))
    half.loss.backward()

    assert half.answer_loss == pytest.approx(whole.answer_loss, rel=0.05)
    assert half.answer_loss != whole.answer_loss
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())


def gradients(model: RecurrentMemoryTransformer, batch: Any, options: StepOptions) -> dict[str, torch.Tensor]:
    model.zero_grad()
    run_batch(model, batch, options).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_recomputed_activations_give_the_same_gradients(build, model) -> None:
    batch = build().batch(Random(1), SampleShape("focus", 2, 3, 96, 30))
    kept, again = gradients(model, batch, PLAIN), gradients(model, batch, replace(PLAIN, recompute=True))

    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-6)


def test_truncation_really_cuts_gradients(build, model) -> None:
    """What the first memory gets is the proof: it is reached through every segment, or not at all."""
    batch = build().batch(Random(1), SampleShape("recall", 2, 4, 96, 30))
    start = model.cell.initial

    def of_start(bptt_segments: int | None) -> float:
        model.zero_grad()
        run_batch(model, batch, replace(PLAIN, bptt_segments=bptt_segments)).loss.backward()
        return 0.0 if start.grad is None else float(start.grad.abs().sum())

    whole = of_start(None)
    assert whole > 0
    assert of_start(4) == pytest.approx(whole, rel=1e-4)
    assert of_start(3) == 0
    assert of_start(1) == 0


def test_a_truncated_step_is_the_step_that_starts_from_that_memory(build, model) -> None:
    """The loss of the last two segments, from a memory that the first two left behind, and nothing else."""
    shape = SampleShape("recall", 2, 4, 96, 30)
    batch = build().batch(Random(1), shape)
    lesson = batch.lesson
    with torch.no_grad():
        memory = model.read_all(model.cell.fresh(2), list(batch.segments[:2]))
    late = replace(
        batch,
        segments=batch.segments[2:],
        lesson=Lesson(lesson.seen[2:], lesson.rewritten[2:], lesson.notes[2:]),
        asked=batch.asked[2:],
    )
    truncated = gradients(model, batch, replace(PLAIN, bptt_segments=2))
    model.cell.fresh = lambda lanes: memory  # type: ignore[method-assign]
    from_there = gradients(model, late, PLAIN)

    assert truncated.keys() == from_there.keys()
    for name, gradient in from_there.items():
        torch.testing.assert_close(truncated[name], gradient, rtol=1e-3, atol=1e-4)


def stage(**fields: Any) -> Stage:
    return Stage(**{"max_steps": 3, "max_segments": 1, "segment_tokens": (320,), "step_tokens": 900, **fields})


def test_shapes_keep_to_their_stage() -> None:
    stages = (stage(max_segments=3, max_recall_segments=1, segment_tokens=(48, 64), step_tokens=2000),)
    curriculum = Curriculum(stages, 7, memory_tokens=16)
    shapes = [curriculum.shape(step, 0) for step in range(300)]

    assert {shape.mode for shape in shapes} == {"focus", "recall", "both"}
    assert {shape.segments for shape in shapes if shape.mode == "focus"} == {0, 1, 2, 3}
    assert {shape.segments for shape in shapes if shape.mode == "recall"} == {0, 1}
    assert {shape.segment_tokens for shape in shapes} == {48, 64}
    assert all(0 <= shape.partial_tokens < shape.segment_tokens for shape in shapes)
    assert all(shape.lanes * shape.document_tokens <= 2000 for shape in shapes)
    assert shapes == [Curriculum(stages, 7, memory_tokens=16).shape(step, 0) for step in range(300)]


def test_long_segments_are_fewer_where_documents_have_a_limit() -> None:
    limited = stage(max_segments=8, segment_tokens=(64, 128, 384, 768), document_tokens=600, longest_share=0.5)
    curriculum = Curriculum((limited,), 7, memory_tokens=16)
    shapes = [curriculum.shape(step, 0) for step in range(300)]

    most = {length: max(s.segments for s in shapes if s.segment_tokens == length) for length in (64, 128, 384, 768)}
    assert most == {64: 8, 128: 4, 384: 1, 768: 0}
    progress = Progress()
    curriculum.advance(progress, [(replace(shapes[0], mode="focus", segments=4, segment_tokens=128), 1.0)])
    assert progress.accuracy == {"focus": pytest.approx(0.1)}


def test_a_stage_ends_when_every_mode_is_good_or_its_steps_are_done() -> None:
    modes = Modes(focus=1, recall=1, both=0)
    curriculum = Curriculum((stage(max_steps=99, advance_at=0.5, modes=modes), stage(max_steps=2)), 1, 16)
    progress, focus = Progress(), SampleShape("focus", 4, 1, 320, 10)
    for _ in range(30):
        curriculum.advance(progress, [(focus, 1.0)])
    assert progress.stage == 0
    for _ in range(6):
        curriculum.advance(progress, [(replace(focus, mode="recall", segments=0), 1.0)])
    assert progress.stage == 0, "short documents do not count"
    for _ in range(7):
        curriculum.advance(progress, [(replace(focus, mode="recall"), 1.0)])
    assert (progress.stage, progress.stage_step, progress.accuracy) == (1, 0, {})
    for _ in range(2):
        curriculum.advance(progress, [(focus, 0.0)])
    assert curriculum.finished(progress)


def test_the_rate_rises_stays_and_falls() -> None:
    curriculum = Curriculum((stage(max_steps=10), stage(max_steps=20)), 1, 16)

    def rate(step: int, number: int, stage_step: int) -> float:
        return curriculum.rate(Progress(step, number, stage_step), warmup_steps=4, decay_steps=10)

    assert rate(0, 0, 0) == 0.25
    assert rate(9, 0, 9) == 1.0
    assert rate(15, 1, 5) == 1.0
    assert rate(25, 1, 15) == 0.5
    assert rate(29, 1, 19) == pytest.approx(0.1)


@pytest.fixture
def settings() -> TrainerSettings:
    return TrainerSettings((stage(), stage(max_segments=2)), OptimizerConfig(warmup_steps=2, decay_steps=2))


@pytest.fixture
def trainer(tiny_backbone, build, settings, tmp_path) -> Callable[..., Trainer]:
    def make(name: str = "run", **changed: Any) -> Trainer:
        torch.manual_seed(0)
        fresh = RecurrentMemoryTransformer(tiny_backbone(), build().config)
        return Trainer(fresh, build(), replace(settings, **changed), tmp_path / name)

    return make


def losses(records: Any) -> list[float]:
    return [record["loss"] for record in records]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_was_cut_off_goes_on_with_the_same_losses(trainer, settings, tmp_path, accumulate: int) -> None:
    optimizer = settings.optimizer.model_copy(update={"accumulate": accumulate})
    whole = losses(trainer("whole", optimizer=optimizer).train())
    first = trainer("cut", optimizer=optimizer)
    before = losses(islice(first.train(), 3))
    first.save()
    losses(islice(first.train(), 1))  # a step that is lost with the process
    after = losses(trainer("cut", optimizer=optimizer).train())

    assert len(whole) == 6
    assert before + after == whole
    logged = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in logged] == list(range(6))
    assert losses(logged) == whole


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_built_in_processes_are_the_same(trainer, settings) -> None:
    optimizer = settings.optimizer.model_copy(update={"accumulate": 2})
    in_a_thread = losses(trainer("thread", optimizer=optimizer).train())
    in_processes = losses(trainer("processes", optimizer=optimizer, builders=2).train())

    assert in_processes == in_a_thread


def test_accumulated_batches_are_one_step(trainer, settings) -> None:
    optimizer = settings.optimizer.model_copy(update={"accumulate": 3})
    run = trainer("three", optimizer=optimizer)
    start = run.model.cell.initial.detach().clone()
    record = next(iter(run.train()))

    assert record["step"] == 0
    assert run.progress.step == 1
    assert run.optimizer.state[run.model.cell.initial]["step"] == 1
    assert not torch.equal(start, run.model.cell.initial)


def test_the_curves_are_drawn(trainer, tmp_path) -> None:
    list(trainer().train())
    picture = (tmp_path / "run" / "curves.svg").read_text()

    assert picture.startswith("<?xml")
    for name in ("answers wholly right", "gate loss", "step"):
        assert f"<!-- {name} -->" in picture
    assert not (tmp_path / "run" / "state.partial").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_state(trainer, tmp_path) -> None:
    run = trainer()
    list(islice(run.train(), 2))
    run.save()
    good = (tmp_path / "run" / "state.pt").read_bytes()
    with torch.no_grad():
        run.model.cell.initial[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"not a number at step 2; the last good state is .*state.pt"):
        list(run.train())

    assert (tmp_path / "run" / "state.pt").read_bytes() == good
    assert len(losses(trainer().train())) == 4


def test_a_full_disk_is_said_before_the_run(trainer, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(TrainingError, match=r"has 0 MiB of free disk; the resumable state needs \d+ MiB"):
        trainer()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_leaves_the_state_before(trainer, tmp_path) -> None:
    run = trainer()
    run.save()
    good = (tmp_path / "run" / "state.pt").read_bytes()
    (tmp_path / "run" / "state.partial").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"cannot be written: .*the last good state is"):
        run.save()

    assert (tmp_path / "run" / "state.pt").read_bytes() == good
    assert not (tmp_path / "run" / "state.partial").exists()


def test_the_state_of_another_model_is_refused(trainer, tiny_backbone, build, settings, tmp_path) -> None:
    trainer().save()
    other = RecurrentMemoryTransformer(tiny_backbone(layers=3), build().config)
    with pytest.raises(TrainingError, match=r"state.pt is of another model"):
        Trainer(other, build(), settings, tmp_path / "run")


@pytest.mark.parametrize("keep_bytes", [0, 100, 20_000])
def test_a_damaged_state_is_refused(trainer, tmp_path, keep_bytes: int) -> None:
    trainer().save()
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:keep_bytes])
    with pytest.raises(TrainingError, match=r"state.pt cannot be read: .*; remove it to begin anew"):
        trainer()


def test_activations_are_computed_twice_when_they_would_not_fit(trainer, monkeypatch) -> None:
    run = trainer()
    (batch,) = [run.builder.batch(Random(1), run.curriculum.shape(0, 0))]
    assert not run._options(batch).recompute
    monkeypatch.setattr("rmt_model.training.memory.free_bytes", lambda device: 1_000_000)
    assert run._options(batch).recompute
    shape = batch.shape
    more = activation_bytes(run.model, replace(shape, segments=8))
    assert more > 3 * activation_bytes(run.model, replace(shape, segments=1))
    assert activation_bytes(run.model, replace(shape, segments=8), bptt_segments=1) < more / 3


def test_free_memory_is_what_the_system_says() -> None:
    assert 1 << 26 < free_bytes(torch.device("cpu")) < 1 << 46


def test_the_activation_estimate_is_of_the_right_size(model, build) -> None:
    """Against what autograd really keeps, on a backbone wide enough for it to matter."""
    batch = build().batch(Random(1), SampleShape("recall", 4, 3, 128, 100))
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run_batch(model, batch, PLAIN)
    estimate = activation_bytes(model, batch.shape)
    assert kept / 4 < estimate < kept * 4


CONFIG = """
run = "run"
device = "cpu"
save_every_s = {save_every_s}

[model]
{model}

[optimizer]
warmup_steps = 2
decay_steps = 2

{background}

[[stages]]
max_steps = {max_steps}
max_segments = 1
segment_tokens = [64]
step_tokens = 400

[[sources]]
{source}
"""


@pytest.fixture
def written(tmp_path, backbone_dir) -> Callable[..., Path]:
    """Writes a configuration beside 40 lines of one's own and a book; returns its path."""
    lines = [
        {
            "document": " ".join(f"Ship {n} carries load {n * number} to town." for n in range(20)),
            "question": "What does ship 7 carry?",
            "answer": f"load {7 * number}",
        }
        for number in range(1, 41)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "Some_Author_Book.txt").write_text(PROSE)

    def write(**changed: Any) -> Path:
        fields = {
            "model": f'base = "{backbone_dir()}"\nsegment_tokens = 64',
            "background": '[background]\nbooks = "books"',
            "source": 'kind = "lines"\npath = "mine.jsonl"',
            "max_steps": 3,
            "save_every_s": 180,
            **changed,
        }
        path = tmp_path / "train.toml"
        path.write_text(CONFIG.format(**fields))
        return path

    return write


@pytest.mark.parametrize("background", ['[background]\nbooks = "books"', ""])
@pytest.mark.parametrize("adapter", ["", "[model.adapter]\nrank = 2"])
def test_from_ones_own_lines_to_a_served_checkpoint(
    written, capsys, backbone_dir, adapter: str, background: str
) -> None:
    config = written(model=f'base = "{backbone_dir()}"\nsegment_tokens = 64\n{adapter}', background=background)
    assert main(["train", str(config)]) == 0
    out, err = capsys.readouterr()
    checkpoint = Path(out.strip())

    assert checkpoint == config.parent / "run" / "checkpoint"
    assert "3/3" in err
    text = config.parent / "document.txt"
    text.write_text("Ship 7 carries load 70 to town. " * 20)
    state = str(config.parent / "memory")
    assert main(["read", str(text), "--checkpoint", str(checkpoint), "--out", state, "--device", "cpu"]) == 0
    assert main(["ask", state, "What does ship 7 carry?", "--checkpoint", str(checkpoint), "--json"]) == 0
    assert "confidence" in capsys.readouterr().out
    assert main(["inspect", str(checkpoint), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["provenance"]["steps"] == 3
    assert facts["weights"] == ("adapter" if adapter else "full")


def test_a_model_that_grows_is_served_when_it_is_grown(written, capsys, backbone_dir, tiny_checkpoint) -> None:
    start = tiny_checkpoint(base_layers=4, layers=(1, 2), memory_tokens=16)
    growth = f'[model.growth]\nstart = "{start}"\nrank = 3\nsteps = '
    model = f'base = "{backbone_dir("llama", 4)}"\nsegment_tokens = 64\n[model.adapter]\nrank = 2\n{growth}'
    early = written(model=f"{model}4", max_steps=3)
    assert main(["train", str(early)]) == 1
    assert "the model grows until step 4" in capsys.readouterr().err
    shutil.rmtree(early.parent / "run")
    assert main(["train", str(written(model=f"{model}4", max_steps=5))]) == 0
    checkpoint = load_checkpoint(capsys.readouterr().out.strip())

    assert checkpoint.model.backbone.config.num_hidden_layers == 4
    assert checkpoint.config.provenance["start"] == start.name


def test_halving_what_an_adapter_leaves_alone_changes_no_step(written, backbone_dir) -> None:
    model = f'base = "{backbone_dir()}"\nsegment_tokens = 64\n[model.adapter]\nrank = 2'

    def prepared(dtype: str) -> TrainingRun:
        config = TrainingConfig.read(written(model=model, save_every_s=f'180\ndtype = "{dtype}"'))
        return prepare(config.model_copy(update={"run": config.run / dtype}))

    halved, whole = prepared("bfloat16"), prepared("float32")
    batch = halved.trainer.builder.batch(Random(1), SampleShape("recall", 2, 1, 64, 20))
    losses = [run_batch(one.trainer.model, batch, replace(PLAIN, bfloat16=True)).loss for one in (halved, whole)]

    assert losses[0].item() == losses[1].item()
    kept = {(p.requires_grad, p.dtype) for p in halved.trainer.model.body.layers.parameters() if p.ndim == 2}
    assert kept == {(False, torch.bfloat16), (True, torch.float32)}


@pytest.mark.parametrize("adapter", ["", "[model.adapter]\nrank = 2"])
@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gpt_neox"])
def test_any_causal_language_model_is_trained(written, capsys, backbone_dir, family: str, adapter: str) -> None:
    base = backbone_dir(family)
    assert main(["train", str(written(model=f'base = "{base}"\nsegment_tokens = 64\n{adapter}'))]) == 0
    trained = load_checkpoint(capsys.readouterr().out.strip())
    fresh = own_weights(load_backbone(base))

    changed = [name for name, weight in own_weights(trained.model.backbone).items() if not weight.equal(fresh[name])]
    assert len(changed) > 5
    assert not any("embed" in name or "wte" in name for name in changed)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch.compile warns of what it finds in torch itself
def test_a_compiled_body_is_trained(written, backbone_dir) -> None:
    config = written(max_steps=2, model=f'base = "{backbone_dir(layers=1)}"\nsegment_tokens = 64')
    config.write_text("compile = true\n" + config.read_text())
    assert main(["train", str(config)]) == 0
    log = (config.parent / "run" / "log.jsonl").read_text()
    shutil.rmtree(config.parent / "run")
    config.write_text(config.read_text().replace("compile = true", ""))
    assert main(["train", str(config)]) == 0

    compiled, plain = (
        [json.loads(line) for line in text.splitlines()]
        for text in (log, (config.parent / "run" / "log.jsonl").read_text())
    )
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-2)


def test_a_checkpoint_is_trained_further(written, capsys, tiny_checkpoint) -> None:
    start = tiny_checkpoint(segment_tokens=32, memory_tokens=4)
    assert main(["train", str(written(model=f'start = "{start}"'))]) == 0
    trained = capsys.readouterr().out.strip()

    assert main(["inspect", trained, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["segment_tokens"], facts["memory_tokens"]) == (32, 4)


@pytest.mark.faults
def test_a_killed_and_a_stopped_run_go_on_with_the_same_curve(written, tmp_path) -> None:
    command = [sys.executable, "-m", "rmt_model.cli", "train", str(written(max_steps=24, save_every_s=0.01))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def log() -> list[dict[str, Any]]:
        file = tmp_path / "run" / "log.jsonl"
        return (
            [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")] if file.exists() else []
        )

    def until(steps: int, number: signal.Signals) -> tuple[int, str]:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while len(log()) < steps and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert steps <= len(log()) < 24, "it was to end in the middle"
        return process.returncode, err

    assert until(4, signal.SIGKILL)[0] == -signal.SIGKILL
    returncode, err = until(9, signal.SIGTERM)
    assert returncode == 0
    assert f"saved at step {len(log())}; the same command goes on" in err
    assert main(["train", command[-1], "--export"]) == 0
    assert load_checkpoint(tmp_path / "run" / "checkpoint").model.config.provenance["steps"] == len(log())
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=100)
    cut = log()
    for file in (tmp_path / "run").iterdir():
        if file.is_file():
            file.unlink()
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=100)

    assert [record["step"] for record in cut] == list(range(24))
    assert losses(cut) == losses(log())


def test_a_run_without_steps_has_nothing_to_export(written, capsys) -> None:
    assert main(["train", str(written()), "--export"]) == 1
    assert "state.pt is not there yet: nothing was trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": 'kind = "lines"\npath = "none.jsonl"'}, "none.jsonl cannot be read"),
        ({"source": 'kind = "lines"'}, "sources.0: Value error, kind 'lines' needs a path"),
        ({"source": 'kind = "babi"\npath = "books"'}, "babi needs tasks"),
        ({"source": 'kind = "paper"', "background": ""}, "source 'paper' is hidden in other text"),
        ({"source": 'kind = "paper"\nfrom_tokens = 160'}, "short documents need a source too"),
        ({"source": 'kind = "planted"\nkinds = ["ghosts"]'}, "not 'ghosts'"),
        ({"max_steps": 0}, "stages.0.max_steps"),
        ({"model": ""}, "give either start (a checkpoint) or base (a backbone)"),
        ({"model": 'start = "none"'}, "no checkpoint none"),
        ({"background": '[background]\nbooks = "empty"'}, "holds no book"),
        ({"background": "[background"}, "cannot be read as TOML"),
        ({"background": "", "max_steps": "3\nbptt_segments = 0"}, "stages.0.bptt_segments"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(written, capsys, changed: dict[str, Any], message: str) -> None:
    assert main(["train", str(written(**changed))]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_document_shorter_than_asked_is_named(written, capsys, tmp_path) -> None:
    with (tmp_path / "mine.jsonl").open("a") as file:
        file.write('{"document": "Too short.", "question": "How?", "answer": "short"}\n')
    assert main(["train", str(written(background=""))]) == 1

    assert "mine.jsonl:41: the document has" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[2] / "model" / "recipes").glob("*.toml")), ids=str)
def test_recipes_are_configurations(recipe: Path) -> None:
    config = TrainingConfig.read(recipe)

    assert config.run.name == recipe.stem
    in_one_segment = config.stages[0].max_segments == 0
    assert in_one_segment or config.model.growth is not None, "without a first stage in one segment nothing is learned"


def test_every_setting_is_documented() -> None:
    """docs/training.md names each field of each table."""
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    tables = [TrainingConfig, ModelConfig, GrowthConfig, Stage, Modes, OptimizerConfig, LessonWeights]
    for table in tables:
        for name, field in table.model_fields.items():
            assert f"`{name}`" in text, f"{table.__name__}.{name}"
            assert field.description


def test_a_source_of_documents_gives_batches(build, written, tmp_path) -> None:
    written()
    source = DocumentSource(read_lines(tmp_path / "mine.jsonl"))
    batch = build(source).batch(Random(1), SampleShape("focus", 8, 2, 64, 20))

    assert (batch.lesson.rewritten == 1).any()
    assert batch.at_end.count == 8


def test_a_document_that_is_cut_is_not_asked_for_what_was_cut_off(build, tokenizer, tmp_path) -> None:
    ships = " ".join(f"Ship {n} carries load {1000 + n} to town." for n in range(40))
    lines = [
        {"document": ships, "question": f"What does ship {n} carry?", "answer": f"load {1000 + n}"} for n in range(40)
    ]
    (tmp_path / "ships.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = [WeightedSource(DocumentSource(read_lines(tmp_path / "ships.jsonl")), 1.0)]
    builder, along = BatchBuilder(tokenizer, build().config, None, sources), 0
    for seed in range(20):
        batch = builder.batch(Random(seed), SampleShape("recall", 2, 1, 128, 60, questions=20))
        for lane in range(2):
            read: list[int] = []
            for asked, text in zip((*batch.asked, batch.at_end), (batch.segments[0], batch.partial), strict=True):
                here = asked.branches.owners[lane] if asked is not None else torch.empty(0)
                for owner in here[here >= 0].unique().tolist():
                    labels = asked.labels[lane][here == owner]
                    seen = int(asked.branches.seen[lane][here == owner][0])
                    before = tokenizer.decode([*read, *text[lane, :seen].tolist()])
                    assert tokenizer.decode(labels[labels >= 0].tolist()).strip() in before
                    along += 1
                read += text[lane].tolist()
    assert along > 60
