"""The checkpoints that ship load, are small, say how they were made, and answer.

How often they are right is measured with many questions (docs/log.md); here a few show that they work at all.
"""

from pathlib import Path
from pydoc_data.topics import topics

import pytest

import rmt_model
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.evaluation.planted import Task, evaluate
from rmt_model.data.background import Background

CHECKPOINTS = Path(rmt_model.__file__).parent / "checkpoints"
SMALL = "rmt-smollm2-small"
QUESTIONS = 16


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load_checkpoint(SMALL), slots=8, max_batch_lanes=8)


def test_all_files_together_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()}
    assert any(path.parent.name == SMALL for path in sizes)
    assert sum(sizes.values()) < 60_000_000


def test_it_says_how_it_was_made(engine: Engine) -> None:
    assert {"data", "seed", "steps"} <= set(engine.checkpoint.config.provenance)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "least"), [(Task("focus", 1500, others=4), 12), (Task("recall", 500, others=0), 12)])
def test_it_answers(engine: Engine, tmp_path: Path, task: Task, least: int) -> None:
    background = Background.of(["\n\n".join(topics.values())], engine.checkpoint.tokenizer)
    results = list(evaluate(engine, background, task, QUESTIONS, tmp_path / "results.jsonl"))
    assert sum(result.right for result in results) >= least, [r for r in results if not r.right]
