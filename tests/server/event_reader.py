"""Reads server-sent events as they come, by the letter of the standard."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Event:
    kind: str = "message"
    id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class EventReader:
    """The events of one answer; comments between them are counted."""

    answer: httpx.Response
    comments: int = 0

    def __post_init__(self) -> None:
        self._lines = self.answer.iter_lines()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event, is_empty = Event(), True
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif name == "event":
                event.kind = value
            elif name == "id":
                event.id = value
            elif name == "data":
                event.data, is_empty = json.loads(value), False
            elif line == "" and not is_empty:
                return event
        raise StopIteration

    def until(self, *kinds: str) -> list[Event]:
        """All events up to the first one of these kinds."""
        events = []
        for event in self:
            events.append(event)
            if event.kind in kinds:
                return events
        raise AssertionError(f"the stream ended after {events}")


@contextmanager
def following(url: str, sid: str, after: str | None = None, query: str | None = None) -> Iterator[EventReader]:
    """The events of a session, over a connection of its own."""
    headers = {} if after is None else {"Last-Event-ID": after}
    params = {} if query is None else {"after": query}
    with httpx.stream("GET", f"{url}/v1/sessions/{sid}/events", headers=headers, params=params, timeout=60) as answer:
        if answer.status_code != 200:
            answer.read()
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield EventReader(answer)


def all_events(url: str, sid: str, after: str = "0-0") -> list[Event]:
    """What a session that is idle has to tell up to its last event."""
    with following(url, sid) as reader:
        last = next(reader).id
    if last == after:
        return []
    events = []
    with following(url, sid, after) as reader:
        for event in reader:
            events.append(event)
            if event.id == last:
                break
    return events
