"""Events: what happened in a session, written by the scripts that did it."""

import json
from collections.abc import Mapping
from typing import Any

from rmt_server.keys import SessionKeys
from rmt_server.store.codec import fields_of
from rmt_server.store.connection import Room
from rmt_server.store.records import EventRecord, EventSnapshot

_COUNTS = (
    "accepted_bytes",
    "read_bytes",
    "tokens",
    "segments",
    "revision",
    "pending_documents",
    "waiting_segments",
)


class Events(Room):
    """The part of the store that tells what happens."""

    async def events(self, tenant: str, sid: str, after: str | None, limit: int = 100) -> list[EventRecord]:
        """What happened after an event, the oldest first; nothing at all is an empty list.

        Without ``after``, or where events after it are no longer kept, this is one event: how the session stands now,
        under the id of its last event. ``left_out`` tells the two apart.

        Args:
            tenant: Whose session it is.
            sid: The session.
            after: The id of the last event that the caller knows; ``0-0`` is before all.
            limit: The most events.

        Raises:
            SessionNotFoundError: There is no such session, or no longer.
        """
        answer = await self._redis.run_on_session("events", SessionKeys(tenant, sid), after or "", limit)
        if answer[0] == "stands":
            counts = {name: value for name, value in fields_of(answer[2]).items() if name in _COUNTS}
            return [_event(answer[1], {"kind": b"progress", **counts}, left_out=after is not None)]
        return [_event(event_id, fields_of(flat)) for event_id, flat in answer[1]]

    async def report(self, tenant: str, sid: str, problem: Mapping[str, Any]) -> None:
        """Tell whoever follows a session what went wrong with one of its documents.

        Raises:
            SessionNotFoundError: There is no such session, or no longer.
        """
        await self._redis.run_on_session("report", SessionKeys(tenant, sid), json.dumps(problem, ensure_ascii=False))


def _event(event_id: bytes, fields: Mapping[str, bytes], *, left_out: bool = False) -> EventRecord:
    counts: dict[str, Any] = {name: int(fields[name]) for name in _COUNTS}
    kind: Any = fields["kind"].decode()
    snapshot = None
    if kind == "snapshot":
        position = (int(fields[name]) for name in ("at_bytes", "at_tokens", "at_segments"))
        snapshot = EventSnapshot(fields["id"].decode(), fields["name"].decode(), *position)
    return EventRecord(
        id=event_id.decode(),
        kind=kind,
        left_out=left_out,
        documents=tuple(fields.get("documents", b"").decode().split()),
        snapshot=snapshot,
        problem=json.loads(fields.get("problem", b"{}")),
        **counts,
    )
