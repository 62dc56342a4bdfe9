"""Every command that the README gives, and that the server prints when it starts, is run and does what it says.

`make demo`, `make test` and `make check` are left out: CI runs them by themselves.
"""

import re
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import BASH, blocks, run
from tests.serving import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
RUN_BY_CI = re.findall(r"^make \w+", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
BLOCKS = blocks(ROOT / "README.md", "sh")


def commands(block: str) -> list[str]:
    """The block's lines, without comments."""
    return [line.split("  #")[0].strip() for line in block.splitlines()]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place to write, with all that the commands read."""
    directory = tmp_path_factory.mktemp("checkout")
    for name in ("README.md", "LICENSE", "docs"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".venv").mkdir()
    (directory / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return directory


def test_ci_runs_what_the_readme_makes() -> None:
    made = {command for block in BLOCKS for command in commands(block) if command.startswith("make")}
    assert {"make demo", "make serve"} <= made
    assert made - {"make serve"} <= set(RUN_BY_CI)


def test_the_commands_of_the_readme(directory: Path, serving: ServerProcess) -> None:
    scripts = ["\n".join(commands(block)) for block in BLOCKS if "make" not in block]
    said = "\n".join(run(BASH, script, directory, serving) for script in scripts)
    assert scripts
    assert "a copy of this License" in said
    assert "Margaret Holloway" in said


def test_what_the_server_says_to_try(directory: Path, serving: ServerProcess) -> None:
    welcome = serving.log.read_text().partition(f"Ready at {serving.url}")[2]
    script = "\n".join(line for line in welcome.splitlines() if line.startswith("    "))
    assert "a copy of this License" in run(BASH, script, directory, serving)
