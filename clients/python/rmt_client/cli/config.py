"""`rmt config`: what is remembered between commands."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from rmt_client.cli.output import put_json, put_table
from rmt_client.errors import UsageError

NAMES = ("url", "api-key")
"""What can be remembered; an option or an environment variable goes first."""

config = typer.Typer(help="Remember where the server is, and your key.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="|".join(NAMES))]


@config.command("set")
def put(name: Name, value: Annotated[str, typer.Argument(metavar="VALUE")]) -> None:
    """Remember something; the file is readable by you alone."""
    _require(name)
    _write(stored() | {name: value})


@config.command("unset")
def drop(name: Name) -> None:
    """Forget it."""
    _require(name)
    _write({known: value for known, value in stored().items() if known != name})


@config.command("show")
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """What is remembered; of the key only its end."""
    found = {name: f"…{value[-4:]}" if name == "api-key" else value for name, value in stored().items()}
    if as_json:
        put_json({"file": str(path()), **found})
    else:
        put_table(["name", "value"], [["file", path()], *found.items()])


def path() -> Path:
    """Where it is kept."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "rmt" / "config.toml"


def stored() -> dict[str, str]:
    """What is remembered.

    Raises:
        UsageError: The file is not what this command writes.
    """
    try:
        found = tomllib.loads(path().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path()} cannot be read: {error}.", "Mend it, or delete it.") from error
    unknown = [name for name, value in found.items() if name not in NAMES or not isinstance(value, str)]
    if unknown:
        raise UsageError(f"{path()} has {unknown[0]!r}, which is none of {', '.join(NAMES)}.", "Mend it, or delete it.")
    return found


def defaults(command: Any) -> dict[str, Any]:
    """Click's `default_map` for a command and all below it: what is remembered, for the options of that name."""
    known = {name.replace("-", "_"): value for name, value in stored().items()}
    below = getattr(command, "commands", {})
    return known | {name: defaults(one) for name, one in below.items()}


def _require(name: str) -> None:
    if name not in NAMES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(NAMES)}.")


def _write(values: dict[str, str]) -> None:
    path().parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()]
    file = path().with_suffix(".new")
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:  # it may hold a key
        written.writelines(lines)
    file.replace(path())
