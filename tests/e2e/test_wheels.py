"""The packages as they are installed elsewhere: from wheels, in a clean environment."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.serving import Server, text

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)], env=clean | environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel_of(package: str, folder: Path) -> Path:
    """A wheel, built from a copy without what earlier builds left."""
    source = folder / "source"
    ignored = "--exclude=build --exclude=*.egg-info --exclude=node_modules"
    for part in {package, "clients/javascript/src"}:
        run("mkdir", "-p", source / part)
        run("bash", "-c", f"tar -C {ROOT / part} {ignored} -c . | tar -C {source / part} -x")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", folder, source / package)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_servers_wheel_has_all_that_it_serves(tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheel_of("server", tmp_path)).namelist())
    package = ROOT / "server" / "rmt_server"
    wanted = [*package.rglob("*.py"), *package.glob("store/*.lua"), *package.glob("web/*.*")]
    assert {str(file.relative_to(package.parent)) for file in wanted} <= names
    assert {f"rmt_server/web/rmt-client/{file.name}" for file in package.glob("web/rmt-client/*.js")} <= names


@pytest.mark.slow
def test_the_clients_wheel_works_by_itself(tmp_path: Path, server: Server) -> None:
    wheel = wheel_of("clients/python", tmp_path)
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    constraints = ROOT / "constraints.txt"
    python, rmt = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "rmt"
    run(python, "-m", "pip", "install", "--quiet", wheel, PIP_CONSTRAINT=str(constraints))
    book = tmp_path / "book.txt"
    book.write_bytes(text(5000))
    url = ["--url", server.url]
    sid = run(rmt, "read", book, "--focus", "Where is Mary?", *url).strip()
    assert server.look(sid)["read_bytes"] == 5000
    assert run(rmt, "ask", "Where is Mary?", "--session", sid, *url)
    assert "ready" in run(rmt, "status", *url)
    found = run(python, "-c", "import rmt_client, sys; print(rmt_client.__file__, 'torch' in sys.modules)")
    assert found.startswith(str(tmp_path))
    assert found.endswith("False\n")
