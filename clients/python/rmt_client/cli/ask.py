"""`rmt ask`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
from rich.console import Console

from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, SessionId, Url, connect
from rmt_client.cli.output import note, put_json
from rmt_client.cli.trace import put_trace
from rmt_client.client import Client
from rmt_client.errors import ProblemError
from rmt_client.models import Answer
from rmt_client.options import AskOptions

UNKNOWN = "(not in the document)"
"""What is shown where there is no answer."""


def ask(
    session: SessionId,
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUESTION...]", help="Without any, they are asked for, or read as lines from a pipe."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help='"recall" at once, "reread" the text for each question, or "auto": whichever is surer.'),
    ] = None,
    lane: Annotated[int | None, typer.Option(help="The focus whose memory answers, by its number.")] = None,
    snapshot: Annotated[str | None, typer.Option(metavar="ID", help="Ask a snapshot instead.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Read all that was sent first.")] = True,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show the words as they are decoded (one question).")
    ] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show where each answer came from.")] = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="How long to wait altogether.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask a session; several questions are answered from one and the same position."""
    options: AskOptions = {
        "mode": mode,
        "lane": lane,
        "snapshot": snapshot,
        "wait": wait,
        "max_tokens": max_tokens,
        "trace": trace or None,
    }
    talking = not questions and sys.stdin is not None and sys.stdin.isatty()
    if (stream or talking) and (len(questions or []) > 1 or as_json or timeout is not None):
        raise typer.BadParameter("Words as they come are for one question at a time, without --json and --timeout.")
    with connect(url, api_key) as rmt:
        if talking:
            _talk(rmt, session, options)
            return
        questions = questions or _piped()
        if stream:
            _show(rmt.stream_answer(session, questions[0], **options))
            return
        with _waiting():
            answers = rmt.ask_many(session, questions, timeout_s=timeout, **options)
    if as_json:
        put_json(answers)
        return
    for answer in answers.answers:
        typer.echo(_line(answer, alone=len(questions) == 1))
        if answer.trace is not None:
            put_trace(answer.trace)


def _talk(rmt: Client, session: str, options: AskOptions) -> None:
    """Asks a person for questions, until the end of the input; what goes wrong with one does not end it."""
    note("Ask; Ctrl-D ends it.")
    while True:
        try:
            question = input("? ").strip()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        try:
            if question:
                _show(rmt.stream_answer(session, question, **options))
        except ProblemError as error:
            note(f"{error} {error.hint}".rstrip())


def _piped() -> list[str]:
    questions = [] if sys.stdin is None else [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        raise typer.BadParameter("There is no question.")
    return questions


def _show(pieces: Iterator[str | Answer]) -> None:
    told = ""
    for piece in pieces:
        if isinstance(piece, str):
            typer.echo(piece, nl=False)
            told += piece
            continue
        if piece.answer is not None:
            typer.echo()
        else:  # the words before were less and less likely to be right
            typer.echo(f"\n{UNKNOWN}" if told else UNKNOWN)
        if piece.trace is not None:
            put_trace(piece.trace)


def _waiting() -> AbstractContextManager[object]:
    console = Console(stderr=True)
    return console.status("waiting for the answer") if console.is_terminal else nullcontext()


def _line(answer: Answer, *, alone: bool) -> str:
    """Shows only the answer to a pipe that asked one question; more to a person."""
    said = UNKNOWN if answer.answer is None else answer.answer
    text = said if alone else f"{answer.question}\t{said}"
    if sys.stdout.isatty():
        guess = f"; at best: {answer.guess}" if answer.answer is None else ""
        text += typer.style(f"  ({answer.confidence:.0%}{guess})", dim=True)
    return text
