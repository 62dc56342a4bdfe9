"""The JavaScript client: its types, and its own tests in Node at a real server."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.serving import Server

HERE = Path(__file__).parents[2] / "clients" / "javascript"

pytestmark = pytest.mark.usefixtures("node_modules")


def npm(*command: str, **environment: str) -> None:
    done = subprocess.run(
        ["npm", *command], cwd=HERE, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_against_a_real_server(server: Server) -> None:
    npm("test", RMT_URL=server.url)


def test_types_hold() -> None:
    npm("run", "check")


def test_the_types_of_what_is_sent_are_those_of_the_contract(tmp_path: Path) -> None:
    written = tmp_path / "wire.d.ts"
    npm("exec", "--", "openapi-typescript", "../../docs/openapi.json", "--output", str(written))
    assert written.read_text() == (HERE / "src" / "wire.d.ts").read_text(), "run: npm run wire"
