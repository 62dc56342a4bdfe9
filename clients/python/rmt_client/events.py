"""Events, without the network: following a session, and answers as they are decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from rmt_client.errors import ConnectionLostError, ProblemError, ProtocolError, RmtError
from rmt_client.models import Answer, Answers
from rmt_client.patience import Patience
from rmt_client.wire import BUSY, Request, Response

INCOMPLETE = "The server sent an event without what belongs in it."


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a session.

    Attributes:
        id: Goes into `after` to go on behind this event.
        kind: `progress`, `done`, `snapshot` or `error`.
        data: How far the session was, and what belongs to the kind; of an error the problem.
    """

    id: str
    kind: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Following:
    """One session being followed, over as many connections as that takes.

    Attributes:
        after: The id of the last event that came.
        patience: What is left of it; every event and every sign of life renews it.
    """

    session_id: str
    after: str | None
    patience: Patience
    _lines: Lines = field(init=False, default_factory=lambda: Lines())

    def request(self) -> Request:
        """Asks for what comes after the last event."""
        self._lines = Lines()
        headers = {"Accept": "text/event-stream"} | ({} if self.after is None else {"Last-Event-ID": self.after})
        return Request("GET", f"/v1/sessions/{quote(self.session_id, safe='')}/events", headers)

    def refused(self, response: Response) -> RmtError:
        """What to try again after; raises where that would not help."""
        if response.status not in BUSY:
            response.expect(200)
        return response.problem()

    def ended(self) -> RmtError:
        """What to try again after when the server has ended the stream: another process may go on with it."""
        return ConnectionLostError("The server ended the event stream.")

    def line(self, line: str) -> Event | None:
        """Takes a line; returns the event that it ends, if it does.

        Raises:
            ProblemError: The session cannot be followed any longer.
        """
        if line.startswith(":"):  # the server is there, and has nothing to tell
            self.patience.moved()
        event = self._lines.take(line)
        if event is None:
            return None
        if not event.id:
            raise ProtocolError(INCOMPLETE)
        self.after = event.id
        if event.kind == "error" and "document-id" not in event.data:
            raise problem_of(event.data)
        self.patience.moved()
        return event

    def retries(self, error: ProblemError) -> bool:
        """Tells whether an error that ended the stream may pass."""
        return error.status in BUSY


@dataclass(slots=True)
class Answering:
    """One question whose answer comes as it is found.

    Attributes:
        answer: The answer, once it has come; it holds the citations, so the event of that name is passed over.
    """

    answer: Answer | None = None
    _lines: Lines = field(init=False, default_factory=lambda: Lines())

    def line(self, line: str) -> str:
        """Takes a line; returns the further words of the answer that it ends, if it does.

        Raises:
            ProblemError: There will be no answer.
        """
        event = self._lines.take(line)
        if event is None:
            return ""
        if event.kind == "error":
            raise problem_of(event.data)
        try:
            if event.kind == "delta":
                return str(event.data["text"])
            if event.kind == "result":
                self.answer = Answers.from_json(event.data["body"]).answers[0]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ProtocolError(INCOMPLETE) from error
        return ""

    def ended(self) -> Answer:
        """The answer, when the stream has ended.

        Raises:
            ConnectionLostError: It ended before.
        """
        if self.answer is None:
            raise ConnectionLostError("The connection was cut in the middle of the answer.")
        return self.answer


class Lines:
    """Lines of a stream, put together to events."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def take(self, line: str) -> Event | None:
        """Takes a line; returns the event that it ends, if it does."""
        name, _, value = line.partition(":")
        if line:
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        try:
            return Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
        except (KeyError, ValueError) as error:
            raise ProtocolError(INCOMPLETE) from error


def problem_of(data: Mapping[str, Any]) -> ProblemError:
    """The error that an event tells of."""
    return Response(int(data.get("status", 500)), {}, json.dumps(dict(data)).encode()).problem()
