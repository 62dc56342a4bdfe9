"""The demo fails when its server does not stop cleanly, and leaves none behind."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

DEMO = Path(__file__).resolve().parents[2] / "clients" / "demo" / "demo.py"
SERVER = """#!{python}
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"status": "ready"}}')

signal.signal(signal.SIGTERM, {at_the_signal})
print(os.getpid(), flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Ready).serve_forever()
"""


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("at_the_signal", "code", "said"),
    [
        ("lambda *_: os._exit(0)", 0, "The server stopped cleanly"),
        ("lambda *_: os._exit(3)", 1, "the server stopped with exit code 3"),
        ("signal.SIG_IGN", 1, "the server stopped with exit code -9"),
    ],
)
def test_how_the_server_stops_counts(
    demo: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    at_the_signal: str,
    code: int,
    said: str,
) -> None:
    server = tmp_path / "rmt-server"
    server.write_text(SERVER.format(python=sys.executable, at_the_signal=at_the_signal))
    server.chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--data-dir", str(tmp_path / "data")])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(demo, "STOP_TIMEOUT_S", 1.0)
    monkeypatch.setattr(demo, "_run", lambda *_: 0)
    assert demo.main() == code
    assert said in capfd.readouterr().out
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "data" / "server.log").read_text().split()[0]), 0)
