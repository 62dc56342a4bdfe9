"""`rmt sessions`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rmt_client.cli.listing import first
from rmt_client.cli.options import (
    DEFAULT_URL,
    ApiKey,
    AsJson,
    Focus,
    KeepText,
    Limit,
    Metadata,
    TtlS,
    Url,
    connect,
    list_by_default,
    pairs,
)
from rmt_client.cli.output import note, put_deleted, put_json, put_line, put_record, put_table, took_nothing
from rmt_client.models import Session

sessions = typer.Typer(help="List, create, show, follow and delete sessions, and end their uploads.")
Id = Annotated[str, typer.Argument(metavar="SESSION")]
TOLD = ("accepted_bytes", "read_bytes", "tokens", "documents", "snapshot", "detail")
HEAD = ("id", "status", "read bytes", "accepted bytes", "tokens", "created", "focus")


@sessions.callback(invoke_without_command=True)
def alone(
    context: typer.Context,
    limit: Limit = 100,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List, create, show, follow and delete sessions, and end their uploads; alone, list them."""
    if list_by_default(context):
        list_(limit, url, api_key, as_json)


@sessions.command("list")
def list_(limit: Limit = 100, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the sessions."""
    with connect(url, api_key) as rmt:
        found = first(limit, lambda size, after: rmt.list_sessions(limit=size, after=after))
    if as_json:
        put_json(found)
        return
    put_table(
        HEAD,
        ([s.id, s.status, s.read_bytes, s.accepted_bytes, s.tokens, s.created_at, s.focus] for s in found),
    )


@sessions.command()
def create(
    focus: Focus = None,
    keep_text: KeepText = None,
    ttl: TtlS = None,
    metadata: Metadata = None,
    snapshot: Annotated[str | None, typer.Option(metavar="ID", help="Begin with a snapshot.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Start a session, empty or from a snapshot (a fork); prints its id."""
    with connect(url, api_key) as rmt:
        session = rmt.create_session(
            focus=focus,
            keep_text=keep_text,
            ttl_s=ttl,
            metadata=pairs(metadata),
            from_snapshot=snapshot,
        )
    if as_json:
        put_json(session)
    else:
        typer.echo(session.id)


@sessions.command()
def show(session: Id, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show how far a session is."""
    with connect(url, api_key) as rmt:
        _show(rmt.get_session(session), as_json)


@sessions.command()
def events(
    session: Id,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Begin behind this event; 0-0 for all.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Follow a session until Ctrl-C: a line for each thing that happens in it."""
    with connect(url, api_key) as rmt:
        for event in rmt.events(session, after=after):
            if as_json:
                put_json(event)
            else:
                put_line([event.id, event.kind, *(f"{name} {event.data[name]}" for name in TOLD if name in event.data)])


@sessions.command()
def cancel(
    session: Id,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="As the refusal of the next one names it.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """End an upload that nobody goes on with; what was accepted of it stays."""
    with connect(url, api_key) as rmt:
        rmt.cancel_document(session, document)
        ended = rmt.get_document(session, document)
    if as_json:
        put_json(ended)
    else:
        note(f"Document {document} ends after {ended.offset:,} bytes.")


@sessions.command()
def delete(session: Id, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Delete a session and all that it knows."""
    with connect(url, api_key) as rmt:
        rmt.delete_session(session)
    put_deleted(session, as_json)


def _show(session: Session, as_json: bool) -> None:
    if as_json:
        put_json(session)
    else:
        put_record(asdict(session))
        if told := took_nothing(session):
            note(told)
