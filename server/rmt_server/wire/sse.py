"""Server-sent events: how an answer is written that goes on for as long as there is something to tell."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["MEDIA_TYPE", "PING", "EventStream", "accepts_events", "events_content", "sse_data", "sse_event"]

MEDIA_TYPE = "text/event-stream"
PING = format_sse_event(comment="ping")
_TEXT = {"type": "string"}
_ENDS_OF_LINES = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""Characters at which some clients end a line, though neither JSON nor events do."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def accepts_events(request: Request) -> bool:
    """Whether the caller asks for events by name."""
    kinds = request.headers.get("accept", "").split(",")
    return any(kind.partition(";")[0].strip().lower() == MEDIA_TYPE for kind in kinds)


def events_content(*names: str) -> dict[str, Any]:
    """How OpenAPI describes an answer of events that have these fields beside `data`."""
    properties = dict.fromkeys(names, _TEXT) | {"data": {**_TEXT, "contentMediaType": "application/json"}}
    description = "One of the server-sent events; docs/api.md tells what each holds."
    schema = {"type": "object", "description": description, "required": list(properties), "properties": properties}
    return {MEDIA_TYPE: {"schema": schema}}


def sse_data(data: BaseModel | Mapping[str, Any]) -> bytes:
    """One event without a name."""
    return format_sse_event(data_str=_json(data))


def sse_event(name: str, data: BaseModel | Mapping[str, Any], event_id: str | None = None) -> bytes:
    """One event with JSON for its data."""
    return format_sse_event(event=name, data_str=_json(data), id=event_id)


def _json(data: BaseModel | Mapping[str, Any]) -> str:
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).translate(_ENDS_OF_LINES)


class EventStream(StreamingResponse):
    """An answer of events. Each is made when the socket has taken the one before; a caller who leaves ends it."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        ended: Callable[[], object],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(events, headers={**headers, **_HEADERS})
        self._events = events
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; `ended` is called whatever happens."""
        try:
            async with aclosing(self._events):
                await super().__call__(scope, receive, send)
        finally:
            self._ended()
