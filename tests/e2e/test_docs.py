"""Every example of the HTTP API, of the Python client and of `rmt` is run as it stands in the documentation."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import BASH, blocks, run
from tests.serving import ServerProcess

from rmt_model.checkpoint import load_checkpoint

DOCS = Path(__file__).resolve().parents[2] / "docs"
PYTHON = [sys.executable, "-W", "ignore", "-c"]
# Streams of events go on for good, so they are left after three seconds; of every call the status is noted.
CURL = """
curl() {
  local patience=60 status=0
  case "$*" in *'/events'*) patience=3 ;; esac
  command curl --max-time $patience -w '%{stderr}%{http_code}\\n' "$@" 2>> statuses || status=$?
  [ $status = 0 ] || { [ $patience = 3 ] && [ $status = 28 ]; }
}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "book.txt").write_text("Mary went to the garden. The rest of this text is about nothing.\n")
    return tmp_path


def test_calls_of_the_api(directory: Path, serving: ServerProcess) -> None:
    examples = blocks(DOCS / "api.md", "sh")
    said = run(BASH, CURL + "\n".join(examples), directory, serving)
    statuses = [int(line) for line in (directory / "statuses").read_text().split()]
    assert len(statuses) == sum(len(re.findall(r"\bcurl\b", example)) for example in examples)
    assert sorted(status for status in statuses if status >= 400) == [404]  # the one that shows an error
    assert '"start":5,"end":30,"text":"went to the garden. The r"' in said
    assert "the garden" in said


def test_calls_in_python(directory: Path, serving: ServerProcess) -> None:
    examples = [one for document in ("client.md", "api.md", "openai.md") for one in blocks(DOCS / document, "python")]
    whole = [one for one in examples if "import" in one]
    assert len(whole) == 9
    said = [run(PYTHON, one, directory, serving) for one in whole]
    assert sum("garden" in one for one in said) >= 6
    assert sum(" done 24\n" in one for one in said) == 1


def test_commands_of_rmt(directory: Path, serving: ServerProcess) -> None:
    scripts = [one for one in blocks(DOCS / "client.md", "sh") if "pip install" not in one]
    said = run(BASH, "\n".join(scripts), directory, serving)
    assert len(scripts) == 3
    assert "the garden" in said


def test_calls_in_javascript(directory: Path, serving: ServerProcess) -> None:
    package = DOCS.parent / "clients" / "javascript"
    (directory / "node_modules").mkdir()
    (directory / "node_modules" / "rmt-client").symlink_to(package)
    [example] = blocks(package / "README.md", "js")
    assert "answer: 'garden'" in run(["node", "--input-type=module", "--eval"], example, directory, serving)


def test_a_memory_without_a_server(directory: Path) -> None:
    said = run(BASH, blocks(DOCS / "model.md", "sh")[0], directory)
    assert json.loads(said.splitlines()[-1])["text"] == "garden"
    said = [run(PYTHON, one, directory) for one in blocks(DOCS / "model.md", "python")]
    assert sum("(1, 16, 576)" in one for one in said) == 2
    assert sum("43 57 Anna Lindqvist" in one for one in said) == 1
    assert len(said) == 3


def test_training_as_described(directory: Path) -> None:
    """With a step in each stage where the page has hundreds."""
    page = DOCS / "training.md"
    [line], [config] = blocks(page, "json"), blocks(page, "toml")
    (directory / "mine.jsonl").write_text(line * 4)
    (directory / "books").mkdir()
    (directory / "books" / "Jane_Doe_Story.txt").write_text("She walked along the river to the old mill. " * 2000)
    (directory / "train.toml").write_text(re.sub(r"max_steps = \d+", "max_steps = 1", config))
    run(BASH, blocks(page, "sh")[0], directory)
    assert len((directory / "runs" / "mine" / "log.jsonl").read_text().splitlines()) == 2
    assert load_checkpoint(directory / "runs" / "mine" / "checkpoint").config.segment_tokens == 384
