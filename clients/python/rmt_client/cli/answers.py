"""How answers are shown: to a person with the sentences that hold them, to a pipe alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from rmt_client.cli.output import note, one_line
from rmt_client.models import Answer, Citation

NOT_FOUND = "I did not find this."
NOT_SUPPORTED = (
    "I can answer questions whose answer stands at a place of the text: who, what, when, where, which, how many, why. "
    "I cannot summarise, list, translate or judge."
)
FOR_PIPES = {"not_found": "(not found)", "not_supported": "(not supported)"}
"""What a pipe gets where there is no answer."""
MOST_QUOTES = 3
_MOST_COLUMNS = 100
_INDENT = 2


def put_answer(answer: Answer, *, alone: bool) -> None:
    """Shows an answer; `alone` tells that it is the only one, so that its question need not stand beside it."""
    if not sys.stdout.isatty():
        if alone:
            typer.echo(_for_pipes(answer))
        else:
            typer.echo(f"{one_line(answer.question)}\t{one_line(_for_pipes(answer))}")
        _explain(answer)
        return
    if not alone:
        typer.echo(typer.style(one_line(answer.question), bold=True))
    if answer.answer is not None:
        typer.echo(one_line(answer.answer), nl=False)
    _put_rest(answer)


def put_word(text: str) -> None:
    """Shows further words of an answer."""
    typer.echo(one_line(text) if sys.stdout.isatty() else text, nl=False)


def put_end(answer: Answer, *, told: bool) -> None:
    """Shows what is known when all words of an answer have been shown; `told` tells whether there were any."""
    if answer.answer is None and told:  # the words became less and less likely to be right
        typer.echo()
    if sys.stdout.isatty():
        _put_rest(answer)
        return
    typer.echo("" if answer.answer is not None else _for_pipes(answer))
    _explain(answer)


def put_notices(answers: Sequence[Answer]) -> None:
    """Shows what else there is to know about answers, each once."""
    for notice in dict.fromkeys(answer.notice for answer in answers if answer.notice):
        note(f"Note: {one_line(notice)}")


def _for_pipes(answer: Answer) -> str:
    return FOR_PIPES.get(answer.outcome, FOR_PIPES["not_found"]) if answer.answer is None else answer.answer


def _explain(answer: Answer) -> None:
    if answer.outcome == "not_supported":
        note(NOT_SUPPORTED)


def _put_rest(answer: Answer) -> None:
    """Shows a person what stands behind an answer, and below it; or that there is none."""
    if answer.answer is not None:
        unproven = ", not verified: the first quote alone does not give it" if answer.verified is False else ""
        typer.echo(typer.style(f"  ({answer.confidence:.0%}{unproven})", dim=True))
        _put_quotes(answer.citations, dim=False)
        return
    typer.echo(NOT_SUPPORTED if answer.outcome == "not_supported" else NOT_FOUND)
    if answer.citations:
        typer.echo(typer.style("Closest:", dim=True))
        _put_quotes(answer.citations, dim=True)
    elif answer.guess:
        typer.echo(typer.style(f"At best: {one_line(answer.guess)} ({answer.confidence:.0%})", dim=True))


def _put_quotes(citations: Sequence[Citation], *, dim: bool) -> None:
    """Shows sentences with the answer in bold, and below each where it stands."""
    console = Console(highlight=False)
    console.width = min(console.width, _MOST_COLUMNS)
    for citation in citations[:MOST_QUOTES]:
        before, answer, behind = map(one_line, citation.parts)
        quote = Text.assemble("“", before, (answer, "bold"), behind, "”", style="dim" if dim else "")
        console.print(Padding.indent(quote, _INDENT))
        console.print(Padding.indent(Text(place_of(citation), style="dim"), _INDENT))


def place_of(citation: Citation) -> str:
    """Says where a sentence stands: in its document, or where that is not known in the session's text."""
    if citation.document_id is None or citation.start_char is None or citation.end_char is None:
        return f"bytes {citation.start:,}–{citation.end:,} of the session's text"
    place = [f"document {one_line(citation.document or citation.document_id)}"]
    if citation.page is not None:
        place.append(f"page {citation.page}")
    if citation.section:
        place.append(f"section {one_line(citation.section)}")
    return ", ".join([*place, f"characters {citation.start_char:,}–{citation.end_char:,}"])
