"""What a Redis must be so that nothing is lost: judged at start, which logs it, and by `rmt-server doctor`."""

import logging

from rmt_server.doctor.findings import Finding, Level
from rmt_server.errors import StoreUnavailableError
from rmt_server.redis_process.server import OLDEST_VERSION
from rmt_server.store import Store, StoreInfo, StoreTiming

__all__ = ["judge_checkpoints", "judge_redis", "judge_timing", "warn_of_redis"]

_log = logging.getLogger(__name__)
_MIB = 1 << 20
_NEARLY_FULL, _FILLING = 0.95, 0.8
_SLOW_ROUND_TRIP_S = 0.005
_CLOCK_DIFFERENCE_S = 1.0


async def warn_of_redis(store: Store) -> None:
    """Tell the log what is wrong with a Redis that is about to be trusted."""
    try:
        findings = judge_redis(await store.info())
    except StoreUnavailableError as error:
        _log.warning("Redis cannot be examined: %s", error)
        return
    for finding in findings:
        if finding.level != "ok":
            _log.warning("%s", finding)


def judge_redis(info: StoreInfo) -> list[Finding]:
    """Version, role, persistence, eviction and memory."""
    return [_version(info), _role(info), _persistence(info), _eviction(info), _memory(info)]


def judge_timing(timing: StoreTiming) -> list[Finding]:
    """How far away Redis is, and whether its clock is ours."""
    found = f"{timing.median_s * 1000:.2f} ms there and back, {timing.slowest_s * 1000:.2f} ms at most"
    if timing.median_s > _SLOW_ROUND_TRIP_S:
        away = Finding(
            "redis distance", "warning", found, "Every upload waits for it: run Redis nearer, or less loaded"
        )
    else:
        away = Finding("redis distance", "ok", found)
    ahead = f"{abs(timing.clock_ahead_s):.1f} s {'ahead of' if timing.clock_ahead_s > 0 else 'behind'} this machine's"
    if abs(timing.clock_ahead_s) > _CLOCK_DIFFERENCE_S:
        mend = "Times that clients see are those of Redis: synchronise both machines (NTP)"
        return [away, Finding("redis clock", "warning", f"its clock is {ahead}", mend)]
    return [away, Finding("redis clock", "ok", "its clock is this machine's")]


def judge_checkpoints(sessions: dict[str, int], fingerprint: str | None) -> Finding:
    """Whether all sessions belong to one checkpoint, and to ours.

    Args:
        sessions: How many sessions belong to each checkpoint, of those that were looked at.
        fingerprint: Our checkpoint's, if it could be loaded.
    """
    total = sum(sessions.values())
    others = {model for model in sessions if model != fingerprint} if fingerprint else set(list(sessions)[1:])
    if not others:
        return Finding("redis sessions", "ok", f"{total} looked at, all of one checkpoint")
    strange = sum(sessions[model] for model in others)
    return Finding(
        "redis sessions",
        "problem",
        f"{strange} of {total} looked at belong to another checkpoint: {', '.join(sorted(others))}",
        "They are left unread: serve each checkpoint on a Redis of its own, or delete them",
    )


def _version(info: StoreInfo) -> Finding:
    numbers = tuple(int(part) for part in info.redis_version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_VERSION:
        mend = f"Install {'.'.join(map(str, OLDEST_VERSION))} or newer"
        return Finding("redis version", "problem", f"it is {info.redis_version}", mend)
    return Finding("redis version", "ok", info.redis_version)


def _role(info: StoreInfo) -> Finding:
    if info.loading:
        return Finding("redis role", "warning", "it is still loading its data", "Wait")
    if info.role != "master":
        mend = "It takes no changes: give the URL of its primary"
        return Finding("redis role", "problem", "it is a replica of another Redis", mend)
    if info.is_cluster_node and not info.as_cluster:
        mend = "Write redis+cluster:// instead of redis:// in RMT_REDIS_URL"
        return Finding("redis role", "problem", "it is a node of a cluster", mend)
    return Finding("redis role", "ok", "a primary" + (" of a cluster" if info.as_cluster else ""))


def _persistence(info: StoreInfo) -> Finding:
    check, fsync = "redis persistence", info.append_fsync or "unknown"
    if not info.append_only:
        found = "appendonly is no: when Redis stops, what was acknowledged since its last snapshot is lost"
        return Finding(check, "problem", found, "Set `appendonly yes` in its configuration")
    if not info.writes_log:
        mend = "Look into its log; often the disk is full"
        return Finding(check, "problem", "Redis could not write its append-only file", mend)
    if fsync == "no":
        found = "appendfsync is no: a power cut takes what the system had not written, up to half a minute"
        return Finding(check, "warning", found, "Set `appendfsync everysec` or `always`")
    lost = {"always": "a power cut takes nothing", "everysec": "a power cut takes the last second"}
    return Finding(check, "ok", f"appendonly yes, appendfsync {fsync}" + (f": {lost[fsync]}" if fsync in lost else ""))


def _eviction(info: StoreInfo) -> Finding:
    policy = info.eviction_policy
    if policy == "noeviction":
        return Finding("redis eviction", "ok", policy)
    found = f"maxmemory-policy is {policy}: a full Redis throws sessions away instead of refusing new text"
    level: Level = "problem" if info.max_memory_bytes else "warning"
    return Finding("redis eviction", level, found, "Set `maxmemory-policy noeviction`")


def _memory(info: StoreInfo) -> Finding:
    limit = info.max_memory_bytes or info.machine_memory_bytes
    of = "maxmemory" if info.max_memory_bytes else "the machine's memory, for it has no maxmemory"
    share = info.used_memory_bytes / limit if limit else 0.0
    found = f"{info.used_memory_bytes / _MIB:.0f} MiB of {limit / _MIB:.0f} MiB are used ({share:.0%} of {of})"
    mend = "Raise maxmemory, or delete sessions: a full Redis refuses new text with 503"
    if share >= _NEARLY_FULL:
        return Finding("redis memory", "problem", found, mend)
    if share >= _FILLING:
        return Finding("redis memory", "warning", found, mend)
    return Finding("redis memory", "ok", found)
