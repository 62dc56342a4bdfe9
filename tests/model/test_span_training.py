"""Training a span reader: batches are what they say, and a run that was stopped goes on as if it had not been."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from tests.serving import one_thread
from tests.tiny_models import MPNET_PIECES, build_span_reader, build_word_pieces, train_tokenizer
from tokenizers import Tokenizer
from torch import Tensor

from rmt_model.config import RMTConfig
from rmt_model.data.passages import Passage, SpanQuestion
from rmt_model.encoder_checkpoint import EncoderCheckpoint
from rmt_model.errors import TrainingError
from rmt_model.span_reader import SpanReader
from rmt_model.training.span_batches import (
    MOST_QUESTION_TOKENS,
    CorpusSource,
    SpanBatch,
    SpanBatchBuilder,
    WeightedSource,
)
from rmt_model.training.span_loss import Teacher, span_loss
from rmt_model.training.span_trainer import SpanSettings, SpanTrainer, batch_shape

PEOPLE = ["Mary", "John", "Daniel", "Sandra"]
PLACES = ["garden", "kitchen", "bedroom", "bathroom", "office", "hallway"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def story(seed: int, sentences: int = 40) -> Passage:
    """A story; who went to a place that comes up once is asked for, and who went to one that is not there."""
    rng = Random(seed)
    said = [f"{rng.choice(PEOPLE)} went to the {rng.choice(PLACES)} of house {n}." for n in range(sentences)]
    text, questions = "", []
    for number, sentence in enumerate(said):
        who = sentence.split()[0]
        asked = f"Who went to house {number}?"
        questions.append(SpanQuestion(asked, ((len(text), len(text) + len(who)),)))
        text += sentence + (" " if number % 5 else "\n")
    questions += [SpanQuestion(f"Who went to house {sentences + number}?") for number in range(4)]
    return Passage("stories", f"story {seed}", text, tuple(questions))


def builder(
    word_pieces: Tokenizer, negatives: float = 0.3, passages: Sequence[Passage] | None = None
) -> SpanBatchBuilder:
    some = CorpusSource(passages or [story(seed) for seed in range(6)])
    others = CorpusSource([story(seed, 3) for seed in range(10, 14)])
    return SpanBatchBuilder(
        word_pieces, [WeightedSource("stories", some, 3.0, negatives), WeightedSource("short", others, 1.0, negatives)]
    )


def same(found: SpanBatch, wanted: SpanBatch) -> None:
    assert found.sources == wanted.sources
    rows = zip(
        [found.question, *found.segments, *found.starts, *found.ends],
        [wanted.question, *wanted.segments, *wanted.starts, *wanted.ends],
        strict=True,
    )
    assert all(torch.equal(one, other) for one, other in rows)


def words(word_pieces: Tokenizer, ids: Tensor) -> str:
    return str(word_pieces.decode([int(one) for one in ids if one]))


# ---------------------------------------------------------------------------- batches


@pytest.mark.parametrize("segments", [1, 3])
def test_a_batch_depends_on_its_random_state_alone(word_pieces: Tokenizer, segments: int) -> None:
    shape = {"lanes": 9, "segments": segments, "segment_tokens": 64}
    first, second = builder(word_pieces), builder(word_pieces)
    first.batch(Random(99), **shape)
    for seed in range(5):
        same(first.batch(Random(seed), **shape), second.batch(Random(seed), **shape))
    other = first.batch(Random(6), **shape)
    assert not torch.equal(other.question, first.batch(Random(7), **shape).question)


@pytest.mark.parametrize(("segments", "segment_tokens"), [(1, 48), (1, 400), (2, 64), (4, 96)])
def test_a_batch_has_the_shape_that_was_asked_for(word_pieces: Tokenizer, segments: int, segment_tokens: int) -> None:
    """However sentences end: no segment is longer."""
    for seed in range(12):
        batch = builder(word_pieces).batch(Random(seed), lanes=20, segments=segments, segment_tokens=segment_tokens)
        assert [len(some) for some in (batch.segments, batch.starts, batch.ends)] == [segments] * 3
        assert batch.question.shape[0] == len(batch.sources) == 20
        assert batch.question.shape[1] % 8 == 0
        for told, starts, ends in zip(batch.segments, batch.starts, batch.ends, strict=True):
            assert told.shape[1] <= -(-segment_tokens // 8) * 8
            assert int((told != 0).sum(1).max()) <= segment_tokens
            assert starts.shape == ends.shape == (20, 1 + told.shape[1])
            assert starts.any(1).all()
            assert ends.any(1).all()
            assert not (starts[:, 1:] & (told == 0)).any()
            assert not (ends[:, 1:] & (told == 0)).any()
            assert torch.equal(starts[:, 0], ~starts[:, 1:].any(1))
            assert torch.equal(starts[:, 0], ends[:, 0])


def test_spans_of_a_batch_say_the_answers(word_pieces: Tokenizer) -> None:
    right: list[bool] = []
    for seed in range(6):
        batch = builder(word_pieces).batch(Random(seed), lanes=20, segments=2, segment_tokens=96)
        for told, starts, ends in zip(batch.segments, batch.starts, batch.ends, strict=True):
            for lane in range(20):
                for start, end in zip(starts[lane].nonzero(), ends[lane].nonzero(), strict=True):
                    if not start:
                        continue
                    asked = words(word_pieces, batch.question[lane]).strip("?")
                    sentence, *more = words(word_pieces, told[lane, int(start) - 1 :]).split(".")
                    said = words(word_pieces, told[lane, int(start) - 1 : int(end)])
                    assert said in [one.lower() for one in PEOPLE]
                    assert sentence.split()[0] == said
                    if more:
                        right.append(sentence.split()[-1] == asked.split()[-1])
    assert len(right) > 60
    assert right.count(False) < 0.1 * len(right), "now and then a question is mistyped, and its number with it"


def test_a_negative_holds_no_answer(word_pieces: Tokenizer) -> None:
    """It is a stretch of the same text, elsewhere."""
    text = " ".join(f"{'Sandra stayed in' if n == 25 else 'Mary went to'} the garden of house {n}." for n in range(40))
    question = SpanQuestion("Who stayed in the garden?", ((text.index("Sandra"), text.index(" stayed")),))
    passage = Passage("s", "n", text, (question,))
    negative, positive = (
        SpanBatchBuilder(word_pieces, [WeightedSource("s", CorpusSource([passage]), 1.0, share)])
        for share in (1.0, 0.0)
    )
    for segments in (1, 3):
        shape = {"lanes": 16, "segments": segments, "segment_tokens": 64}
        without = negative.batch(Random(1), **shape)
        told = [words(word_pieces, torch.cat([s[lane] for s in without.segments])) for lane in range(16)]
        assert not any("sandra" in one for one in told)
        assert all(start[:, 0].all() for start in without.starts)
        within = positive.batch(Random(1), **shape)
        told = [words(word_pieces, torch.cat([s[lane] for s in within.segments])) for lane in range(16)]
        assert all("sandra" in one for one in told)
        assert (torch.stack([start[:, 1:].sum(1) for start in within.starts]).sum(0) == 1).all()
        assert len(set(told)) > 8, "the answer stands anywhere in it"


def test_a_short_text_without_its_answer_is_what_stands_before_or_behind_it(word_pieces: Tokenizer) -> None:
    text = "Mary went to the garden. " * 8 + "Sandra stayed. " + "John went to the office. " * 8
    question = SpanQuestion("Who stayed?", ((text.index("Sandra"), text.index(" stayed")),))
    one = SpanBatchBuilder(
        word_pieces, [WeightedSource("s", CorpusSource([Passage("s", "n", text, (question,))]), 1.0, 1.0)]
    )
    batch = one.batch(Random(0), lanes=12, segments=1, segment_tokens=384)
    told = {words(word_pieces, row).split()[0] for row in batch.segments[0]}
    assert told == {"mary", "stayed."}
    assert not any("sandra" in words(word_pieces, row) for row in batch.segments[0])


def test_an_answer_that_stands_nowhere_is_never_asked_for(word_pieces: Tokenizer) -> None:
    """Its passage may answer it in other words: it is no example of an answer, and none of a missing one."""
    free = SpanQuestion("How did Mary feel?", (), ("sad",))
    passage = Passage("s", "n", story(0).text, (free, SpanQuestion("Is it raining?")))
    one = SpanBatchBuilder(word_pieces, [WeightedSource("s", CorpusSource([passage]), 1.0, 0.5)])
    batch = one.batch(Random(0), lanes=12, segments=1, segment_tokens=96)
    assert not any("feel" in words(word_pieces, row) for row in batch.question)
    assert batch.starts[0][:, 0].all()


def test_long_questions_are_cut(word_pieces: Tokenizer) -> None:
    passage = story(0)
    long = replace(passage.questions[0], text="mary went to " * 40)
    one = SpanBatchBuilder(
        word_pieces, [WeightedSource("s", CorpusSource([replace(passage, questions=(long,))]), 1.0, 0.0)]
    )
    batch = one.batch(Random(0), lanes=4, segments=1, segment_tokens=96)
    assert batch.question.shape == (4, MOST_QUESTION_TOKENS)


def test_sources_come_up_by_their_weight(word_pieces: Tokenizer) -> None:
    batch = builder(word_pieces).batch(Random(0), lanes=400, segments=1, segment_tokens=48)
    assert 250 < batch.sources.count(0) < 350


def test_steps_have_the_shapes_that_settings_say() -> None:
    settings = SpanSettings(
        10, step_tokens=2048, segment_tokens=(128, 256), memory_share=0.5, memory_segment_tokens=(64,), most_segments=3
    )
    shapes = [batch_shape(Random(seed), settings) for seed in range(200)]
    assert {(one["segments"], one["segment_tokens"]) for one in shapes} == {(1, 128), (1, 256), (2, 64), (3, 64)}
    assert all(one["lanes"] * one["segments"] * one["segment_tokens"] <= 2048 for one in shapes)
    assert 70 < sum(one["segments"] > 1 for one in shapes) < 130
    assert {one["lanes"] for one in shapes if one["segments"] == 1} == {16, 8}


# ---------------------------------------------------------------------------- the loss


def test_the_loss_counts_every_right_place(word_pieces: Tokenizer) -> None:
    """Negative log of the probability that all right places have together, averaged over segments, start and end."""
    reader = build_span_reader(word_pieces.get_vocab_size())
    batch = builder(word_pieces).batch(Random(4), lanes=6, segments=2, segment_tokens=48)
    with torch.no_grad():
        losses, right = span_loss(reader, batch)
        memory, wanted, hits = reader.cell.fresh(6), torch.zeros(6), 0.0
        for told, start, end in zip(batch.segments, batch.starts, batch.ends, strict=True):
            reading = reader.read(memory, batch.question, told)
            memory = reading.memory
            for scores, places in ((reading.start, start), (reading.end, end)):
                wanted -= (scores.softmax(1) * places).sum(1).log() / 4
            hits += float(start[torch.arange(6), reading.start.argmax(1)].float().mean()) / 2
    torch.testing.assert_close(losses, wanted, rtol=1e-4, atol=1e-4)
    assert right == pytest.approx(hits)


def test_a_question_is_put_to_several_windows_of_which_the_first_alone_answers_it(word_pieces: Tokenizer) -> None:
    """Where a passage has no room for a window without the answer, it is one of another passage."""
    rng = Random(8)
    with_answer = 0
    for _ in range(20):
        batch = builder(word_pieces).batch(rng, lanes=12, segments=1, segment_tokens=40, windows=4)
        (told,), (start,), (end,) = batch.segments, batch.starts, batch.ends
        for first in range(0, 12, 4):
            lanes = range(first, first + 4)
            assert len({tuple(batch.question[lane].tolist()) for lane in lanes}) == 1
            assert len({batch.sources[lane] for lane in lanes}) == 1
            assert all(bool(start[lane, 0]) and bool(end[lane, 0]) for lane in lanes[1:])
            if not start[first, 0]:
                place = slice(int(start[first].nonzero()[0]) - 1, int(end[first].nonzero()[0]))
                said = words(word_pieces, told[first, place])
                assert said in map(str.lower, PEOPLE)
                if batch.sources[first] == 0:  # beside an answer of a short text its word may stand for something else
                    assert not any(said in words(word_pieces, told[lane]) for lane in lanes[1:])
                with_answer += 1
    assert 20 < with_answer < 60


def test_windows_are_weighed_against_each_other(word_pieces: Tokenizer) -> None:
    """Half of the loss is that of each window by itself, half that of all places of a question's windows together."""
    reader = build_span_reader(word_pieces.get_vocab_size())
    batch = builder(word_pieces).batch(Random(4), lanes=6, segments=1, segment_tokens=48, windows=3)
    with torch.no_grad():
        losses, _ = span_loss(reader, batch)
        reading = reader.read(reader.cell.fresh(6), batch.question, batch.segments[0])
        for first in (0, 3):
            lanes, wanted = slice(first, first + 3), torch.zeros(3)
            for scores, places in ((reading.start, batch.starts[0]), (reading.end, batch.ends[0])):
                alone = -(scores[lanes].softmax(1) * places[lanes]).sum(1).log()
                above = (scores[lanes] - scores[lanes, :1]).exp()
                here = (above * places[lanes])[:, 1:].sum()
                right = here if here > 0 else torch.ones(())
                together = -(right / (above[:, 1:].sum() + 1)).log()
                wanted += (alone + together) / 4
            torch.testing.assert_close(losses[lanes], wanted, rtol=1e-4, atol=1e-4)


def divergence(scores: Tensor, wanted: Tensor) -> Tensor:
    """Four times the divergence at a temperature of 2."""
    return 4 * torch.nn.functional.kl_div((scores / 2).log_softmax(0), (wanted / 2).softmax(0), reduction="sum")


@pytest.mark.parametrize("shape", [{"segments": 2, "windows": 1}, {"segments": 1, "windows": 3}])
def test_a_teacher_weighs_every_place(word_pieces: Tokenizer, shape: dict[str, int]) -> None:
    """The mean divergence of the scores from the teacher's, softened, times the square of the temperature."""
    size = word_pieces.get_vocab_size()
    reader, other = build_span_reader(size), build_span_reader(size, seed=2)
    same_ids = torch.arange(size)
    batch = builder(word_pieces).batch(Random(4), lanes=6, segment_tokens=48, **shape)
    with torch.no_grad():
        alone, _ = span_loss(reader, batch)
        found, right = span_loss(reader, batch, Teacher(other, same_ids, weight=0.75, temperature=2.0))
        of_itself, _ = span_loss(reader, batch, Teacher(reader, same_ids, weight=0.75))
        taught = torch.zeros(6)
        memory, others = reader.cell.fresh(6), other.cell.fresh(6)
        for told in batch.segments:
            reading, teaching = reader.read(memory, batch.question, told), other.read(others, batch.question, told)
            memory, others = reading.memory, teaching.memory
            for scores, wanted in ((reading.start, teaching.start), (reading.end, teaching.end)):
                apart = torch.stack([divergence(*lane) for lane in zip(scores, wanted, strict=True)])
                if shape["windows"] > 1:
                    for first in (0, 3):
                        beside = [
                            torch.cat([torch.zeros(1), *((lane - lane[0])[1:] for lane in some[first : first + 3])])
                            for some in (scores, wanted)
                        ]
                        apart[first : first + 3] = (apart[first : first + 3] + divergence(*beside)) / 2
                taught += apart / (2 * len(batch.segments))
    torch.testing.assert_close(found, 0.25 * alone + 0.75 * taught, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(of_itself, 0.25 * alone, rtol=1e-4, atol=1e-4)
    assert 0 <= right <= 1


def test_a_teacher_of_another_form_reads_the_same_words(word_pieces: Tokenizer) -> None:
    """Its tokens have other numbers; what pads stays what it is."""
    others = build_word_pieces(special=(*MPNET_PIECES, "<mask>"))
    teacher = Teacher.of(checkpoint_of(others), word_pieces, 0.5, 2.0)
    batch = builder(word_pieces).batch(Random(4), lanes=6, segments=1, segment_tokens=48)
    told, (mine,) = teacher.token_ids[batch.segments[0]], batch.segments
    assert torch.equal(told == 0, mine == 0)
    assert not torch.equal(told, mine)
    assert [words(others, row) for row in told] == [words(word_pieces, row) for row in mine]
    assert teacher.read(batch)[0].start.shape == (6, 1 + mine.shape[1])


def test_a_teacher_that_cuts_into_other_tokens_is_refused(word_pieces: Tokenizer) -> None:
    with pytest.raises(TrainingError, match=r"a teacher must cut text into the same tokens"):
        Teacher.of(checkpoint_of(train_tokenizer()), word_pieces, 0.5, 2.0)


def checkpoint_of(tokenizer: Tokenizer) -> EncoderCheckpoint:
    reader = build_span_reader(tokenizer.get_vocab_size(), seed=2)
    return EncoderCheckpoint("other", RMTConfig(base="b", base_sha256="0"), reader, tokenizer, "f")


def test_padding_has_no_share_in_the_loss(word_pieces: Tokenizer) -> None:
    reader = build_span_reader(word_pieces.get_vocab_size())
    batch = builder(word_pieces).batch(Random(4), lanes=6, segments=1, segment_tokens=48)
    pad = torch.nn.functional.pad
    wider = replace(
        batch,
        question=pad(batch.question, (0, 8)),
        segments=tuple(pad(one, (0, 24)) for one in batch.segments),
        starts=tuple(pad(one, (0, 24)) for one in batch.starts),
        ends=tuple(pad(one, (0, 24)) for one in batch.ends),
    )
    with torch.no_grad():
        torch.testing.assert_close(span_loss(reader, wider)[0], span_loss(reader, batch)[0], rtol=1e-4, atol=1e-4)


def test_gradients_go_from_segment_to_segment(word_pieces: Tokenizer) -> None:
    """The loss at the last segment reaches the first memory by way of what was written in between."""
    reader = build_span_reader(word_pieces.get_vocab_size())
    batch = builder(word_pieces).batch(Random(4), lanes=4, segments=3, segment_tokens=32)
    memory = reader.cell.fresh(4)
    for told in batch.segments:
        reading = reader.read(memory, batch.question, told)
        memory = reading.memory
    reading.start.square().mean().backward()
    assert reader.cell.initial.grad is not None
    assert reader.cell.initial.grad.abs().sum() > 0
    assert reader.cell.update.from_written.grad.abs().sum() > 0


# ---------------------------------------------------------------------------- the loop


SMALL = SpanSettings(
    6,
    warm_up=2,
    step_tokens=256,
    segment_tokens=(32, 48),
    memory_share=0.5,
    most_segments=3,
    memory_segment_tokens=(32,),
    bfloat16=False,
    save_every_s=0.0,
)


def tiny_reader(word_pieces: Tokenizer, memory_tokens: int = 4, **sizes: int) -> SpanReader:
    return build_span_reader(word_pieces.get_vocab_size(), memory_tokens=memory_tokens, **sizes)


def weights(reader: SpanReader) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in reader.named_parameters()}


def test_a_run_that_was_stopped_goes_on_bit_for_bit(word_pieces: Tokenizer, tmp_path: Path) -> None:
    def trainer(run: str) -> SpanTrainer:
        return SpanTrainer(tiny_reader(word_pieces), builder(word_pieces), SMALL, tmp_path / run)

    whole = trainer("whole")
    records = list(whole.train())
    assert [one["step"] for one in records] == list(range(6))
    stopped = trainer("parts")
    run = stopped.train()
    first = list(islice(run, 3))
    run.close()
    resumed = trainer("parts")
    assert resumed.step == 3
    assert all(torch.equal(one, weights(stopped.reader)[name]) for name, one in weights(resumed.reader).items())
    again = [*first, *resumed.train()]
    for found, wanted in zip(again, records, strict=True):
        assert {**found, "seconds": 0} == {**wanted, "seconds": 0}
    torch.testing.assert_close(weights(resumed.reader), weights(whole.reader), rtol=0, atol=0)
    assert not torch.equal(weights(whole.reader)["cell.initial"], weights(tiny_reader(word_pieces))["cell.initial"])
    for name in ("whole", "parts"):
        assert len((tmp_path / name / "log.jsonl").read_text().splitlines()) == 6
        assert not (tmp_path / name / "state.pt.new").exists()
    assert list(trainer("whole").train()) == [], "a run that is done has nothing left to do"


def test_what_is_learned_and_what_is_not(word_pieces: Tokenizer, tmp_path: Path) -> None:
    """What wants no gradient stays as it is; everything else moves."""
    reader = tiny_reader(word_pieces)
    reader.encoder.words.weight.requires_grad_(False)
    before = weights(reader)
    (*_, last) = SpanTrainer(reader, builder(word_pieces), SMALL, tmp_path).train()
    after = weights(reader)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {"encoder.words.weight"}
    assert {name: some[0] for name, some in last["sources"].items()}.keys() <= {"stories", "short"}
    assert last["lanes"] * last["segments"] * last["tokens"] <= 2 * SMALL.step_tokens


def test_in_bfloat16_the_kept_weights_are_float32(word_pieces: Tokenizer, tmp_path: Path) -> None:
    settings = replace(SMALL, steps=3, bfloat16=True)
    trainer = SpanTrainer(tiny_reader(word_pieces), builder(word_pieces), settings, tmp_path)
    records = list(trainer.train())
    assert len(records) == 3
    assert {one.dtype for one in trainer.masters.values()} == {torch.float32}
    for name, weight in trainer.reader.named_parameters():
        assert weight.dtype == (torch.bfloat16 if name.startswith("encoder.") else torch.float32)
        if name in trainer.masters:
            assert torch.equal(weight, trainer.masters[name].to(weight.dtype))
    resumed = SpanTrainer(tiny_reader(word_pieces), builder(word_pieces), settings, tmp_path)
    torch.testing.assert_close(resumed.masters, trainer.masters, rtol=0, atol=0)


def test_the_loss_falls(word_pieces: Tokenizer, tmp_path: Path) -> None:
    """On a task that is easy to learn: the only number of a text."""
    rng, passages = Random(1), []
    for _ in range(60):
        said = [rng.choice(["mary", "went", "to", "the", "garden", "office", "age"]) for _ in range(20)]
        said[rng.randrange(20)] = rng.choice("123456789")
        text = " ".join(said)
        at = next(place for place, letter in enumerate(text) if letter.isdigit())
        passages.append(Passage("numbers", "", text, (SpanQuestion("Which one is it?", ((at, at + 1),)),)))
    one = SpanBatchBuilder(word_pieces, [WeightedSource("numbers", CorpusSource(passages), 1.0, 0.0)])
    settings = replace(
        SMALL, steps=40, learning_rate=1e-3, memory_share=0.0, segment_tokens=(24,), step_tokens=384, save_every_s=99.0
    )
    records = list(SpanTrainer(tiny_reader(word_pieces), one, settings, tmp_path).train())
    first, last = (sum(one["loss"] for one in some) / 5 for some in (records[:5], records[-5:]))
    assert last < first / 4
    assert records[-1]["right"] > 0.8


@pytest.mark.parametrize("other", [{"memory_tokens": 5}, {"num_hidden_layers": 1}, {"intermediate_size": 128}])
def test_the_state_of_another_model_is_refused(word_pieces: Tokenizer, tmp_path: Path, other: dict[str, int]) -> None:
    SpanTrainer(tiny_reader(word_pieces), builder(word_pieces), SMALL, tmp_path).save()
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(TrainingError, match="of another model: use another run directory"):
        SpanTrainer(tiny_reader(word_pieces, **other), builder(word_pieces), SMALL, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_loss_that_is_no_number_ends_the_run(word_pieces: Tokenizer, tmp_path: Path) -> None:
    reader = tiny_reader(word_pieces)
    with torch.no_grad():
        reader.span_head.weight[0, 0] = float("inf")
    with pytest.raises(TrainingError, match="the loss of step 0 is"):
        list(SpanTrainer(reader, builder(word_pieces), SMALL, tmp_path).train())
    assert not (tmp_path / "state.pt").exists()
