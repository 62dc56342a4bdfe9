"""Every Redis key, with its type and its lifetime.

======================================  ======  ==============================================================
``rmt:{tenant:sid}:session``            hash    the session's record, its lease and where its text begins
``rmt:{tenant:sid}:state``              string  the reader state: opaque safetensors bytes
``rmt:{tenant:sid}:text``               hash    full blocks of text: ``<n>`` raw, ``z<n>`` compressed, ``c<n>`` counted
``rmt:{tenant:sid}:tail``               string  the text after the last full block
``rmt:{tenant:sid}:documents``          hash    document id -> JSON
``rmt:{tenant:sid}:boundaries``         zset    ends of complete documents still to be read, by offset
``rmt:{tenant:sid}:finished``           list    ids of read documents, the oldest first
``rmt:{tenant:sid}:snapshots``          zset    index of the session's snapshots, by creation
``rmt:{tenant:sid}:ends``               list    ids of snapshots that were kept by themselves, the oldest first
``rmt:{tenant:sid}:lanes``              hash    lanes that reread the text: name -> state, ``n:name`` -> turn
``rmt:{tenant:sid}:timeline``           hash    states along the text, evenly spaced: number of segments -> state
``rmt:{tenant:sid}:movements``          string  how far its memory moved along the text: opaque bytes
``rmt:{tenant:sid}:events``             stream  the last events of the session, for whoever follows it
``rmt:{tenant:snapshot}:snapshot``      hash    a snapshot's record and its state
``rmt:{tenant}:sessions``               zset    index of a tenant's sessions, by creation
``rmt:{tenant}:snapshots``              zset    index of a tenant's snapshots, by creation
``rmt:{tenant}:usage``                  hash    what a tenant with quotas has: counters, and when they were set
``rmt:{tenant}:tokens:<day>``           string  the tokens that a tenant with quotas has spent on a day, in UTC
``rmt:rate:{…/tenant/…}``               string  a tenant's calls in this window; ``…/-1``: in the last one
``rmt:ready``                           zset    ``tenant:sid`` of sessions to be read, by when they are due
``rmt:replicas``                        zset    processes that read, by when they stop to count
``rmt:sweep``                           string  the process that looks for forgotten sessions this time
``rmt:probe``                           string  written, and removed at once, to see whether Redis takes changes
======================================  ======  ==============================================================

All keys of a session carry one hash tag, so one Redis Cluster node holds them and one script may change them
all. They expire together: every change sets all of them to the session's expiry. A snapshot has its own.
The indexes and ``ready`` do not expire: they hold no content. Whoever meets an entry whose session or snapshot
is gone removes it, and the sweep meets them all. ``replicas`` and ``sweep`` expire soon after they were last
written, ``usage`` after an hour, ``tokens`` with their day,
the counters of calls after two windows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from rmt_server.errors import SessionNotFoundError, SnapshotNotFoundError

RATES = "rmt:rate"
READY = "rmt:ready"
REPLICAS = "rmt:replicas"
SWEEP = "rmt:sweep"
PROBE = "rmt:probe"
EVERY_USAGE = "rmt:{*}:usage"
EVERY_SESSION = "rmt:{*}:session"
EVERY_INDEX = ("rmt:{*}:sessions", "rmt:{*}:snapshots")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_tenant(tenant: str) -> None:
    """Refuse a tenant name that would not be one part of a key.

    Raises:
        ValueError: It has other characters than letters, digits, ``_``, ``.`` and ``-``.
    """
    if not _NAME.fullmatch(tenant):
        raise ValueError(f"{tenant!r} is no tenant name: use 1 to 128 letters, digits, '_', '.' or '-'")


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session. A malformed id names no session, so it is not found."""

    tenant: str
    sid: str

    def __post_init__(self) -> None:
        check_tenant(self.tenant)
        if not _NAME.fullmatch(self.sid):
            raise SessionNotFoundError(self.sid)

    @property
    def member(self) -> str:
        """The session's name in ``ready``."""
        return f"{self.tenant}:{self.sid}"

    @property
    def session(self) -> str:
        """The hash that is there as long as the session is."""
        return self._key("session")

    @property
    def documents(self) -> str:
        """The hash of the documents' records."""
        return self._key("documents")

    @property
    def boundaries(self) -> str:
        """The ends of complete documents that are not read yet."""
        return self._key("boundaries")

    @property
    def events(self) -> str:
        """The last events."""
        return self._key("events")

    @property
    def lanes(self) -> str:
        """Lanes that reread the text."""
        return self._key("lanes")

    @property
    def timeline(self) -> str:
        """States along the text."""
        return self._key("timeline")

    @property
    def movements(self) -> str:
        """How far the memory moved along the text."""
        return self._key("movements")

    @property
    def snapshots(self) -> str:
        """The index of the session's snapshots."""
        return self._key("snapshots")

    def all(self) -> tuple[str, ...]:
        """Every key of the session, in the order in which ``prelude.lua`` names them."""
        names = ("state", "text", "tail", "documents", "boundaries", "finished")
        return (
            self.session,
            *map(self._key, names),
            self.snapshots,
            *map(self._key, ("events", "lanes", "timeline", "ends", "movements")),
        )

    @classmethod
    def of_member(cls, member: bytes) -> "SessionKeys":
        """The keys of a session named in ``ready``."""
        tenant, _, sid = member.decode().partition(":")
        return cls(tenant, sid)

    @classmethod
    def of_key(cls, key: bytes) -> "SessionKeys":
        """The keys of the session that a key belongs to."""
        return cls.of_member(key[key.index(b"{") + 1 : key.index(b"}")])

    def _key(self, name: str) -> str:
        return f"rmt:{{{self.member}}}:{name}"


def snapshot_key(tenant: str, snapshot_id: str) -> str:
    """The hash of one snapshot."""
    check_tenant(tenant)
    if not _NAME.fullmatch(snapshot_id):
        raise SnapshotNotFoundError(snapshot_id)
    return f"rmt:{{{tenant}:{snapshot_id}}}:snapshot"


def tenant_sessions(tenant: str) -> str:
    """The index of a tenant's sessions."""
    check_tenant(tenant)
    return f"rmt:{{{tenant}}}:sessions"


def tenant_snapshots(tenant: str) -> str:
    """The index of a tenant's snapshots."""
    check_tenant(tenant)
    return f"rmt:{{{tenant}}}:snapshots"


def tenant_usage(tenant: str) -> str:
    """A tenant's counters."""
    check_tenant(tenant)
    return f"rmt:{{{tenant}}}:usage"


def tenant_tokens(tenant: str, day: str) -> str:
    """The tokens that a tenant has spent on a day."""
    check_tenant(tenant)
    return f"rmt:{{{tenant}}}:tokens:{day}"


def tenant_of(key: bytes) -> str:
    """Whose key it is."""
    return key[key.index(b"{") + 1 : key.index(b"}")].decode().partition(":")[0]


def key_of_entry(index: bytes) -> Callable[[str], str]:
    """For an index of sessions or snapshots, of a tenant or a session: which key holds what an entry's name names."""
    tenant = tenant_of(index)
    if index.endswith(b":sessions"):
        return lambda name: SessionKeys(tenant, name).session
    return lambda name: snapshot_key(tenant, name)
