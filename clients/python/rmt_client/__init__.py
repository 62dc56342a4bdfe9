"""Python client of rmt-server: stream documents of any length into a memory, and ask it.

Example:
    from pathlib import Path

    from rmt_client import Client

    with Client() as rmt:
        session = rmt.create_session(focus=["Where is Mary?"])
        rmt.read(session.id, Path("book.txt"))
        answer = rmt.ask(session.id, "Where is Mary?")
        print(answer.answer, [one.quote for one in answer.citations])
"""

from rmt_client.async_client import AsyncClient
from rmt_client.async_source import AsyncSource
from rmt_client.base import DEFAULT_URL
from rmt_client.client import Client
from rmt_client.errors import (
    BadRequestError,
    ConflictError,
    ConnectionLostError,
    GaveUpError,
    InvalidError,
    NotFoundError,
    ProblemError,
    ProtocolError,
    RateLimitedError,
    RmtError,
    ServerError,
    SourceError,
    StaleError,
    TooLargeError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
    UsageError,
)
from rmt_client.events import Event
from rmt_client.models import (
    Answer,
    Answers,
    Citation,
    Document,
    Found,
    FoundPassage,
    Health,
    Listener,
    Model,
    MovementColumn,
    Movements,
    Page,
    Position,
    Probe,
    Progress,
    Session,
    Snapshot,
    Text,
    TimelinePoint,
    Trace,
    Usage,
)
from rmt_client.options import AskOptions, SessionOptions
from rmt_client.patience import Retry
from rmt_client.source import Source
from rmt_client.stream import Stream

__all__ = [
    "DEFAULT_URL",
    "Answer",
    "Answers",
    "AskOptions",
    "AsyncClient",
    "AsyncSource",
    "BadRequestError",
    "Citation",
    "Client",
    "ConflictError",
    "ConnectionLostError",
    "Document",
    "Event",
    "Found",
    "FoundPassage",
    "GaveUpError",
    "Health",
    "InvalidError",
    "Listener",
    "Model",
    "MovementColumn",
    "Movements",
    "NotFoundError",
    "Page",
    "Position",
    "Probe",
    "ProblemError",
    "Progress",
    "ProtocolError",
    "RateLimitedError",
    "Retry",
    "RmtError",
    "ServerError",
    "Session",
    "SessionOptions",
    "Snapshot",
    "Source",
    "SourceError",
    "StaleError",
    "Stream",
    "Text",
    "TimelinePoint",
    "TooLargeError",
    "Trace",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
    "Usage",
    "UsageError",
]
