"""Documents whose commands are run, and the server that they speak to."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving import ServerProcess

from rmt_server.redis_process.server import EmbeddedRedis

BASH = ["bash", "-euo", "pipefail", "-c"]
DEFAULT_URL = "http://127.0.0.1:8080"


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server as `make serve` starts it, with the default checkpoint; one for all documents."""
    directory = tmp_path_factory.mktemp("serving")
    with EmbeddedRedis(directory / "redis") as redis:
        settings = {"redis_url": redis.url, "checkpoint": "auto", "device": "cpu", "threads": 1}
        with ServerProcess(directory, settings) as server:
            yield server.wait_until_ready()


def blocks(document: Path, language: str) -> list[str]:
    """The examples of a document that are written in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.M | re.S)


def run(command: list[str], script: str, directory: Path, server: ServerProcess | None = None) -> str:
    """What a script prints, run in a directory and with this server, if any, in the default one's place."""
    url = server.url if server else DEFAULT_URL
    done = subprocess.run(
        [*command, script.replace(DEFAULT_URL, url)],
        cwd=directory,
        env=os.environ | {"RMT_URL": url},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
