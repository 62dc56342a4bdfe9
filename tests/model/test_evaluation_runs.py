"""Evaluation runs: read as served, resumed without asking twice, the same for any number of lanes; every command."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.evaluation_data import prose, write_fairytales

from rmt_model.answering import Question, answer
from rmt_model.checkpoint import load_checkpoint
from rmt_model.data.background import Background
from rmt_model.data.documents import read_fairytales
from rmt_model.data.story import Mode
from rmt_model.engine import Engine
from rmt_model.errors import DataError, QuestionError
from rmt_model.evaluation.asking import Asking
from rmt_model.evaluation.books import Books
from rmt_model.evaluation.lm import Perplexity
from rmt_model.evaluation.paper import PaperExamples
from rmt_model.evaluation.qa import DocumentExamples
from rmt_model.evaluation.results import Result, ResultsFile
from rmt_model.evaluation.runner import run_series
from rmt_model.types import Generation, LaneSegment, Prompt

SEGMENT = 32
HELD_OUT = "Voltaire_Philosophical_Dictionary.txt"


class Watched(Engine):
    """An engine that remembers what it was given."""

    def __init__(self, directory: Path, slots: int = 4) -> None:
        super().__init__(load_checkpoint(directory), slots=slots, max_batch_lanes=slots)
        self.seen: list[LaneSegment | Prompt] = []

    def read(self, segments: Sequence[LaneSegment]) -> None:
        self.seen += segments
        super().read(segments)

    def answer(self, prompts: Sequence[Prompt]) -> list[Generation]:
        self.seen += prompts
        return super().answer(prompts)


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    return tiny_checkpoint(segment_tokens=SEGMENT, max_answer_tokens=4)


@pytest.fixture
def engine(checkpoint: Path) -> Watched:
    return Watched(checkpoint)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / HELD_OUT).write_text(prose(60))
    return folder


def examples(engine: Engine, segments: int = 3, seed: int = 1) -> PaperExamples:
    background = Background.of_sentences([prose(60)], engine.checkpoint.tokenizer)
    size = engine.checkpoint.config.segment_tokens
    return PaperExamples("detect", segments, background, engine.prompts.encode, segment_tokens=size, seed=seed)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["focus", "recall", "both"])
def test_what_is_read_and_asked(engine: Watched, mode: Mode) -> None:
    few = examples(engine)
    example, steps = few.example(5), list[int]()
    [result] = Asking(engine, few, mode).measure([5], steps.append)
    focus, question = engine.prompts.focus(example.question), engine.prompts.question(example.question)
    first = focus if mode != "recall" else []
    later = focus if mode == "focus" else []
    ids = example.ids.tolist()
    assert [list(one.token_ids) for one in engine.seen] == [
        [*first, *ids[:SEGMENT]],
        [*later, *ids[SEGMENT : 2 * SEGMENT]],
        [*later, *ids[2 * SEGMENT :]],
        [*later, *question],
    ]
    assert sum(steps) == 3 * SEGMENT
    assert (result.number, result.question, result.answers) == (5, example.question, example.answers)
    assert engine.free_slots == 4


@pytest.mark.parametrize("mode", ["focus", "recall"])
def test_answers_are_those_that_are_served(engine: Watched, mode: Mode) -> None:
    few = examples(engine)
    example = few.example(0)
    [result] = Asking(engine, few, mode).measure([0], lambda _: None)
    state = engine.fresh_state([example.question] if mode == "focus" else [])
    state = replace(state, pending=tuple(example.ids.tolist()))
    [served] = answer(engine, state, [Question(example.question, max_tokens=4)])
    assert result.answer == served.generation.text
    assert result.confidence == pytest.approx(served.generation.probability)


def test_a_document_shorter_than_a_segment_is_read_with_the_question(engine: Watched, tmp_path: Path) -> None:
    documents = read_fairytales(write_fairytales(tmp_path), "val")
    alone = DocumentExamples("fairytaleqa", documents, 0, None, engine.prompts.encode, seed=1, settings={})
    ids = alone.example(0).ids.tolist()
    assert len(ids) % SEGMENT
    Asking(engine, alone, "both").measure([0], lambda _: None)
    prompt = engine.seen[-1]
    tail = ids[len(ids) - len(ids) % SEGMENT :] + engine.prompts.question(alone.example(0).question)
    focus = engine.prompts.focus(alone.example(0).question)
    assert list(prompt.token_ids) == (tail if len(ids) >= SEGMENT else focus + tail)


def test_a_question_longer_than_a_segment_is_an_error(tiny_checkpoint: Callable[..., Path]) -> None:
    small = Watched(tiny_checkpoint(segment_tokens=4))
    for mode in ("focus", "recall"):
        with pytest.raises(QuestionError, match="a segment, and so a question, holds at most 4"):
            Asking(small, examples(small, 10), mode).measure([0], lambda _: None)  # type: ignore[arg-type]
        assert small.free_slots == 4


def test_lanes_do_not_change_answers(engine: Watched, tmp_path: Path) -> None:
    results = []
    for lanes in (1, 3, 4):
        folder = tmp_path / str(lanes)
        folder.mkdir()
        results.append(
            run_series(Asking(engine, examples(engine), "focus"), samples=7, lanes=lanes, folder=folder).results
        )
    for other in results[1:]:
        assert {n: (one.answer, one.scores) for n, one in other.items()} == {
            n: (one.answer, one.scores) for n, one in results[0].items()
        }
    assert len({one.answer for one in results[0].values()}) > 1


def test_a_run_resumes_and_asks_nothing_twice(checkpoint: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    class Counting(Asking):
        def measure(self, numbers: Sequence[int], step: Callable[[int], None]) -> list[Result]:
            asked.extend(numbers)
            return super().measure(numbers, step)

    engine = Watched(checkpoint)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()

    def run(folder: str, samples: int) -> ResultsFile:
        measured = Counting(engine, examples(engine), "recall")
        return run_series(measured, samples=samples, lanes=1, folder=tmp_path / folder)

    whole = run("whole", 6)
    asked.clear()
    cut = run("cut", 4)
    data = cut.path.read_bytes()
    for torn_bytes in (1, 30, 0):
        cut.path.write_bytes(data[: len(data) - torn_bytes])
        again = run("cut", 4)
        assert again.path.read_bytes() == data
    assert asked == [0, 1, 2, 3, 3, 3]
    assert run("cut", 6).path.read_bytes() == whole.path.read_bytes()
    assert asked == [0, 1, 2, 3, 3, 3, 4, 5]
    assert len(run("cut", 2).results) == 6
    header = data.splitlines()[0]
    for torn in (header[:20], b"", header):
        cut.path.write_bytes(torn)
        assert run("cut", 6).path.read_bytes() == whole.path.read_bytes()
    assert [row["number"] for row in lines(whole.path)[1:]] == [0, 1, 2, 3, 4, 5]


def test_a_damaged_file_is_an_error_that_names_the_line(engine: Watched, tmp_path: Path) -> None:
    measured = Asking(engine, examples(engine), "recall")
    path = run_series(measured, samples=2, lanes=2, folder=tmp_path).path
    good = path.read_text().splitlines()
    for bad in ("{]", "[1]", "{"):
        path.write_text("\n".join([good[0], bad, good[2]]) + "\n")
        with pytest.raises(DataError, match=rf"{path.name}:2 is damaged"):
            run_series(measured, samples=2, lanes=2, folder=tmp_path)
    path.write_text("\n".join([good[1], good[2]]) + "\n")
    with pytest.raises(DataError, match="no file of results"):
        run_series(measured, samples=2, lanes=2, folder=tmp_path)


def test_each_series_has_a_file_of_its_own(engine: Watched, tiny_checkpoint: Callable[..., Path]) -> None:
    other = Watched(tiny_checkpoint(segment_tokens=SEGMENT, seed=2))
    names = {
        Asking(engine, examples(engine), "focus").series.file_name,
        Asking(engine, examples(engine), "recall").series.file_name,
        Asking(engine, examples(engine, segments=4), "focus").series.file_name,
        Asking(engine, examples(engine, seed=2), "focus").series.file_name,
        Asking(other, examples(other), "focus").series.file_name,
    }
    assert len(names) == 5
    assert any(name.startswith("paper-detect-focus-4seg-seed1-") for name in names)
    assert all("-float32-" in name for name in names)


@pytest.mark.parametrize("segments", [0, 1, 3])
def test_perplexity_is_that_of_the_plain_formula(checkpoint: Path, books: Path, segments: int) -> None:
    engine = Watched(checkpoint)
    held_out = Books(books, engine.checkpoint.tokenizer)
    measured = Perplexity(engine, held_out, segments, reach=4, seed=1)
    results, model = measured.measure([0, 1, 2], lambda _: None), engine.model
    whole = held_out.tokens(books / HELD_OUT)
    for result in results:
        rows = torch.from_numpy(measured.tokens(result.number).astype(np.int64))[:, None]
        assert rows.shape == (segments + 1, 1, SEGMENT)
        with torch.no_grad():
            memory = model.read_all(model.cell.fresh(1), list(rows[:-1]))
            logits = model.project(model.hidden_after(memory, rows[-1]))[0].log_softmax(-1)
        targets = rows[-1, 0, 1:]
        assert result.scores["nll"] == pytest.approx(
            -logits[torch.arange(SEGMENT - 1), targets].mean().item(), rel=1e-4
        )
        flat = rows.flatten().numpy()
        assert any((whole[at : at + len(flat)] == flat).all() for at in range(len(whole) - len(flat) + 1))
    assert engine.free_slots == 4


def test_the_target_is_the_same_however_much_is_read_before(engine: Watched, books: Path) -> None:
    held_out = Books(books, engine.checkpoint.tokenizer)
    rows = [Perplexity(engine, held_out, k, reach=4, seed=1) for k in (0, 1, 2, 4)]
    for number in range(5):
        longest = rows[-1].tokens(number)
        assert all((one.tokens(number) == longest[-1 - one.series.length :]).all() for one in rows)
    with pytest.raises(DataError, match="raise it"):
        Perplexity(engine, held_out, 5, reach=4, seed=1)
    with pytest.raises(DataError, match="no book has 32032 tokens"):
        Perplexity(engine, held_out, 0, reach=1000, seed=1).tokens(0)
