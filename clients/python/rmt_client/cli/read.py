"""`rmt read`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, BinaryIO, cast

import typer

from rmt_client.cli.options import (
    DEFAULT_URL,
    ApiKey,
    AsJson,
    File,
    Focus,
    KeepText,
    Metadata,
    TtlS,
    Url,
    connect,
    pairs,
)
from rmt_client.cli.output import fail, note, put_json, took_nothing, utf8_hint
from rmt_client.cli.progress import ProgressView
from rmt_client.client import Client
from rmt_client.errors import InvalidError, RmtError, SourceError
from rmt_client.models import Document, Session
from rmt_client.patience import Retry
from rmt_client.source import name_of, open_binary, pieces
from rmt_client.stream import Stream


def read(
    file: File,
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="ID", help="An existing session; else a new one.")
    ] = None,
    document: Annotated[str | None, typer.Option(metavar="ID", help="Go on with an upload that broke off.")] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the document is called, which citations show.", show_default="the file's name"),
    ] = None,
    focus: Focus = None,
    keep_text: KeepText = None,
    ttl: TtlS = None,
    metadata: Metadata = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all of it is read.")] = True,
    give_up_after: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to try again after failures.")
    ] = 300.0,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Send a file or a pipe into a session and wait until it is read; prints the session's id.

    A pipe is sent as it comes, until it ends or Ctrl-C.
    """
    if document and not session:
        raise typer.BadParameter("--document needs its --session.")
    if session and (focus or ttl or metadata or keep_text is not None):
        raise typer.BadParameter("--focus, --keep-text, --ttl and --metadata are for a new session.")
    with connect(url, api_key, Retry(give_up_s=give_up_after)) as rmt, _opened(file) as source:
        reader = (
            rmt.get_session(session)
            if session
            else rmt.create_session(focus=focus, keep_text=keep_text, ttl_s=ttl, metadata=pairs(metadata))
        )
        done = _read(rmt, reader, document, name, source, file, wait)
        _report(rmt.get_session(reader.id), done, as_json)


def _read(
    rmt: Client,
    session: Session,
    document: str | None,
    name: str | None,
    source: BinaryIO | Stream,
    file: Path,
    wait: bool,
) -> Document:
    """Reads with a progress bar; after a failure, says how to go on."""
    view = ProgressView(wait=wait)
    if name is None:
        name = "" if str(file) == "-" else name_of(file)
    try:
        with view, _finishing(source):
            return rmt.read(session.id, source, name=name, wait=wait, document_id=document, on_progress=view)
    except KeyboardInterrupt:
        note(f"rmt: Stopped. {_way_on(view, session, file)}")
        raise typer.Exit(130) from None
    except InvalidError as error:
        fail(str(error), utf8_hint(error, "the input" if str(file) == "-" else str(file)))
    except RmtError as error:
        fail(str(error), f"{error.hint}\n{_way_on(view, session, file)}".lstrip())


def _way_on(view: ProgressView, session: Session, file: Path) -> str:
    last = view.last
    if last is None or not last.document_id:
        return f"Nothing was sent; session {session.id} is as it was."
    if last.total_bytes is None:
        return f"Session {session.id} has the first {last.sent_bytes:,} bytes and goes on reading them."
    if last.sent_bytes == last.total_bytes:
        return f"Everything is sent; session {session.id} goes on reading."
    return f"Go on with: rmt read {shlex.quote(str(file))} --session {session.id} --document {last.document_id}"


def _report(session: Session, document: Document, as_json: bool) -> None:
    if as_json:
        put_json({"session": session, "document": document})
        return
    verb = "Read" if document.read else "Sent"
    note(f"{verb} {document.offset:,} bytes; session {session.id} has read {session.tokens:,} tokens.")
    if told := took_nothing(session):
        note(told)
    if sys.stderr.isatty():
        note(f'Ask it: rmt ask --session {session.id} "..."')
    typer.echo(session.id)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO | Stream]:
    """Opens what can go back as a file, and a pipe as a stream that can be finished."""
    if str(file) != "-":
        with open_binary(file) as binary:
            yield binary if binary.seekable() else Stream(_unbuffered(binary))
    elif sys.stdin is None:
        raise SourceError("There is no standard input.")
    else:
        binary = sys.stdin.buffer
        yield binary if binary.seekable() else Stream(_unbuffered(binary))


def _unbuffered(binary: BinaryIO) -> Iterator[bytes]:
    """Yields a pipe's bytes without the buffer's lock, which closing it would wait for."""
    return pieces(cast(BinaryIO, getattr(binary, "raw", binary)))


@contextmanager
def _finishing(source: BinaryIO | Stream) -> Iterator[None]:
    """Lets the first Ctrl-C (or TERM) end a stream's document properly; the second one interrupts."""
    if not isinstance(source, Stream):
        yield
        return
    former = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def finish(number: int, _frame: FrameType | None) -> None:
        source.finish()
        signal.signal(number, former[signal.Signals(number)])

    for number in former:
        signal.signal(number, finish)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
