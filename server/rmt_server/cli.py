"""The command `rmt-server`: serve, openapi."""

import argparse
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import FrameType

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from rmt_model.allocator import keep_freed_memory
from rmt_model.backbone import BACKBONES
from rmt_model.checkpoint import find_checkpoint, load_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.engine import Engine
from rmt_model.errors import RmtModelError
from rmt_model.pull import pull
from rmt_server.app import create_app, openapi
from rmt_server.embedded_redis import EmbeddedRedis
from rmt_server.errors import RmtServerError
from rmt_server.settings import Settings
from rmt_server.store import Store

__all__ = ["main"]

_WELCOME = """
Ready at {url}, documentation under {url}/docs. Try, in another terminal:

    export RMT_URL={url}
    SESSION=$({{ cat README.md; echo 'The gloomy badge opens the narrow barrier.'; cat LICENSE; }} |
        .venv/bin/rmt read - --focus 'What opens the narrow barrier?')
    .venv/bin/rmt ask 'What opens the narrow barrier?' --session $SESSION

"""
_FLAGS = ("host", "port", "redis_url", "data_dir", "checkpoint", "device")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that a user can mend are one sentence, exit code 1."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return int(options.run(options))
    except ValidationError as error:
        for one in error.errors():
            name = "RMT_" + "_".join(map(str, one["loc"])).upper() if one["loc"] else "settings"
            sys.stderr.write(f"rmt-server: {name}: {one['msg']}\n")
    except (RmtServerError, RmtModelError) as error:
        sys.stderr.write(f"rmt-server: {error}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rmt-server", description="Serve a Recurrent Memory Transformer over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the server")
    for name in _FLAGS:
        field = Settings.model_fields[name]
        serve.add_argument(
            f"--{name.replace('_', '-')}", help=f"{field.description} [RMT_{name.upper()}, {field.default}]"
        )
    serve.set_defaults(run=_serve)
    contract = commands.add_parser("openapi", help="print the wire contract")
    contract.set_defaults(run=_openapi)
    return parser


def _openapi(options: argparse.Namespace) -> int:
    del options
    sys.stdout.write(json.dumps(openapi(), indent=2, sort_keys=True) + "\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in _FLAGS if getattr(options, name) is not None}
    settings = Settings(**given)
    with ExitStack() as stack:
        redis_url = settings.redis_url
        if not redis_url:
            redis = stack.enter_context(EmbeddedRedis(settings.data_dir / "redis", append_fsync=settings.redis_fsync))
            redis_url = redis.url
        store = Store.connect(redis_url)
        with ThreadPoolExecutor(1) as loader:
            engine = loader.submit(_engine, settings).result()
        app = create_app(settings, store, engine)
        _server(app, settings).run()
    return 0


def _engine(settings: Settings) -> Engine:
    """Load the checkpoint, fetching its backbone first if that was never done.

    Called in a thread that ends: PyTorch leaves OpenMP's threads behind where it computed, and with another team beside
    its own, more than there are processors, the engine's would sleep at every turn instead of waiting awake.
    """
    keep_freed_memory()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    directory = find_checkpoint(settings.checkpoint, device=settings.device)
    base = RMTConfig.from_json((directory / "rmt.json").read_text()).base
    if base in BACKBONES:
        pull(base)
    checkpoint = load_checkpoint(directory, device=settings.device, dtype=settings.dtype)
    lanes = (settings.max_readings + 1) * settings.max_focuses
    return Engine(checkpoint, slots=lanes, max_batch_lanes=settings.max_batch_lanes)


class _Server(uvicorn.Server):
    """Says what to try, and at a signal stops reading at once, beside the requests that are still served.

    It ends without an error. Uvicorn would raise the signal again at the end: to a supervisor that is a crash.
    """

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say what to try."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            sys.stdout.write(_WELCOME.format(url=f"http://{host}:{port}"))
            sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl+C stops without waiting for anybody."""
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._app.state.scheduler.stop()


def _server(app: FastAPI, settings: Settings) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="info",
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s),
        timeout_keep_alive=75,
        server_header=False,
        date_header=True,
    )
    return _Server(app, config)
