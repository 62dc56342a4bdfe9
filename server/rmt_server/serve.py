"""serve: a store, an engine and the app around them, until a signal."""

import gc
import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import FrameType

import torch
import uvicorn
from fastapi import FastAPI

from rmt_model import engines
from rmt_model.allocator import keep_freed_memory
from rmt_model.lane_engine import LaneEngine
from rmt_server.app import create_app
from rmt_server.http.protocol import http_config
from rmt_server.redis_process.keeper import RedisKeeper
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.settings import Settings
from rmt_server.store import Quotas, Store
from rmt_server.traces import start_traces

__all__ = ["load_engine", "serve"]

_log = logging.getLogger(__name__)
_WELCOME = """
Ready at {url}, a page for browsers; documentation under {url}/docs. Try, in another terminal:

    export RMT_URL={url}
    SESSION=$(.venv/bin/rmt read LICENSE)
    .venv/bin/rmt ask 'What must I give to recipients of the Work?' --session $SESSION

"""


def serve(settings: Settings) -> None:
    """Serve until a signal says to stop.

    Raises:
        RmtServerError: The server cannot start.
        RmtModelError: The checkpoint cannot be loaded.
    """
    with ExitStack() as stack:
        stack.callback(start_traces(os.environ))
        redis_url = settings.redis_url.get_secret_value()
        if not redis_url:
            redis = stack.enter_context(EmbeddedRedis(settings.data_dir / "redis", append_fsync=settings.redis_fsync))
            stack.enter_context(RedisKeeper(redis))
            redis_url = redis.url
        store = Store.connect(redis_url, quotas=Quotas.of(settings))
        app = create_app(settings, store, load_engine(settings))
        gc.freeze()  # all that is here stays: no later collection, which stops everybody, looks at it
        gc.enable()
        _Server(app, http_config(app, settings), says_hello=settings.log_format != "json").run()


def load_engine(settings: Settings) -> LaneEngine:
    """Load the checkpoint, fetching its backbone first if that was never done.

    In a thread that ends: PyTorch leaves OpenMP's threads behind where it computed, and with another team beside its
    own, more than there are processors, the engine's would sleep at every turn instead of waiting awake.

    Raises:
        RmtModelError: The checkpoint cannot be loaded.
    """
    with ThreadPoolExecutor(1) as loader:
        return loader.submit(_engine, settings).result()


def _engine(settings: Settings) -> LaneEngine:
    keep_freed_memory()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return engines.load_engine(
        settings.checkpoint,
        device=settings.device,
        dtype=settings.dtype,
        slots=(settings.max_readings + settings.max_rereads + 1) * settings.max_focuses,
        max_batch_lanes=settings.max_batch_lanes,
        max_answer_lanes=settings.max_answer_lanes,
        pulls=True,
    )


class _Server(uvicorn.Server):
    """Says what to try, and at a signal stops reading at once, beside the requests that are still served.

    It ends without an error. Uvicorn would raise the signal again at the end: to a supervisor that is a crash.
    """

    def __init__(self, app: FastAPI, config: uvicorn.Config, *, says_hello: bool) -> None:
        super().__init__(config)
        self._app = app
        self._says_hello = says_hello

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say what to try."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            _log.info("ready at %s", url)
            if self._says_hello:
                sys.stdout.write(_WELCOME.format(url=url))
                sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl+C stops without waiting for anybody."""
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._app.state.scheduler.stop()
