"""A server for a benchmark: `rmt-server serve`, with an embedded Redis of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

_START_S = 180.0
_STOP_S = 60.0


@dataclass(frozen=True)
class Served:
    """Where a server listens, and its process."""

    url: str
    pid: int


def resident_mb(process: int | str = "self") -> tuple[float, float]:
    """Megabytes of a process that are its own, and of files that it maps, as far as they are in memory."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    own, files = (int(found[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, files


@contextmanager
def server(checkpoint: str | Path, **settings: object) -> Iterator[Served]:
    """A server that is ready, until it is no longer needed.

    Raises:
        RuntimeError: It ended at once; it has said why.
        TimeoutError: It did not become ready.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        known = {"port": port, "data_dir": data, "checkpoint": checkpoint, "log_level": "error"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RMT_")}
        environment |= {f"RMT_{name.upper()}": str(value) for name, value in (known | settings).items()}
        command = [str(Path(sys.executable).with_name("rmt-server")), "serve"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}", process)
            yield Served(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            process.wait(_STOP_S)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {process.returncode}")
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").is_success:
                return
        time.sleep(0.1)
    raise TimeoutError(f"the server did not become ready within {_START_S:.0f} s")
