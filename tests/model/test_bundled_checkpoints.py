"""The checkpoints that ship load, are small, say how they were made, and answer.

How often they are right is measured with many questions (docs/log.md); here a few show that they work at all.
"""

import json
import shutil
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

import rmt_model
from rmt_model.answering import pointed_answer
from rmt_model.checkpoint import find_checkpoint, load_checkpoint
from rmt_model.data.background import Background
from rmt_model.data.story import Mode
from rmt_model.engine import Engine
from rmt_model.engines import load_engine
from rmt_model.evaluation.asking import Asking
from rmt_model.evaluation.planted import PlantedExamples
from rmt_model.evaluation.runner import run_series
from rmt_model.span_engine import SpanEngine, Window

CHECKPOINTS = Path(rmt_model.__file__).parent / "checkpoints"
SMALL, LARGE, READER, LARGE_READER = "rmt-smollm2-small", "rmt-smollm2-135m", "rmt-minilm", "rmt-mpnet"
QUESTIONS = 16
KINDS = ("person_place", "opens", "object_place")
"""Kinds of facts that it was trained on."""


@pytest.fixture(scope="module", params=[SMALL, LARGE])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(load_checkpoint(request.param), slots=8, max_batch_lanes=8)


def test_all_files_together_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()}
    assert {path.parent.name for path in sizes} == {SMALL, LARGE, READER, LARGE_READER}
    assert sum(sizes.values()) < 90_000_000
    assert sum(size for path, size in sizes.items() if path.parent.name == READER) < 30_000_000


@pytest.mark.parametrize("name", [SMALL, LARGE, READER, LARGE_READER])
def test_a_card_says_what_it_is_for_and_where_it_fails(name: str) -> None:
    card = (CHECKPOINTS / name / "README.md").read_text()
    assert card.startswith(f"# {name}\n")
    for part in ("How it was made", "Results", "Known failures"):
        assert f"\n## {part}\n" in card


def test_the_default_is_the_one_that_reads_prose() -> None:
    assert find_checkpoint("auto").name == READER


def test_the_default_on_cuda_is_the_larger_one_where_its_base_was_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rmt_model.checkpoint.pick_device", torch.device)
    assert find_checkpoint("auto", "cuda").name == LARGE_READER
    assert find_checkpoint("auto", "cpu").name == READER
    monkeypatch.setenv("RMT_CACHE_DIR", str(tmp_path))
    assert find_checkpoint("auto", "cuda").name == READER


def test_a_whole_checkpoint_fetches_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the default, nor one that says what it was made from."""
    pulled: list[str] = []
    monkeypatch.setattr("rmt_model.engines.pull", pulled.append)
    own = shutil.copytree(CHECKPOINTS / READER, tmp_path / "own")
    config = json.loads((own / "rmt.json").read_text()) | {"base": "all-minilm-l6-v2"}
    (own / "rmt.json").write_text(json.dumps(config))
    for name in (READER, str(own)):
        load_engine(name, pulls=True)
    assert pulled == []
    load_engine(LARGE_READER, pulls=True)
    assert pulled == ["all-mpnet-base-v2"]


STORY = """The ferry to Holm Island leaves at nine. Captain Ingrid Solberg has steered it for thirty years.
In March the harbour office moved into the old bakery, because its roof had been repaired. The fare is four crowns."""


@pytest.mark.parametrize("name", [READER, LARGE_READER])
def test_it_points_at_what_was_asked(name: str) -> None:
    engine = load_engine(name)
    assert isinstance(engine, SpanEngine)
    asked = {
        "Who steers the ferry?": "Ingrid Solberg",
        "When does the ferry leave?": "nine",
        "Where did the harbour office move?": "bakery",
        "How much is the fare?": "four crowns",
    }
    for question, answer in asked.items():
        [read] = engine.read_windows(question, [Window(STORY, 0)])
        assert answer in STORY.encode()[read.pointers[0].start : read.pointers[0].end].decode()
    [read] = engine.read_windows("Who discovered penicillin?", [Window(STORY, 0)])
    confidence = pointed_answer(engine, read.pointers, way="search").confidence
    assert confidence < engine.checkpoint.calibration.least


def test_it_says_how_it_was_made(engine: Engine) -> None:
    assert {"sources", "seed", "steps"} <= set(engine.checkpoint.config.provenance)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("mode", "tokens", "others", "least"), [("focus", 1500, 4, 12), ("recall", 500, 0, 12)])
def test_it_answers(engine: Engine, tmp_path: Path, mode: Mode, tokens: int, others: int, least: int) -> None:
    background = Background.of_sentences(["\n\n".join(topics.values())], engine.checkpoint.tokenizer)
    encode = engine.prompts.encode
    examples = PlantedExamples("taught", KINDS, tokens, background, encode, others=others, seed=1)
    file = run_series(Asking(engine, examples, mode), samples=QUESTIONS, lanes=8, folder=tmp_path)
    wrong = [result for result in file.results.values() if not result.scores["accuracy"]]
    assert QUESTIONS - len(wrong) >= least, wrong
