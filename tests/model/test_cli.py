"""`rmt-model`: every command, and errors of one sentence."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rmt_model.answering import Question, answer
from rmt_model.checkpoint import load_checkpoint
from rmt_model.cli import main
from rmt_model.engine import Engine
from rmt_model.offline import ProgressLine, read_document
from rmt_model.state import ReaderState

TEXT = "Mary went to the bathroom. John moved to the hallway. " * 12


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoint(tiny_checkpoint) -> str:
    return str(tiny_checkpoint())


class Ran:
    """What a command wrote; it must have succeeded."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        status = main(arguments)
        self.out, self.err = capsys.readouterr()
        assert status == 0, self.err


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence of a command that fails."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rmt-model: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_pull_prints_the_directory(capsys, backbone_dir) -> None:
    assert Ran(capsys, "pull", str(backbone_dir())).out == f"{backbone_dir()}\n"
    assert "unknown backbone no-such-model" in failure(capsys, "pull", "no-such-model")


def test_inspect(capsys, checkpoint) -> None:
    facts = json.loads(Ran(capsys, "inspect", checkpoint, "--json").out)
    assert facts["fingerprint"] == load_checkpoint(checkpoint).fingerprint
    assert facts["state_bytes_per_lane"] == 4 * 32 * 4
    assert facts["memory_parameters"] == 4 * 32 + 4 * 32 + 4
    assert facts["update"] == "gated"
    lines = Ran(capsys, "inspect", checkpoint).out.splitlines()
    assert f"fingerprint           {facts['fingerprint']}" in lines
    assert "segment_tokens        16" in lines


def test_import_official(capsys, backbone_dir, tiny_backbone, tmp_path) -> None:
    state = {f"memory_cell.model.{name}": tensor for name, tensor in tiny_backbone("gpt2").state_dict().items()}
    torch.save({**state, "memory_cell.memory": torch.randn(3, 32)}, tmp_path / "pytorch_model.bin")
    base = os.path.relpath(backbone_dir("gpt2"))
    command = ["import-official", str(tmp_path / "pytorch_model.bin"), str(tmp_path / "out"), "--base", base]
    sizes = ["--memory-tokens", "3", "--segment-tokens", "16"]
    ran = Ran(capsys, *command, *sizes, "--question-template", "{question}GEN", "--stop", "")
    assert ran.out == f"{tmp_path / 'out'}\n"
    config = load_checkpoint(tmp_path / "out").config
    assert (config.update, config.question_template, config.stop) == ("replace", "{question}GEN", "")
    assert "memory_cell.memory" in failure(capsys, *command, "--memory-tokens", "4", "--segment-tokens", "16")
    assert "question_template" in failure(capsys, *command, *sizes, "--question-template", "?")


def test_read_and_ask_are_the_engine(capsys, here, checkpoint) -> None:
    (here / "book.txt").write_text(TEXT)
    ran = Ran(capsys, "read", "book.txt", "--checkpoint", checkpoint)
    assert ran.out == "book.memory.safetensors\n"
    assert f"read {len(TEXT)} bytes" in ran.err
    assert [path.name for path in here.iterdir() if path.name != "book.txt"] == ["book.memory.safetensors"]
    state = ReaderState.from_bytes((here / "book.memory.safetensors").read_bytes())
    assert state.segments_read > 3
    assert state.documents_read == 1

    engine = Engine(load_checkpoint(checkpoint))
    (wanted,) = answer(engine, state, [Question("Where is Mary?")])
    ask = ("ask", "book.memory.safetensors", "Where is Mary?", "--checkpoint", checkpoint)
    found = json.loads(Ran(capsys, *ask, "--json").out)
    assert found["text"] == wanted.generation.text
    assert found["probability"] == pytest.approx(wanted.generation.probability, rel=1e-4)
    assert found["confidence"] == pytest.approx(wanted.confidence, rel=1e-4)
    assert found["known"] is True
    assert Ran(capsys, *ask).out == " ".join(wanted.generation.text.split()) + "\n"


def test_each_focus_is_a_lane(capsys, here, checkpoint) -> None:
    (here / "book.txt").write_text(TEXT)
    focuses = ("Where is Mary?", "Where is John?")
    focus = [argument for question in focuses for argument in ("--focus", question)]
    Ran(capsys, "read", "book.txt", *focus, "--out", "two.safetensors", "--checkpoint", checkpoint)
    state = ReaderState.from_bytes((here / "two.safetensors").read_bytes())
    assert state.focus == focuses
    lines = Ran(capsys, "ask", "two.safetensors", *focuses, "--json", "--checkpoint", checkpoint).out.splitlines()
    assert [(json.loads(line)["question"], json.loads(line)["lane"]) for line in lines] == [
        (focuses[0], 0),
        (focuses[1], 1),
    ]


def test_reading_from_stdin_gives_the_same_memory(capsys, here, checkpoint, monkeypatch) -> None:
    (here / "book.txt").write_text(TEXT)
    Ran(capsys, "read", "book.txt", "--checkpoint", checkpoint)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert Ran(capsys, "read", "-", "--checkpoint", checkpoint).out == "stdin.memory.safetensors\n"
    states = [(here / f"{name}.memory.safetensors").read_bytes() for name in ("book", "stdin")]
    assert states[0] == states[1]


def test_progress_is_shown_on_a_terminal_only(tiny_checkpoint, monkeypatch, tmp_path) -> None:
    engine = Engine(load_checkpoint(tiny_checkpoint()))
    (tmp_path / "book.txt").write_text(TEXT)
    ticks = iter(range(10_000))
    monkeypatch.setattr("rmt_model.offline.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    controller, terminal = pty.openpty()
    shown = ""
    with os.fdopen(terminal, "w") as out, (tmp_path / "book.txt").open("rb") as file:
        line = ProgressLine(out, total_bytes=len(TEXT))
        state = read_document(engine, file, report=line.show)
        line.finish(state)
        while "memory of" not in shown or not shown.endswith("\n"):
            shown += os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert shown.count("%, ") == state.segments_read
    assert shown.rstrip().endswith(f"memory of {state.memory.nbytes:,} bytes")


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("inspect", "nowhere"), "no checkpoint nowhere"),
            (("read", "nothing.txt"), "nothing.txt: No such file"),
            (("read", "."), "."),
            (("ask", "nothing.safetensors", "Who?"), "nothing.safetensors: No such file"),
            (("ask", "book.txt", "Who?"), "safetensors"),
            (("read", "book.txt", "--checkpoint", "nowhere"), "no checkpoint nowhere"),
            (("read", "book.txt", "--device", "abacus"), "abacus"),
            (("read", "book.txt", "--focus", " "), "empty"),
            (("read", "latin1.txt"), "invalid UTF-8 at byte 3"),
            (("read", "book.txt", "--out", "no/such/place"), "no/such"),
        ],
    )
    def test_one_sentence(self, capsys, here, checkpoint, arguments: tuple[str, ...], expected: str) -> None:
        (here / "book.txt").write_text(TEXT)
        (here / "latin1.txt").write_bytes(b"caf\xe9 noir")
        given: tuple[Any, ...] = ("--checkpoint", checkpoint)
        more = given if arguments[0] in ("read", "ask") and "--checkpoint" not in arguments else ()
        before = sorted(here.iterdir())
        assert expected in failure(capsys, *arguments, *more)
        assert sorted(here.iterdir()) == before

    def test_memory_of_another_checkpoint(self, capsys, here, checkpoint, tiny_checkpoint) -> None:
        (here / "book.txt").write_text(TEXT)
        Ran(capsys, "read", "book.txt", "--checkpoint", checkpoint)
        other = str(tiny_checkpoint(seed=8))
        message = failure(capsys, "ask", "book.memory.safetensors", "Where is Mary?", "--checkpoint", other)
        assert load_checkpoint(checkpoint).fingerprint in message

    def test_wrong_use_is_status_2(self, capsys) -> None:
        for arguments in ((), ("no-such-command",), ("read",), ("import-official", "a", "b", "--layers", "x")):
            with pytest.raises(SystemExit) as caught:
                main(arguments)
            assert caught.value.code == 2
            assert "usage: rmt-model" in capsys.readouterr().err


def test_help_names_every_command_and_needs_no_torch() -> None:
    code = (
        "import sys; from rmt_model.cli import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for command in ("pull", "inspect", "import-official", "read", "ask"):
        assert f"    {command}" in ran.stdout
