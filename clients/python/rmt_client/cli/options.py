"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rmt_client.base import DEFAULT_URL
from rmt_client.client import Client
from rmt_client.patience import Retry


def _there(file: Path) -> Path:
    if str(file) != "-" and (not file.exists() or file.is_dir()):
        raise typer.BadParameter(f"there is no file {file}.")
    return file


Url = Annotated[str, typer.Option("--url", envvar="RMT_URL", help="Where the server is.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="RMT_API_KEY", help="Your key.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[Path, typer.Argument(metavar="FILE|-", callback=_there, help="What to read; - is standard input.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="The most to list.")]
SessionId = Annotated[str, typer.Option("--session", "-s", metavar="ID", help="The session.")]
Focus = Annotated[
    list[str] | None,
    typer.Option("--focus", "-f", metavar="QUESTION", help="A question known before reading; repeatable."),
]
KeepText = Annotated[
    bool | None,
    typer.Option("--keep-text/--no-keep-text", help="Keep the text for later rereading.", show_default="the server's"),
]
TtlS = Annotated[
    int | None,
    typer.Option("--ttl", metavar="SECONDS", min=1, help="How long the session lives after its last change."),
]
Metadata = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="NAME=TEXT", help="A word of your own; repeatable.")
]

__all__ = [
    "DEFAULT_URL",
    "ApiKey",
    "AsJson",
    "File",
    "Focus",
    "KeepText",
    "Limit",
    "Metadata",
    "SessionId",
    "TtlS",
    "Url",
    "connect",
    "list_by_default",
    "pairs",
]


def connect(url: str, api_key: str | None, retry: Retry = Retry()) -> Client:  # noqa: B008 (frozen)
    """Opens the client that a command uses."""
    return Client(url, api_key, retry=retry)


def pairs(metadata: list[str] | None) -> dict[str, str] | None:
    """Reads NAME=TEXT options."""
    if not metadata:
        return None
    wrong = next((pair for pair in metadata if "=" not in pair), None)
    if wrong is not None:
        raise typer.BadParameter(f"{wrong!r} is not NAME=TEXT.")
    return dict(pair.split("=", 1) for pair in metadata)


def list_by_default(context: typer.Context) -> bool:
    """Tells whether a group was called alone; its options would be lost on a subcommand."""
    if context.invoked_subcommand is None:
        return True
    given = [
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if given:
        raise typer.BadParameter(f"Put the options behind `{context.invoked_subcommand}`.")
    return False
