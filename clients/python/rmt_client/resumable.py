"""The three requests of a resumable upload, and the headers of their answers.

They follow draft-ietf-httpbis-resumable-upload.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

from rmt_client.errors import ProtocolError
from rmt_client.protocol import document_path, documents_path
from rmt_client.wire import Request, Response


@dataclass(frozen=True, slots=True)
class Point:
    """Where an upload is, as the server sees it; `max_append_bytes` is None where it named no limit."""

    offset: int
    complete: bool
    max_append_bytes: int | None


def open_upload(session_id: str, *, idempotency_key: str, length: int | None, name: str = "") -> Request:
    """Opens an upload without any bytes yet, so that asking twice cannot send them twice."""
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Upload-Complete": "?0",
        "Idempotency-Key": idempotency_key,
    }
    if length is not None:
        headers["Upload-Length"] = str(length)
    return Request("POST", documents_path(session_id), headers, {"name": name} if name else {}, content=b"")


def locate(session_id: str, document_id: str) -> Request:
    """Asks where the upload is."""
    return Request("HEAD", document_path(session_id, document_id))


def append(session_id: str, document_id: str, data: bytes, *, offset: int, last: bool) -> Request:
    """Sends the bytes that belong at `offset`, and what they were when they left (RFC 9530)."""
    headers = {
        "Content-Type": "application/partial-upload",
        "Content-Digest": f"sha-256=:{b64encode(sha256(data).digest()).decode()}:",
        "Upload-Offset": str(offset),
        "Upload-Complete": "?1" if last else "?0",
    }
    return Request("PATCH", document_path(session_id, document_id), headers, content=data)


def is_damaged(response: Response) -> bool:
    """Whether the server got other bytes than were sent, and took none of them."""
    return response.status == 400 and response.problem().type.endswith(":digest-mismatch")


def point(response: Response) -> Point:
    """Reads where the upload is from the answer of any of the three."""
    offset = response.headers.get("upload-offset", "")
    if not offset.isdecimal():
        raise ProtocolError(f"The server answered {response.status} to an upload without its Upload-Offset.")
    complete = response.headers.get("upload-complete", "?0") == "?1"
    return Point(int(offset), complete, max_append_bytes(response))


def max_append_bytes(response: Response) -> int | None:
    """Reads from the Upload-Limit header how much one request may carry."""
    found = re.search(r"\bmax-append-size=(\d+)", response.headers.get("upload-limit", ""))
    return int(found[1]) if found else None
