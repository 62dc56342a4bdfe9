"""`rmt watch`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connect
from rmt_client.cli.output import note, one_line, put_json
from rmt_client.client import Client
from rmt_client.models import Answer, Session
from rmt_client.source import name_of

LOOK_S = 0.5
PIECE_BYTES = 1 << 20


def watch(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="A file that grows.")
    ],
    focus: Annotated[
        list[str] | None,
        typer.Option("--focus", "-f", metavar="QUESTION", help="What to look out for; repeatable."),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="ID", help="An existing session with focuses.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin with what comes from now on.")] = False,
    idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="End when the file has not grown for so long.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Follow a growing file, and tell whenever the answer to a focus changes; until Ctrl-C."""
    if bool(session) == bool(focus):
        raise typer.BadParameter("Give either --focus, or a --session that has some.")
    with connect(url, api_key) as rmt:
        reader = rmt.get_session(session) if session else rmt.create_session(focus=focus, metadata={"title": file.name})
        if not reader.focus:
            raise typer.BadParameter(f"Session {reader.id} has no focuses to look out for.")
        note(f"Session {reader.id} follows {file}.")
        known: dict[str, str | None] = {}
        try:
            for lines in appended(file, idle, skip=new):
                for answer in _read_and_ask(rmt, reader, lines, name_of(file)):
                    if answer.question not in known or known[answer.question] != answer.answer:
                        known[answer.question] = answer.answer
                        _tell(answer, as_json)
        except KeyboardInterrupt:
            note(f"rmt: Stopped; session {reader.id} stays.")


def _read_and_ask(rmt: Client, session: Session, lines: bytes, name: str) -> tuple[Answer, ...]:
    rmt.read(session.id, lines, name=name)
    return rmt.ask_many(session.id, session.focus).answers


def _tell(answer: Answer, as_json: bool) -> None:
    if as_json:
        put_json(answer)
    else:
        said = "(not known)" if answer.answer is None else one_line(answer.answer)
        typer.echo(f"{answer.question}\t{said}\t{answer.confidence:.0%}")


def appended(file: Path, idle_s: float | None, *, skip: bool) -> Iterator[bytes]:
    """The whole lines of a file, and then those that are appended to it; one that became shorter begins anew."""
    with file.open("rb") as opened:
        if skip:
            opened.seek(0, 2)
        rest, grew_s = b"", time.monotonic()
        while idle_s is None or time.monotonic() - grew_s < idle_s:
            if file.stat().st_size < opened.tell():
                opened.seek(0)
                rest = b""
            lines, newline, rest = (rest + opened.read(PIECE_BYTES)).rpartition(b"\n")
            if newline:
                grew_s = time.monotonic()
                yield lines + newline
            elif len(rest) >= PIECE_BYTES:  # no line: it is text all the same
                grew_s = time.monotonic()
                yield rest
                rest = b""
            else:
                time.sleep(LOOK_S)
