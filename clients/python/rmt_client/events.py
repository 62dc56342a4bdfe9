"""Following a session, without the network: what to ask for, and what the lines of the answer mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from rmt_client.errors import ConnectionLostError, ProblemError, ProtocolError, RmtError
from rmt_client.patience import Patience
from rmt_client.wire import BUSY, Request, Response


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
        patience: What is left of it; every event renews it.
    """

    session_id: str
    after: str | None
    patience: Patience
    _fields: dict[str, str] = field(init=False, default_factory=dict)

    def request(self) -> Request:
        """Asks for what comes after the last event."""
        self._fields = {}
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
        name, _, value = line.partition(":")
        if line:
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        try:
            event = Event(fields["id"], fields["event"], json.loads(fields["data"]))
        except (KeyError, ValueError) as error:
            raise ProtocolError("The server sent an event without what belongs in it.") from error
        self.after = event.id
        if event.kind == "error" and "document-id" not in event.data:
            raise self._problem(event.data)
        self.patience.moved()
        return event

    def retries(self, error: ProblemError) -> bool:
        """Tells whether an error that ended the stream may pass."""
        return error.status in BUSY

    def _problem(self, data: Mapping[str, Any]) -> ProblemError:
        return Response(int(data.get("status", 500)), {}, json.dumps(dict(data)).encode()).problem()
