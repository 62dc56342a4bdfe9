"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from rmt_client.errors import InvalidError
from rmt_client.models import Session


def fail(message: str, hint: str = "") -> NoReturn:
    """Says what went wrong and what to do, and exits with 1."""
    note(f"rmt: {message}" + (f"\n{hint}" if hint else ""))
    sys.exit(1)


def note(text: str) -> None:
    """Says something that is not the result."""
    typer.echo(text, err=True)


def put_json(value: object) -> None:
    """Prints JSON on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def put_line(cells: Iterable[object]) -> None:
    """Prints one line of values with tabs between."""
    typer.echo("\t".join(map(_text, cells)))


def put_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table for people; without a terminal, lines of values with tabs between."""
    texts = [["" if cell is None else one_line(_text(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for text in texts:
            typer.echo("\t".join(text))
        return
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for text in texts:
        table.add_row(*text)
    Console().print(table)


def one_line(text: str) -> str:
    """A text whose ends of lines and control characters, which a terminal would obey, are spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


def put_record(record: Mapping[str, object]) -> None:
    """Prints one thing, a line for each of its properties."""
    put_table(["property", "value"], [[name, value] for name, value in record.items()])


def put_deleted(name: str, as_json: bool) -> None:
    """Confirms a deletion, where somebody wants to hear of it."""
    if as_json:
        put_json({"id": name, "deleted": True})


def took_nothing(session: Session) -> str:
    """Says that a session's memory took nothing of its text in; empty where it did, or that is not known."""
    if session.memory_took != "nothing":
        return ""
    return "The memory took nothing of this text in" + (
        "; search still finds its passages." if session.keep_text else "."
    )


def utf8_hint(error: InvalidError, name: str) -> str:
    """Says what to do about a text that is not UTF-8."""
    if error.offset is None:
        return error.hint
    return f"Byte {error.offset} of {name} is not UTF-8: convert it, as with `iconv -f LATIN1 -t UTF-8`."


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, list | tuple):
        return " | ".join(map(str, value))
    return str(value)
