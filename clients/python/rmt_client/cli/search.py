"""`rmt search`."""

from __future__ import annotations

import shutil
import textwrap
from typing import Annotated

import typer

from rmt_client.cli.options import DEFAULT_URL, ApiKey, AsJson, SessionId, Url, connect
from rmt_client.cli.output import note, one_line, put_json
from rmt_client.models import FoundPassage

_MOST_COLUMNS = 100


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words in any language; there is no syntax.")],
    session: SessionId,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="The most passages.")] = 5,
    documents: Annotated[
        list[str] | None, typer.Option("--document", "-d", metavar="ID", help="Search this document only; repeatable.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find passages of the text by their words, the best first."""
    with connect(url, api_key) as rmt:
        found = rmt.search(session, query, limit=limit, documents=documents or None)
    if as_json:
        put_json(found)
    elif not found.passages:
        note(f"None of these words are in the text ({found.position} bytes).")
    else:
        typer.echo("\n\n".join(_shown(passage) for passage in found.passages))


def _shown(passage: FoundPassage) -> str:
    """A passage under a line that says where it stands."""
    where = "" if passage.document_id is None else f" of {one_line(passage.document or passage.document_id)}"
    head = f"bytes {passage.start} to {passage.end}{where} (score {passage.score:.2f}):"
    width = min(_MOST_COLUMNS, shutil.get_terminal_size().columns)
    lines = textwrap.wrap(one_line(passage.text), width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([typer.style(head, bold=True), *lines])
