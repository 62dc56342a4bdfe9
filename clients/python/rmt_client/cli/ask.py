"""`rmt ask`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal

import typer
from rich.console import Console

from rmt_client.cli.answers import put_answer, put_end, put_notices, put_word
from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, SessionId, Url, connect
from rmt_client.cli.output import note, put_json
from rmt_client.cli.trace import put_trace
from rmt_client.client import Client
from rmt_client.errors import ProblemError
from rmt_client.models import Answer
from rmt_client.options import AskOptions

Mode = Literal["auto", "search", "recall", "reread"]
_QUESTION_MARKS = ("?", "？", "؟")


def ask(
    session: SessionId,
    questions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUESTION...]",
            help='What to ask. Words up to one that ends with "?" are one question, so it needs no quotes, unless your '
            "shell expands the ?. Without any, questions are asked for, or read as lines from a pipe.",
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help='"search" reads the places of the text that have the words of the question; "recall" asks the memory; '
            '"reread" reads the whole text for each question; "auto" takes the memory of a focus if the question is '
            "one, else searches.",
            show_default="auto, or recall for a checkpoint that cannot search",
        ),
    ] = None,
    documents: Annotated[
        list[str] | None,
        typer.Option("--document", "-d", metavar="ID", help="Search this document only; repeatable."),
    ] = None,
    lane: Annotated[int | None, typer.Option(help="The focus whose memory answers, by its number.")] = None,
    snapshot: Annotated[str | None, typer.Option(metavar="ID", help="Ask a snapshot instead.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Read all that was sent first.")] = True,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer, where it is written.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show the words as they come (one question).")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show the segment of the text that each answer came from.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="How long to wait altogether.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask a session; several questions are answered from one and the same position.

    A terminal shows each answer above the sentences that hold it. A pipe gets the answer alone.
    """
    questions = as_questions(questions or [])
    options: AskOptions = {
        "mode": mode,
        "documents": documents or None,
        "lane": lane,
        "snapshot": snapshot,
        "wait": wait,
        "max_tokens": max_tokens,
        "trace": trace or None,
    }
    talking = not questions and sys.stdin is not None and sys.stdin.isatty()
    if (stream or talking) and (len(questions) > 1 or as_json or timeout is not None):
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
        put_answer(answer, alone=len(questions) == 1)
        if answer.trace is not None:
            put_trace(answer.trace)
    put_notices(answers.answers)


def as_questions(words: list[str]) -> list[str]:
    """Questions out of the arguments of a command: each goes on until an argument ends with a question mark."""
    questions: list[str] = []
    goes_on = False
    for word in words:
        if goes_on:
            questions[-1] += f" {word}"
        else:
            questions.append(word)
        goes_on = not word.rstrip().endswith(_QUESTION_MARKS)
    return questions


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
    told = False
    for piece in pieces:
        if isinstance(piece, str):
            put_word(piece)
            told = True
            continue
        put_end(piece, told=told)
        if piece.trace is not None:
            put_trace(piece.trace)
        put_notices([piece])


def _waiting() -> AbstractContextManager[object]:
    console = Console(stderr=True)
    return console.status("waiting for the answer") if console.is_terminal else nullcontext()
