"""Evaluation of encoders: read and answered as served, every command, and the benchmark's own files.

.venv/bin/python -m pytest tests/model/test_evaluation_pointing.py
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.model.evaluation_data import prose, write_babi, write_squad
from tests.serving import one_thread

from rmt_model.answering import Question, answer
from rmt_model.cli import main
from rmt_model.data.background import Background
from rmt_model.data.story import Mode
from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.errors import DataError
from rmt_model.evaluation.babilong import BabilongExamples, BabiTask
from rmt_model.evaluation.examples import Example
from rmt_model.evaluation.paper import PaperExamples
from rmt_model.evaluation.pointing import Pointing
from rmt_model.evaluation.runner import run_series
from rmt_model.evaluation.samples import LABELS, SampleExamples, find_samples
from rmt_model.span_engine import SpanEngine

HELD_OUT = "Voltaire_Philosophical_Dictionary.txt"
MODES: tuple[Mode, ...] = ("focus", "recall", "both")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def checkpoint(tiny_encoder_checkpoint: Callable[..., Path]) -> Path:
    return tiny_encoder_checkpoint()


@pytest.fixture
def engine(checkpoint: Path) -> SpanEngine:
    return SpanEngine(load_encoder_checkpoint(checkpoint), slots=4, max_batch_lanes=4)


def papers(engine: SpanEngine, segments: int = 24) -> PaperExamples:
    background = Background.of_sentences([prose(300)], engine.checkpoint.tokenizer)
    size = engine.checkpoint.config.segment_tokens
    return PaperExamples("detect", segments, background, engine.cutter.encode, segment_tokens=size, seed=1)


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_those_that_are_served(engine: SpanEngine, mode: Mode) -> None:
    few, read = papers(engine), list[int]()
    example = few.example(3)
    [result] = Pointing(engine, few, mode).measure([3], read.append)
    assert (result.number, result.question, result.answers) == (3, example.question, example.answers)
    assert engine.free_slots == 4
    if mode == "both":
        return  # is not served
    text = engine.cutter.decode(example.ids.tolist())
    assert engine.cutter.encode(text) == example.ids.tolist()
    state = engine.fresh_state([example.question] if mode == "focus" else [])
    source = engine.source(state)
    source.feed(text.encode())
    if mode == "focus":
        source.finish_document()
    (slot,) = engine.open(1)
    while source.waiting:
        engine.read(engine.segment_rows([slot], engine.prefixes(state), source.take()))
    state = source.state(engine.memory([slot]))
    engine.close([slot])
    [served] = answer(engine, state, [Question(example.question)])
    assert result.answer == served.generation.text
    assert result.answer in text
    assert result.confidence == pytest.approx(served.generation.probability)
    assert sum(read) == (len(example.ids) if mode == "focus" else source.tokens_read)


def test_lanes_do_not_change_answers(engine: SpanEngine, tmp_path: Path) -> None:
    """Documents of many lengths side by side give what each gives alone."""
    few = papers(engine, 5)
    examples = [few.example(number) for number in range(6)]

    class Uneven:
        task, group, length, unit, seed, available = "paper", "uneven", 1, "segments", 1, 6
        settings: dict[str, str] = {}  # noqa: RUF012

        def example(self, number: int) -> Example:
            one = examples[number]
            cut = one.ids[: len(one.ids) // (1 + number % 3)]
            return Example(number, "uneven", 1, one.question, one.answers, cut, ())

        scores = few.scores

    results = []
    for lanes in (1, 4):
        (tmp_path / str(lanes)).mkdir()
        found = run_series(Pointing(engine, Uneven(), "focus"), samples=6, lanes=lanes, folder=tmp_path / str(lanes))  # type: ignore[arg-type]
        results.append({number: one.answer for number, one in found.results.items()})
    assert results[0] == results[1]
    assert len(results[0]) == 6


def test_questions_whose_answer_is_no_word_of_the_story_are_left_out(engine: SpanEngine, tmp_path: Path) -> None:
    asked = "What is Mary carrying?"
    one = f"1 Mary got the milk.\n2 {asked}\tmilk\t1\n3 Mary left the milk.\n4 {asked}\tnothing\t1\n"
    (tmp_path / "qa8_train.txt").write_text(one * 20)
    (tmp_path / "qa6_train.txt").write_text("1 Mary went to the garden.\n2 Is Mary in the garden?\tyes\t1\n" * 20)
    lists = BabilongExamples(BabiTask(tmp_path, 8, "all", engine.cutter.encode), 0, None, seed=1, pointed=True)
    assert (lists.unsaid, lists.available) == (20, 20)
    assert {lists.example(number).answers for number in range(20)} == {("milk",)}
    assert "answers" in lists.settings
    with pytest.raises(DataError, match="qa6: no answer is a word of its story"):
        BabilongExamples(BabiTask(tmp_path, 6, "all", engine.cutter.encode), 0, None, seed=1, pointed=True)


def write_samples(folder: Path) -> Path:
    """BABILong's files: one as a list, one with a record a line, in the layout of the data set."""
    samples = [
        {
            "input": f"{prose(4, n)} Mary went to the garden. {prose(4, n + 9)}",
            "question": "Where is Mary? ",
            "target": "garden",
        }
        for n in range(3)
    ]
    for number, label in ((1, "0k"), (2, "1k")):
        path = folder / "data" / f"qa{number}" / f"{label}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{json.dumps(one)}\n" for one in samples)
        path.write_text(json.dumps(samples, indent=1) if number == 1 else lines)
    return folder


def test_the_benchmarks_own_samples(engine: SpanEngine, tmp_path: Path) -> None:
    folder = write_samples(tmp_path)
    for task, label, length in (("qa1", "0k", 0), ("qa2", "1k", 1000)):
        samples = SampleExamples(find_samples(folder, task, label), task, label, engine.cutter.encode)
        assert (samples.length, samples.available, samples.task) == (length, 3, "babilong")
        example = samples.example(1)
        assert (example.question, example.answers) == ("Where is Mary?", ("garden",))
        assert "Mary went to the garden." in example.text
        assert np.array_equal(example.ids, engine.cutter.encode(example.text))
        assert samples.scores(example, "The garden")["accuracy"] == 1.0
        assert samples.scores(example, "the garden or the office")["accuracy"] == 0.0
    assert LABELS.keys() == {f"qa{number}" for number in range(1, 11)}
    with pytest.raises(DataError, match=r"has no qa3/0k.json"):
        find_samples(folder, "qa3", "0k")
    broken = tmp_path / "broken.json"
    for text in ("[]", "{}\n", '[{"input": "a", "question": 3, "target": "b"}]', "[", '["a"]'):
        broken.write_text(text)
        with pytest.raises(DataError, match=r"BABILong's samples|holds no samples"):
            SampleExamples(broken, "qa1", "0k", engine.cutter.encode)


def test_all_commands(capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path) -> None:
    books = tmp_path / "books"
    books.mkdir()
    (books / HELD_OUT).write_text(prose(120))
    out = tmp_path / "out"
    common = ["--checkpoint", str(checkpoint), "--samples", "3", "--lanes", "2", "--device", "cpu", "--out", str(out)]
    babi, squad = str(write_babi(tmp_path / "babi")), str(write_squad(tmp_path / "squad.json"))
    files = str(write_samples(tmp_path / "samples"))
    for arguments in (
        ["paper", "--segments", "1", "2", "--books", str(books)],
        [
            "babilong",
            "--babi",
            babi,
            "--tasks",
            "qa1",
            "--lengths",
            "0k",
            "1k",
            "--books",
            str(books),
            "--mode",
            "both",
        ],
        ["babilong-samples", "--files", files, "--tasks", "qa1", "--lengths", "0k", "--mode", "recall"],
        ["babilong-samples", "--files", files, "--tasks", "qa2", "--lengths", "1k"],
        ["qa", "--squad", squad, "--lengths", "0", "400", "--books", str(books)],
        ["planted", "--lengths", "300", "--books", str(books)],
    ):
        assert main(["eval", *arguments, *common]) == 0, capsys.readouterr().err
    report = json.loads((out / "report.json").read_text())
    found = {(one["task"], one["group"], one["length"]) for one in report["figures"]}
    assert {("paper", "reasoning", 2), ("babilong", "qa1", 1000), ("babilong", "qa2", 1000)} <= found
    assert {("qa", "squad", 400), ("planted", "seen", 300)} <= found
    assert all(one["samples"] == 3 for one in report["figures"])

    [table] = (out / "babilong_evals" / checkpoint.name).glob("qa2_1k_*.csv")
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["", "target", "output", "question"]
    assert [(row[""], row["target"], row["question"]) for row in rows] == [
        (str(number), "garden", "Where is Mary?") for number in range(3)
    ]
    assert all(row["output"] for row in rows)
    assert table.stem == "qa2_1k_instruction_no_examples_no_post_prompt_no_chat_template_no"
    assert json.loads(table.with_suffix(".json").read_text())["reader"]["mode"] == "focus"

    capsys.readouterr()
    assert main(["eval", "lm", "--segments", "0", "--books", str(books), *common]) == 1
    assert "is an encoder, which predicts no text" in capsys.readouterr().err
