"""`rmt snapshots`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rmt_client.cli.listing import first
from rmt_client.cli.options import (
    DEFAULT_URL,
    ApiKey,
    AsJson,
    File,
    Limit,
    Metadata,
    SessionId,
    Url,
    connect,
    list_by_default,
    pairs,
)
from rmt_client.cli.output import note, put_deleted, put_json, put_table
from rmt_client.errors import SourceError
from rmt_client.models import Snapshot

snapshots = typer.Typer(help="List, create, export, import, restore and delete snapshots.")
Id = Annotated[str, typer.Argument(metavar="SNAPSHOT")]
OfSession = Annotated[str | None, typer.Option("--session", "-s", metavar="ID", help="Only those of one session.")]
Name = Annotated[str | None, typer.Option(help="A name for it.")]
HEAD = ("id", "name", "session", "bytes", "tokens", "size", "created")


@snapshots.callback(invoke_without_command=True)
def alone(
    context: typer.Context,
    session: OfSession = None,
    limit: Limit = 100,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List, create, export, import, restore and delete snapshots; alone, list them."""
    if list_by_default(context):
        list_(session, limit, url, api_key, as_json)


@snapshots.command("list")
def list_(
    session: OfSession = None,
    limit: Limit = 100,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List snapshots, of one session or all."""
    with connect(url, api_key) as rmt:
        found = first(limit, lambda size, after: rmt.list_snapshots(session, limit=size, after=after))
    if as_json:
        put_json(found)
        return
    put_table(HEAD, ([s.id, s.name, s.session_id, s.bytes, s.tokens, s.size_bytes, s.created_at] for s in found))


@snapshots.command()
def create(
    session: SessionId,
    name: Name = None,
    metadata: Metadata = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Keep the memory of a session as it is now; prints the snapshot's id."""
    with connect(url, api_key) as rmt:
        _put(rmt.create_snapshot(session, name=name, metadata=pairs(metadata)), as_json)


@snapshots.command()
def export(
    snapshot: Id,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE|-")] = Path("-"),
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Download a snapshot as a safetensors file."""
    if str(output) == "-" and as_json:
        raise typer.BadParameter("--json needs --output: both cannot go to standard output.")
    if str(output) == "-" and sys.stdout.isatty():
        raise typer.BadParameter("A snapshot is no text: name a file with --output, or use a pipe.")
    with connect(url, api_key) as rmt:
        content = rmt.export_snapshot(snapshot)
    if str(output) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise SourceError(f"{output} cannot be written: {error.strerror}.") from error
    if as_json:
        put_json({"id": snapshot, "file": str(output), "size_bytes": len(content)})
    else:
        note(f"{len(content):,} bytes in {output}.")


@snapshots.command("import")
def import_(
    file: File,
    name: Name = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Upload a snapshot that was exported; prints its id here."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from error
    with connect(url, api_key) as rmt:
        _put(rmt.import_snapshot(content, name=name), as_json)


@snapshots.command()
def restore(
    snapshot: Id,
    session: SessionId,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Put the memory of a session back to a snapshot."""
    with connect(url, api_key) as rmt:
        restored = rmt.restore(session, snapshot)
    if as_json:
        put_json(restored)
    else:
        note(f"Session {restored.id} is back at {restored.read_bytes:,} bytes, {restored.tokens:,} tokens.")


@snapshots.command()
def delete(snapshot: Id, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Delete a snapshot."""
    with connect(url, api_key) as rmt:
        rmt.delete_snapshot(snapshot)
    put_deleted(snapshot, as_json)


def _put(snapshot: Snapshot, as_json: bool) -> None:
    if as_json:
        put_json(snapshot)
    else:
        typer.echo(snapshot.id)
