"""Many sessions at once, each sending chunks and asking: does anything fail, or grow, and how long does a call take?

    python -m benchmarks.load [--sessions 200] [--seconds 120] [--think-s 4] [--out FILE]

A real server with a tiny random model and its own Redis. Every session has a sender of its own, which rests a while
between its chunks of half to four KiB, asks, looks, takes a snapshot now and then, and begins a new session when a
document is whole. A 503 or 429 is no error: its sender waits as `Retry-After` says and tries again. Memory and CPU are
sampled every second. Exit code 1 where a call failed, or where the second half needs a tenth more memory than the first
one (the first quarter of the time is left out).
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pydoc_data.topics import topics

import httpx
import psutil
from benchmarks import report, serving
from tests.tiny_models import write_served_checkpoint

_KIB = 1024
_TEXT = " ".join(topics.values()).encode("ascii", "ignore")
_MOST_GROWTH = 1.1
_TIMEOUT_S = 60.0
_PARTIAL = {"Content-Type": "application/partial-upload"}


@dataclass
class Tally:
    """What all senders measured."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    put_off: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Sample:
    """What the server and its Redis took at one moment."""

    at_s: float
    server_mb: float
    redis_mb: float
    server_cpu: float
    redis_cpu: float


class Sender:
    """One session after another, until it is told to stop."""

    def __init__(self, http: httpx.AsyncClient, tally: Tally, number: int, think_s: float) -> None:
        self._http = http
        self._tally = tally
        self._rng = random.Random(number)
        self._think_s = think_s

    async def run(self, stop_s: float) -> None:
        """Send and ask until a moment of the monotonic clock; a session that fails is given up for a new one."""
        await asyncio.sleep(self._rng.random() * self._think_s)
        while time.monotonic() < stop_s:
            try:
                await self._session(stop_s)
            except httpx.HTTPError as error:
                self._tally.errors[f"{type(error).__name__}: {error}"[:100]] += 1

    async def _session(self, stop_s: float) -> None:
        focus = self._rng.choice(([], [], ["Where is the module?"]))
        made = await self._call("create session", "POST", "/v1/sessions", json={"focus": focus})
        url = f"/v1/sessions/{made.json()['id']}"
        opened = await self._call("create document", "POST", f"{url}/documents", headers={"Upload-Complete": "?0"})
        document, offset, snapshots = opened.headers["Location"], 0, []
        for left in range(self._rng.randrange(5, 20), -1, -1):
            if time.monotonic() >= stop_s:
                break
            offset += await self._append(document, offset, last=left == 0)
            await self._between(url, document, snapshots)
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self._think_s)
        for snapshot in snapshots:
            await self._call("delete snapshot", "DELETE", f"/v1/snapshots/{snapshot}")
        await self._call("delete session", "DELETE", url)

    async def _append(self, document: str, offset: int, *, last: bool) -> int:
        size = self._rng.randrange(_KIB // 2, 4 * _KIB)
        start = self._rng.randrange(len(_TEXT) - size)
        place = {"Upload-Offset": str(offset), "Upload-Complete": "?1" if last else "?0"}
        await self._call("append", "PATCH", document, content=_TEXT[start : start + size], headers=_PARTIAL | place)
        return size

    async def _between(self, url: str, document: str, snapshots: list[str]) -> None:
        """What a client does beside sending."""
        chance = self._rng.random()
        if chance < 0.5:
            wait = self._rng.random() < 0.5
            kind = "ask, when read" if wait else "ask at once"
            asked = {"question": "What is a module?", "wait": wait, "max_tokens": 4}
            await self._call(kind, "POST", f"{url}/answers", json=asked)
        elif chance < 0.7:
            await self._call("look", "GET", url)
        elif chance < 0.8:
            await self._call("upload offset", "HEAD", document)
        elif chance < 0.85 and not snapshots:
            taken = await self._call("take snapshot", "POST", f"{url}/snapshots", json={})
            snapshots.append(taken.json()["id"])

    async def _call(self, kind: str, method: str, url: str, **request: object) -> httpx.Response:
        """The answer of a call that may be put off, but must work in the end."""
        while True:
            started = time.monotonic()
            answer = await self._http.request(method, url, **request)  # type: ignore[arg-type]
            if answer.status_code not in (429, 503):
                self._tally.seconds[kind].append(time.monotonic() - started)
                return answer.raise_for_status()
            self._tally.put_off[f"{kind}: {answer.status_code} {answer.json()['type'].rpartition(':')[2]}"] += 1
            await asyncio.sleep(float(answer.headers["Retry-After"]) * self._rng.uniform(1.0, 1.5))


async def load(served: serving.Served, sessions: int, seconds: float, think_s: float) -> tuple[Tally, list[Sample]]:
    """Put a server under load for a while."""
    tally, samples = Tally(), []
    stop_s = time.monotonic() + seconds

    async def send(number: int) -> None:
        """With a pool of connections of its own: one for all looks at each of two hundred at every call.

        Certificates are not loaded two hundred times: this is plain HTTP.
        """
        async with httpx.AsyncClient(base_url=served.url, timeout=_TIMEOUT_S, verify=False) as http:
            await Sender(http, tally, number, think_s).run(stop_s)

    watch = asyncio.create_task(_watch(served.pid, samples))
    await asyncio.gather(*map(send, range(sessions)))
    watch.cancel()
    return tally, samples


def tokens_read(served: serving.Served) -> float:
    """Document tokens that a server has read since it started."""
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("rmt_tokens_read_total "))


async def _watch(pid: int, samples: list[Sample]) -> None:
    server = psutil.Process(pid)
    redis = next(child for child in server.children(recursive=True) if "redis-server" in child.name())
    started = time.monotonic()
    for process in (server, redis):
        process.cpu_percent()
    while True:
        await asyncio.sleep(1.0)
        resident = (each.memory_info().rss / 1e6 for each in (server, redis))
        samples.append(Sample(time.monotonic() - started, *resident, server.cpu_percent(), redis.cpu_percent()))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--think-s", type=float, default=4.0, help="how long a sender rests after a chunk, on average")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = write_served_checkpoint(Path(directory), segment_tokens=256)
        with serving.server(checkpoint, device="cpu", threads=1) as served:
            tally, samples = asyncio.run(load(served, options.sessions, options.seconds, options.think_s))
            tokens_per_s = tokens_read(served) / samples[-1].at_s
    calls = {kind: _quantiles(seconds) for kind, seconds in sorted(tally.seconds.items())}
    memory = {name: _trend(samples, name) for name in ("server_mb", "redis_mb")}
    _print(calls, tally, memory, samples)
    print(f"{'read':18}{tokens_per_s:,.0f} tokens a second")
    report.write(
        options.out,
        "load",
        sessions=options.sessions,
        seconds=options.seconds,
        think_s=options.think_s,
        calls=calls,
        put_off=tally.put_off,
        errors=tally.errors,
        memory=memory,
        tokens_per_s=tokens_per_s,
        samples=[asdict(sample) for sample in samples],
    )
    grown = any(each["second_half"] > _MOST_GROWTH * each["first_half"] for each in memory.values())
    return int(bool(tally.errors) or grown)


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "count": len(ordered),
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[len(ordered) * 99 // 100],
        "max_ms": 1e3 * ordered[-1],
    }


def _trend(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """Means of the two halves behind the first quarter, and megabytes a minute."""
    warm = samples[len(samples) // 4 :]
    values = [getattr(sample, name) for sample in warm]
    middle = len(values) // 2
    slope, _ = statistics.linear_regression([sample.at_s for sample in warm], values)
    halves = {"first_half": statistics.mean(values[:middle]), "second_half": statistics.mean(values[middle:])}
    return halves | {"mb_per_min": 60 * slope, "most": max(getattr(sample, name) for sample in samples)}


def _print(
    calls: dict[str, dict[str, float]], tally: Tally, memory: dict[str, dict[str, float]], samples: Sequence[Sample]
) -> None:
    print(f"{'call':18}{'count':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for kind, row in calls.items():
        print(f"{kind:18}" + "{count:8,.0f}{p50_ms:10,.1f}{p99_ms:10,.1f}{max_ms:10,.1f}".format_map(row))
    for name, row in memory.items():
        line = "{first_half:,.0f} MB, then {second_half:,.0f} MB; {mb_per_min:+.1f} MB a minute, {most:,.0f} MB at most"
        print(f"{name.removesuffix('_mb'):18}" + line.format_map(row))
    server, redis = (statistics.mean(getattr(one, name) for one in samples) for name in ("server_cpu", "redis_cpu"))
    print(f"{'CPU':18}server {server:.0f} %, Redis {redis:.0f} % of a core")
    for name, counts in (("put off", tally.put_off), ("errors", tally.errors)):
        print(f"{name:18}{counts.total():,}")
        for what, count in counts.most_common():
            print(f"{count:18,}  {what}")


if __name__ == "__main__":
    sys.exit(main())
