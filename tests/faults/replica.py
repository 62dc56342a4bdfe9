"""A server of a campaign: `rmt-server serve` in a process of its own, back within half a second after it was killed.

Starting Python with PyTorch takes seconds, so a process that has imported everything, and computed nothing, is forked.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path

from tests.serving import free_port

_PRELOADED = [
    "rmt_server.cli",
    "rmt_server.serve",
    "transformers.models.llama.modeling_llama",
    "anyio._backends._asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
]
_STOP_TIMEOUT_S = 60.0

_nursery = multiprocessing.get_context("forkserver")
_nursery.set_forkserver_preload(_PRELOADED)
_looking = threading.Lock()
"""Held by whoever looks how a process ended, which starting another one does, too: it can be told only once."""


class Replica:
    """One of the servers on a Redis."""

    def __init__(self, settings: Mapping[str, object], log: Path) -> None:
        self.port = free_port()
        self.log = log
        self._environment = {f"RMT_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment["RMT_PORT"] = str(self.port)
        self._process = self._new()

    @property
    def url(self) -> str:
        """Where it listens, in each of its lives."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin a life; it takes a while until it answers."""
        self._process = self._new()
        with _looking:
            self._process.start()

    def signal(self, what: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process.pid is not None
        os.kill(self._process.pid, what)

    def end(self, how: signal.Signals) -> int:
        """Its exit status after a signal."""
        self.signal(how)
        return self.wait(how.name)

    def wait(self, why: str) -> int:
        """Its exit status when it has ended."""
        stopped = wait([self._process.sentinel], _STOP_TIMEOUT_S)
        if not stopped:
            self.signal(signal.SIGKILL)
            wait([self._process.sentinel])
        with _looking:
            status = self._process.exitcode
        assert stopped, f"a server did not stop within {_STOP_TIMEOUT_S} s after {why}: {self.log}"
        assert status is not None
        return status

    def _new(self) -> multiprocessing.context.ForkServerProcess:
        return _nursery.Process(target=_serve, args=(self._environment, self.log), daemon=True)


def _serve(environment: Mapping[str, str], log: Path) -> None:
    """What the process does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in [name for name in os.environ if name.startswith("RMT_")]:
        del os.environ[name]
    os.environ.update(environment)
    from rmt_server.cli import main

    raise SystemExit(main(["serve"]))


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
