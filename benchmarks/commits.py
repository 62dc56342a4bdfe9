"""What keeping states costs Redis: commits by themselves, and all that one session has there.

    python -m benchmarks.commits [--checkpoint NAME] [--sessions 32] [--seconds 10] [--kilobytes 400] [--out FILE]

First so many sessions commit states of 50 kB from one process, as fast as one Redis takes them,
without a timeline. Then a server reads a text of this project's own documentation, and what Redis says of the memory of
each of the session's keys is added up.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import redis
from benchmarks import report
from benchmarks.report import Figure
from benchmarks.serving import server

from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import Store, StoredState

_TENANT = "bench"
_STATE_BYTES = 50_000
_TEXT = b"text" * 16_384
_STEP_BYTES = 4


async def _commit(store: Store, sid: str, until_s: float) -> int:
    """Commits of one session until then; how many."""

    def state(read_bytes: int) -> StoredState:
        return StoredState(bytes(_STATE_BYTES), read_bytes, read_bytes // 4, read_bytes // 1500, "digest")

    await store.create_session(_TENANT, sid, model="m", ttl_s=3600.0, state=state(0))
    await store.create_document(_TENANT, sid, "d")
    await store.append(_TENANT, sid, "d", offset=0, data=_TEXT, complete=True, max_unread_bytes=len(_TEXT))
    lease = await store.lease(_TENANT, sid, "benchmark", 60_000)
    assert lease is not None
    made = 0
    while time.monotonic() < until_s and (made + 1) * _STEP_BYTES < len(_TEXT):
        made += 1
        lease = await store.commit(lease, state(made * _STEP_BYTES))
    return made


async def _commits(url: str, sessions: int, seconds: float) -> int:
    """Commits of all sessions at once."""
    store = Store.connect(url)
    try:
        until_s = time.monotonic() + seconds
        return sum(await asyncio.gather(*(_commit(store, f"s{n}", until_s) for n in range(sessions))))
    finally:
        await store.close()


def _spent(bare: "redis.Redis") -> tuple[float, float, float]:
    """Seconds of Redis' processor, bytes that came, and seconds in scripts, so far."""
    facts = bare.info("everything")
    scripts = facts.get("cmdstat_evalsha", {"usec": 0})
    return (
        facts["used_cpu_user"] + facts["used_cpu_sys"],
        facts["total_net_input_bytes"],
        scripts["usec"] / 1e6,
    )


def measured_commits(url: str, sessions: int, seconds: float) -> list[Figure]:
    """What a commit costs."""
    with redis.Redis.from_url(url) as bare:
        before, began_s = _spent(bare), time.monotonic()
        made = asyncio.run(_commits(url, sessions, seconds))
        took_s = time.monotonic() - began_s
        processor_s, came_bytes, script_s = (now - then for now, then in zip(_spent(bare), before, strict=True))
    against = f"{sessions} sessions at once, one process"
    return [
        Figure("commits", against, made / took_s, "1/s"),
        Figure("Redis' processor for a commit", against, 1e3 * processor_s / made, "ms"),
        Figure("its script for a commit", against, 1e6 * script_s / made, "us"),
        Figure("bytes to Redis for a commit", against, came_bytes / made / 1e3, "kB"),
    ]


def measured_session(url: str, checkpoint: str, kilobytes: int) -> list[Figure]:
    """What one session has in Redis."""
    pages = b"".join(page.read_bytes() for page in sorted((Path(__file__).parents[1] / "docs").rglob("*.md")))
    text = (pages * (1000 * kilobytes // len(pages) + 1))[: 1000 * kilobytes].decode(errors="ignore").encode()
    with server(checkpoint, redis_url=url) as served, httpx.Client(base_url=served.url, timeout=600) as http:
        headers = {"Content-Type": "text/plain"}
        told = http.post("/v1/documents", params={"wait": "true"}, content=text, headers=headers).raise_for_status()
        session = told.json()["session"]
        with redis.Redis.from_url(url) as bare:
            keys = sorted(key.decode() for key in bare.scan_iter(f"rmt:*{session['id']}*"))
            sizes = {key.rpartition(":")[2]: bare.memory_usage(key, samples=0) or 0 for key in keys}
    against = f"{session['tokens']:,} tokens, {len(text) // 1000} kB"
    whole = Figure("a session in Redis", against, sum(sizes.values()) / 1e3, "kB")
    return [whole, *(Figure(f"  its {name}", against, size / 1e3, "kB") for name, size in sizes.items())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kilobytes", type=int, default=400)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory)) as running:
        figures = measured_commits(running.url, options.sessions, options.seconds)
        figures += measured_session(running.url, options.checkpoint, options.kilobytes)
    held = report.show(figures)
    report.write(options.out, "commits", figures)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
