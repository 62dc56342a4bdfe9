"""The distance that is measured is the distance that is said, and right means right."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.evaluation.planted import Task, _document, evaluate, interval, is_right
from rmt_model.data.background import Background
from rmt_model.training.samples import SampleBuilder

PROSE = "It was the best of times. It was the worst of times; nobody knew. The age of wisdom came, and went.\n" * 40


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Callable[..., Path]) -> Engine:
    return Engine(load_checkpoint(tiny_checkpoint(segment_tokens=64)), slots=4)


@pytest.mark.parametrize("distance", [0, 100, 1000])
def test_so_many_tokens_stand_between_fact_and_question(engine: Engine, distance: int) -> None:
    checkpoint = engine.checkpoint
    background = Background.of([PROSE], checkpoint.tokenizer)
    builder = SampleBuilder(checkpoint.tokenizer, checkpoint.config, background, "validation")
    for number in range(20):
        document = _document(builder, Task("focus", distance, others=2), number)
        behind = checkpoint.tokenizer.decode(document.ids[len(document.ids) - distance :]) if distance else ""
        before = checkpoint.tokenizer.decode(document.ids[: len(document.ids) - distance])

        assert before.rstrip().endswith(document.fact.statement)
        assert document.fact.statement not in behind


def test_a_run_resumes_and_depends_on_the_seed_alone(engine: Engine, tmp_path: Path) -> None:
    background = Background.of([PROSE], engine.checkpoint.tokenizer)
    task = Task("focus", 150, others=1)
    whole = list(evaluate(engine, background, task, 5, tmp_path / "whole.jsonl", lanes=1))
    list(evaluate(engine, background, task, 2, tmp_path / "cut.jsonl", lanes=1))
    resumed = list(evaluate(engine, background, task, 5, tmp_path / "cut.jsonl", lanes=1))

    assert resumed == whole
    assert list(evaluate(engine, background, task, 2, tmp_path / "cut.jsonl", lanes=1)) == whole[:2]
    assert len((tmp_path / "cut.jsonl").read_text().splitlines()) == 5
    assert json.loads((tmp_path / "cut.jsonl").read_text().splitlines()[4])["number"] == 4
    assert engine.free_slots == 4


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("the old mill", True),
        ("The Old Mill.", True),
        ("old mill", True),
        ("the mill", False),
        ("the old mill house", False),
        ("", False),
    ],
)
def test_right(answer: str, right: bool) -> None:
    assert is_right(answer, "the old mill") is right


def test_interval_holds_the_share_and_stays_within_bounds() -> None:
    for total in (1, 10, 200):
        for right in {0, 1, total // 2, total}:
            low, high = interval(right, total)
            assert 0 <= low <= right / total <= high <= 1
    assert interval(190, 200)[1] - interval(190, 200)[0] < interval(19, 20)[1] - interval(19, 20)[0]


def test_the_command_keeps_results_of_checkpoints_apart(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "Voltaire_Philosophical_Dictionary.txt").write_text(PROSE)  # the name of an author who is held out
    task = ["--mode", "recall", "--distances", "30", "--questions", "2", "--others", "0", "--lanes", "2"]
    for seed in (1, 2):
        given = ["--checkpoint", str(tiny_checkpoint(seed=seed)), "--books", str(tmp_path), "--out", str(tmp_path)]
        command = [sys.executable, "-m", "rmt_model.evaluation", *given, *task]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
        assert "recall, 30 tokens, 0 other facts: " in done.stdout
        assert "% of 2," in done.stdout
    assert [len(path.read_text().splitlines()) for path in tmp_path.glob("*-float32-recall-30-*.jsonl")] == [2, 2]
