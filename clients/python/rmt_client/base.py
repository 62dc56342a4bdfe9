"""What both clients are made of: settings, translation to and from httpx, and the flows that they drive."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Sequence
from typing import Any, Unpack

import httpx

from rmt_client import protocol
from rmt_client.errors import ConnectionLostError, TransportError, UnreachableError, UsageError
from rmt_client.flow import Flow
from rmt_client.models import Answers, Document, Listener, Session
from rmt_client.options import AskOptions
from rmt_client.patience import Patience, Retry
from rmt_client.upload import Upload
from rmt_client.waiting import read_document, until_answered, until_read
from rmt_client.watch import Watch
from rmt_client.wire import Call, Request, Response

DEFAULT_URL = "http://127.0.0.1:8080"
VERSION = "0.1.0"
CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 3.0
"""Shorter than any server's, so that no request meets a connection that is just being closed."""


class BaseClient:
    """The half of a client that never waits."""

    def __init__(self, url: str, api_key: str | None, retry: Retry, chunk_bytes: int) -> None:
        if chunk_bytes < 1:
            raise UsageError(f"chunk_bytes must be positive, not {chunk_bytes}.")
        self.url, self._retry, self._chunk_bytes = url, retry, chunk_bytes
        self._settings = _settings(url, api_key)

    def _upload(
        self,
        session_id: str,
        length: int | None,
        *,
        name: str,
        document_id: str | None,
        wait: bool,
        on_progress: Listener | None,
    ) -> Flow[Document]:
        patience = Patience(self._retry)
        upload = Upload(
            session_id=session_id,
            length=length,
            idempotency_key=new_key(),
            patience=patience,
            watch=Watch(session_id, patience.clock, on_progress),
            document_id=document_id or "",
            chunk_bytes=self._chunk_bytes,
            name=name,
        )
        return read_document(upload, wait=wait)

    def _wait(self, session_id: str, timeout_s: float | None, on_progress: Listener | None) -> Flow[Session]:
        patience = Patience(self._retry, timeout_s)
        return until_read(Watch(session_id, patience.clock, on_progress), patience)

    def _ask(
        self,
        session_id: str,
        questions: Sequence[str],
        timeout_s: float | None,
        **options: Unpack[AskOptions],
    ) -> Flow[Answers]:
        if isinstance(questions, str) or not questions:
            raise UsageError("Questions are a list with at least one text.")

        def make(left_s: float | None) -> Call[Answers]:
            return protocol.ask(session_id, questions, left_s, **options)

        patience = Patience(self._retry, timeout_s)
        return until_answered(make, Watch(session_id, patience.clock), patience)

    def _failure(self, error: httpx.HTTPError) -> TransportError:
        """Says in our words what httpx reports."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return UnreachableError(f"No server answers at {self.url}.")
        if isinstance(error, httpx.TimeoutException):
            return ConnectionLostError(f"The server at {self.url} fell silent.")
        return ConnectionLostError(f"The connection to {self.url} was cut.")


def new_key() -> str:
    """Makes a key that lets the server recognise a repeated request."""
    return uuid.uuid4().hex


def to_httpx(request: Request, silence_s: float) -> dict[str, Any]:
    """Spells a request as the arguments of `httpx.Client.request`."""
    return {
        "method": request.method,
        "url": request.path,
        "headers": dict(request.headers),
        "params": dict(request.params),
        "json": request.json,
        "content": request.content,
        "timeout": httpx.Timeout(
            silence_s, connect=CONNECT_TIMEOUT_S, read=request.read_timeout_s if request.patient else silence_s
        ),
    }


def from_httpx(response: httpx.Response) -> Response:
    """Copies what we need of an answer."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, response.content)


def _settings(url: str, api_key: str | None) -> dict[str, Any]:
    """Checks what the user gave, so that no request fails over it later."""
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is not a URL: {error}.", f"A URL looks like {DEFAULT_URL}.") from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise UsageError(f"{url!r} is not an http or https URL.", f"A URL looks like {DEFAULT_URL}.")
    headers = {"User-Agent": f"rmt-client/{VERSION}", "Accept": "application/json"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise UsageError(
                "The API key has characters that no key has.",
                "Check --api-key (RMT_API_KEY) for a line break.",
            )
        headers["Authorization"] = f"Bearer {api_key}"
    settings: dict[str, Any] = {
        "base_url": base,
        "headers": headers,
        "limits": httpx.Limits(keepalive_expiry=KEEPALIVE_S),
    }
    if base.scheme == "http":  # loading the certificate authorities for nothing takes longer than a call
        settings["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return settings
