"""`rmt ask`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
from rich.console import Console

from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, SessionId, Url, connect
from rmt_client.cli.output import put_json
from rmt_client.models import Answer


def ask(
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...")],
    session: SessionId,
    mode: Annotated[str | None, typer.Option(help='"recall" answers from the memory.')] = None,
    lane: Annotated[int | None, typer.Option(help="The focus whose memory answers, by its number.")] = None,
    snapshot: Annotated[str | None, typer.Option(metavar="ID", help="Ask a snapshot instead.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Read all that was sent first.")] = True,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="How long to wait altogether.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask a session; several questions are answered from one and the same position."""
    with connect(url, api_key) as rmt, _waiting():
        answers = rmt.ask_many(
            session,
            questions,
            mode=mode,
            lane=lane,
            snapshot=snapshot,
            wait=wait,
            max_tokens=max_tokens,
            timeout_s=timeout,
        )
    if as_json:
        put_json(answers)
        return
    for answer in answers.answers:
        typer.echo(_line(answer, alone=len(questions) == 1))


def _waiting() -> AbstractContextManager[object]:
    console = Console(stderr=True)
    return console.status("waiting for the answer") if console.is_terminal else nullcontext()


def _line(answer: Answer, *, alone: bool) -> str:
    """Shows only the answer to a pipe that asked one question; more to a person."""
    text = answer.answer if alone else f"{answer.question}\t{answer.answer}"
    if sys.stdout.isatty() and answer.confidence is not None:
        text += typer.style(f"  ({answer.confidence:.0%})", dim=True)
    return text
