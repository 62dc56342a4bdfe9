"""The store room: the only one that speaks Redis. Each atomic change is one Lua file beside this."""

from rmt_server.store.limits import BLOCK_BYTES, FINISHED_DOCUMENTS, KEPT_EVENTS, PENDING_DOCUMENTS, READ_BYTES
from rmt_server.store.rates import Rates
from rmt_server.store.records import (
    Boundary,
    DocumentPlace,
    DocumentRecord,
    Due,
    EventRecord,
    EventSnapshot,
    Lease,
    Page,
    SessionRecord,
    SnapshotRecord,
    StoredState,
    StoreInfo,
    StoreTiming,
    document_at,
)
from rmt_server.store.store import Store
from rmt_server.store.usage import Quotas

__all__ = [
    "BLOCK_BYTES",
    "FINISHED_DOCUMENTS",
    "KEPT_EVENTS",
    "PENDING_DOCUMENTS",
    "READ_BYTES",
    "Boundary",
    "DocumentPlace",
    "DocumentRecord",
    "Due",
    "EventRecord",
    "EventSnapshot",
    "Lease",
    "Page",
    "Quotas",
    "Rates",
    "SessionRecord",
    "SnapshotRecord",
    "Store",
    "StoreInfo",
    "StoreTiming",
    "StoredState",
    "document_at",
]
