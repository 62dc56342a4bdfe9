"""The command line, `rmt`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from rmt_client.cli.ask import ask
from rmt_client.cli.config import config, defaults
from rmt_client.cli.output import fail
from rmt_client.cli.read import read
from rmt_client.cli.search import search
from rmt_client.cli.sessions import sessions
from rmt_client.cli.snapshots import snapshots
from rmt_client.cli.status import status
from rmt_client.cli.trace import timeline, trace
from rmt_client.cli.watch import watch
from rmt_client.errors import RmtError

__all__ = ["app", "main"]

app = typer.Typer(
    name="rmt",
    help="Stream documents of any length into the memory of an rmt-server, and ask it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(read)
app.command()(ask)
app.command()(search)
app.command()(watch)
app.add_typer(sessions, name="sessions")
app.add_typer(snapshots, name="snapshots")
app.command()(trace)
app.command()(timeline)
app.command()(status)
app.add_typer(config, name="config")


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command; exits with 1 after an error, 2 after wrong usage, 130 after Ctrl-C."""
    try:
        command = get_command(app)
        command(args, prog_name="rmt", default_map=defaults(command))
    except RmtError as error:
        fail(str(error), error.hint)
    except Exception as error:
        if os.environ.get("RMT_DEBUG"):
            raise
        fail(
            f"{type(error).__name__}: {error or 'no details'}.",
            "This is unexpected: please report it with what RMT_DEBUG=1 shows.",
        )
    sys.exit(1)
