"""The examples of `clients/examples`, as a user would run them: a real server with the bundled checkpoint."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.serving import ServerProcess

EXAMPLES = Path(__file__).parents[2] / "clients" / "examples"
FILLER = (Path(__file__).parents[2] / "LICENSE").read_text()[:3000]


@contextmanager
def served(directory: Path, checkpoint: str) -> Iterator[str]:
    settings = {"data_dir": directory / "data", "checkpoint": checkpoint, "device": "cpu", "dtype": "fast"}
    with ServerProcess(directory, settings) as server:
        yield server.wait_until_ready().url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("examples"), "auto") as url:
        yield url


@pytest.fixture(scope="module")
def changing_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the checkpoint that is trained on facts that change."""
    with served(tmp_path_factory.mktemp("changing"), "rmt-smollm2-small") as url:
        yield url


def run(url: str, name: str, *arguments: object) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, arguments), "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_question_answering_over_a_folder(url: str, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(FILLER + "\n\nMargaret Holloway has owned the boathouse since 1987.\n\n" + FILLER)
    (tmp_path / "two.md").write_text("The museum opens at half past nine on weekdays.\n" + FILLER)
    (tmp_path / "three.txt").write_text(FILLER)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    asked = ["Who owns the boathouse?", "When does the museum open?", "Which river flows through Vienna?"]
    out = run(url, "folder.py", tmp_path, *asked)
    assert "Margaret Holloway" in out
    assert "one.txt, characters" in out
    assert "half past nine" in out
    assert "two.md, characters" in out
    assert "“Margaret Holloway has owned the boathouse since 1987.”" in out
    assert "I did not find this." in out


def test_a_growing_log(changing_url: str, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text("Colette went to the long corridor.\n" + FILLER[:800] + "\n")
    command = [
        sys.executable,
        EXAMPLES / "watch_log.py",
        log,
        "Where is Colette?",
        "--idle-s",
        "6",
        "--url",
        changing_url,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        assert "long corridor" in first, first
        time.sleep(0.2)
        with log.open("a") as file:
            file.write(FILLER[:500] + "\nColette travelled to the royal pavilion.\n")
        assert "royal pavilion" in watching.stdout.readline()
        assert watching.wait(60) == 0


def test_before_and_after(changing_url: str, tmp_path: Path) -> None:
    before, after = tmp_path / "before.txt", tmp_path / "after.txt"
    before.write_text("Caspar is in the distant brewery.\nThe black lever opens the secret lift.\n" + FILLER[:1500])
    after.write_text(FILLER[:1500] + "\nCaspar went to the crooked boathouse.\n" + FILLER[:500])
    out = run(changing_url, "before_after.py", before, after, "Where is Caspar?", "What opens the secret lift?")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "* Where is Caspar?"
    assert lines[1].endswith("distant brewery")
    assert lines[2].endswith("crooked boathouse")
    assert lines[3] == "What opens the secret lift?"
    assert [line.lower().endswith("black lever") for line in lines[4:]] == [True, True]


def test_errors_are_one_sentence_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    command = [sys.executable, EXAMPLES / "folder.py", tmp_path, "Who?", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "No server answers" in done.stderr
    assert "Traceback" not in done.stderr
