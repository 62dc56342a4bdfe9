"""`rmt-model eval`: every task end to end, all figures in one report, and errors of one sentence."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.model.evaluation_data import prose, write_babi, write_fairytales, write_squad

from rmt_model.cli import main

HELD_OUT = "Voltaire_Philosophical_Dictionary.txt"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    return tiny_checkpoint(segment_tokens=32, max_answer_tokens=4)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / HELD_OUT).write_text(prose(60))
    return folder


class Ran:
    """A command that succeeded, with its report."""

    def __init__(self, capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> None:
        status = main(["eval", *arguments, "--out", str(out)])
        self.out, self.err = capsys.readouterr()
        assert status == 0, self.err
        report = json.loads((out / "report.json").read_text())
        self.figures = [(f["task"], f["group"], f["length"], f["metric"], f["samples"]) for f in report["figures"]]
        assert self.out in (out / "report.txt").read_text()
        assert (out / "report.svg").read_text().startswith("<?xml")


def failure(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> str:
    """The one sentence of a command that fails."""
    assert main(["eval", *arguments, "--out", str(out)]) == 1
    written, err = capsys.readouterr()
    assert written == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


def test_all_commands_join_their_figures(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, books: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ["--checkpoint", str(checkpoint), "--samples", "3", "--lanes", "2", "--device", "cpu"]
    with_books = [*common, "--books", str(books)]

    ran = Ran(capsys, out, "paper", "--tasks", "memorize", "--segments", "1", "2", *with_books)
    assert ran.figures == [("paper", "memorize", n, "accuracy", 3) for n in (1, 2)]
    assert "paper memorize focus 2 segments: accuracy" in ran.err
    babi = write_babi(tmp_path / "babi")
    lengths = ["--lengths", "0k", "1k"]
    ran = Ran(capsys, out, "babilong", "--babi", str(babi), "--tasks", "qa1", *lengths, "--mode", "both", *with_books)
    assert ran.figures[:2] == [("babilong", "qa1", n, "accuracy", 3) for n in (0, 1000)]
    assert "RMT GPT-2 100" in ran.out
    squad = write_squad(tmp_path / "squad.json")
    ran = Ran(
        capsys, out, "qa", "--squad", str(squad), "--lengths", "0", "300", "--articles", "second-half", *with_books
    )
    assert ("qa", "squad", 300, "f1", 3) in ran.figures
    assert ("qa", "squad", 0, "exact_match", 3) in ran.figures
    tales = write_fairytales(tmp_path / "tales")
    ran = Ran(
        capsys, out, "qa", "--fairytaleqa", str(tales), "--part", "val", "--lengths", "0", "--mode", "recall", *common
    )
    assert ("qa", "fairytaleqa", 0, "f1", 1) in ran.figures
    assert "there are 1 examples for 3 samples" in ran.err
    ran = Ran(capsys, out, "lm", "--segments", "0", "2", *with_books)
    assert ("lm", "books", 2, "perplexity", 3) in ran.figures
    assert ("lm", "books", 2, "improvement", 3) in ran.figures
    ran = Ran(capsys, out, "planted", "--kinds", "unseen", "--others", "1", "--lengths", "200", *with_books)
    assert ("planted", "unseen", 200, "accuracy", 3) in ran.figures
    assert {figure[0] for figure in ran.figures} == {"paper", "babilong", "qa", "lm", "planted"}

    before = {path.name: path.read_bytes() for path in out.glob("*.jsonl")}
    Ran(capsys, out, "planted", "--kinds", "unseen", "--others", "1", "--lengths", "200", *with_books)
    assert {path.name: path.read_bytes() for path in out.glob("*.jsonl")} == before


def test_errors_of_commands_are_one_sentence(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, books: Path, tmp_path: Path
) -> None:
    common = ["--checkpoint", str(checkpoint), "--samples", "2"]
    with_books, babi = [*common, "--books", str(books)], str(write_babi(tmp_path / "babi"))

    def said(*arguments: str) -> str:
        return failure(capsys, tmp_path / "out", *arguments)

    missing = str(tmp_path / "missing")
    assert "is no folder with books" in said("planted", "--lengths", "1k", *common, "--books", missing)
    story = ["babilong", "--babi"]
    assert "one file qa1_*train*.txt is wanted" in said(*story, missing, "--tasks", "qa1", "--lengths", "0k", *common)
    assert "one file qa7_*train*.txt is wanted" in said(*story, babi, "--tasks", "qa7", "--lengths", "0k", *common)
    assert "with --books" in said(*story, babi, "--tasks", "qa1", "--lengths", "1k", *common)
    assert "the shortest story has" in said(*story, babi, "--tasks", "qa1", "--lengths", "9", *with_books)
    assert "add books" in said(*story, babi, "--tasks", "qa1", "--lengths", "1M", *with_books)
    squad = str(write_squad(tmp_path / "squad.json"))
    assert "does not fit into a haystack of 30" in said("qa", "--squad", squad, "--lengths", "30", *with_books)
    assert "cannot be read" in said("qa", "--squad", missing, "--lengths", "0", *common)
    assert "holds no stories" in said("qa", "--fairytaleqa", missing, "--lengths", "0", *common)
    assert "is too short" in said("planted", "--others", "9", "--lengths", "60", *with_books)
    assert "no checkpoint" in said("lm", "--segments", "0", "--books", str(books), "--checkpoint", missing)
    assert "no book has" in said("lm", "--segments", "999", *with_books)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["babilong", "--tasks", "qa21"], "'qa21' is no task of bAbI"),
        (["babilong", "--lengths", "4kb"], "'4kb' is no length"),
        (["paper", "--tasks", "guess"], "invalid choice: 'guess'"),
        (["paper", "--segments", "0"], "a number from 1 is wanted"),
        (["lm", "--segments", "-1"], "expected at least one argument|is no number from 0"),
        (["planted", "--samples", "none"], "'none' is no number from 0"),
        (["chess"], "invalid choice: 'chess'"),
    ],
)
def test_wrong_options_name_what_is_wanted(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["eval", *arguments])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert any(part in err for part in message.split("|")), err


def test_help_needs_no_torch() -> None:
    code = "import sys, rmt_model.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
