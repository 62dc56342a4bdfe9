"""The service as its callers meet it: many at once, short beside long, commits, acknowledgements, sizes, the start.

    python -m benchmarks.service [--checkpoint NAME] [--device cuda] [--dtype fast] [--runs 5] [--out FILE]

Real servers, each with a Redis of its own, by HTTP on loopback; with `RMT_ENGINE_YIELDS`, as on a machine of its own,
unless said.

* short: a document of 2,000 tokens, sent until read, with nothing else to do, and while a long document is read;
  and the speed of the long one in a time in which a short one comes every ten seconds, against nothing beside it.
* commits: of a long document, the share that took 5 ms and less; and the same text read by a server that commits twice
  a second and by one that commits once, at the end.
* chunk: 64 KiB by PATCH, from the first byte sent to the acknowledgement, each to a session of its own: at a server
  with a tiny model that has read what came before, and at one that is reading it meanwhile.
* state: bytes of a snapshot after 10,000 tokens and after `--long` tokens, against keys and values of all of them.
* start: from the start of the process to `/readyz`, with the backbone in the cache.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread

import httpx
from benchmarks import report, serving
from benchmarks.reading import text_of
from benchmarks.report import Figure
from benchmarks.rounds import interleaved, median_ratio
from tests.tiny_models import write_served_checkpoint

from rmt_model.checkpoint import load_checkpoint

_TEXT_BODY = {"Content-Type": "text/plain; charset=utf-8"}
_CHUNK_BYTES = 64 * 1024
_SHORT_TOKENS, _EVERY_S, _BESIDE = 2000, 10.0, 5
_QUICK_COMMIT_S = 0.005


class Client:
    """One server, over HTTP."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=600)

    def session(self) -> str:
        """A new one."""
        return str(self.http.post("/v1/sessions", json={}).raise_for_status().json()["id"])

    def tokens(self, session: str) -> int:
        """How many it has read."""
        return int(self.http.get(f"/v1/sessions/{session}").raise_for_status().json()["tokens"])

    def send(self, session: str, text: str, *, wait: bool = True) -> float:
        """Seconds from the first byte sent to the answer."""
        started = time.perf_counter()
        url = f"/v1/sessions/{session}/documents"
        self.http.post(url, params={"wait": wait}, content=text.encode(), headers=_TEXT_BODY).raise_for_status()
        return time.perf_counter() - started

    def read(self, text: str) -> float:
        """Seconds until a session of its own has read a text."""
        session = self.session()
        seconds = self.send(session, text)
        self.http.delete(f"/v1/sessions/{session}").raise_for_status()
        return seconds

    def rest(self, session: str) -> None:
        """Wait until all that came has been read."""
        while self.http.get(f"/v1/sessions/{session}").raise_for_status().json()["status"] != "idle":
            time.sleep(0.05)

    @contextmanager
    def reading(self, text: str) -> Iterator[str]:
        """Meanwhile a session reads this text again and again."""
        session, enough = self.session(), Event()

        def keep_sending() -> None:
            with httpx.Client(base_url=self.http.base_url, timeout=600) as http:
                while not enough.is_set():
                    url = f"/v1/sessions/{session}/documents"
                    http.post(url, content=text.encode(), headers=_TEXT_BODY)

        sender = Thread(target=keep_sending)
        sender.start()
        while not self.tokens(session):
            time.sleep(0.01)
        yield session
        enough.set()
        self.http.delete(f"/v1/sessions/{session}").raise_for_status()
        sender.join()

    def speed(self, session: str, seconds: float, beside: Callable[[], object] | None = None) -> float:
        """Tokens a second that a session reads in a time, in which something else may be done."""
        before, started = self.tokens(session), time.perf_counter()
        if beside is not None:
            beside()
        time.sleep(max(0.0, started + seconds - time.perf_counter()))
        return (self.tokens(session) - before) / (time.perf_counter() - started)

    def quick_commits(self) -> tuple[float, float]:
        """How many commits there were, and the share of them that were quick."""
        found = {}
        for line in self.http.get("/metrics").raise_for_status().text.splitlines():
            name, _, value = line.rpartition(" ")
            found[name] = float(value) if name.startswith("rmt_commit_seconds") else 0.0
        count = found["rmt_commit_seconds_count"]
        return count, found[f'rmt_commit_seconds_bucket{{le="{_QUICK_COMMIT_S}"}}'] / count


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--long", type=int, default=100_000, help="tokens of the longest text whose state is weighed")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    checkpoint = load_checkpoint(options.checkpoint)
    texts = {tokens: text_of(checkpoint, tokens) for tokens in (_SHORT_TOKENS, 10_000)}
    config = checkpoint.model.backbone.config
    kept_bytes = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    figures: list[Figure] = []
    plain = {"device": options.device, "dtype": options.dtype}
    known = plain | {"engine_yields": True}
    starts = []
    for _ in range(options.runs):
        started = time.perf_counter()
        with serving.server(options.checkpoint, **known):
            starts.append(time.perf_counter() - started)
    figures.append(Figure("start to ready", "", statistics.median(starts), "s", most=6.0))
    with serving.server(options.checkpoint, **known) as one:
        client = Client(one.url)
        figures += _short_beside_long(client, texts, options.runs)
        figures += _commits(client, "engine yields", 99.0)
        figures += _chunks(client, texts[10_000], options.runs, "while the last ones are read", None, 0.05)
        figures += _states(client, texts[10_000], options.long, kept_bytes)
        with serving.server(options.checkpoint, **known, commit_interval_s=3600) as other:
            figures.append(_overlap(client, Client(other.url), texts[10_000], options.runs))
    with serving.server(options.checkpoint, **plain) as as_it_comes:
        client = Client(as_it_comes.url)
        for _ in range(options.runs):
            client.read(texts[10_000])
        figures += _commits(client, "engine as all others", None)
    with tempfile.TemporaryDirectory() as folder, serving.server(write_served_checkpoint(Path(folder))) as tiny:
        figures += _chunks(Client(tiny.url), texts[10_000], options.runs, "a tiny model, at rest", 3.0, None)
    holds = report.show(figures)
    report.write(options.out, "service", figures, options={name: str(value) for name, value in vars(options).items()})
    return int(not holds)


def _short_beside_long(client: Client, texts: dict[int, str], runs: int) -> list[Figure]:
    short = texts[_SHORT_TOKENS]
    alone = [client.read(short) for _ in range(runs + 1)][1:]
    with client.reading(texts[10_000] * 10) as session:
        beside = [client.read(short) for _ in range(runs + 1)][1:]

        def shorts() -> None:
            for _ in range(_BESIDE):
                until = time.perf_counter() + _EVERY_S
                client.read(short)
                time.sleep(max(0.0, until - time.perf_counter()))

        seconds = _BESIDE * _EVERY_S
        speeds = [client.speed(session, seconds / 2), client.speed(session, seconds, shorts)]
        speeds.append(client.speed(session, seconds / 2))
    return [
        Figure("a short document", "alone", statistics.median(alone), "s"),
        Figure("a short document beside a long one", "alone", median_ratio(beside, alone), most=2.0),
        Figure("a long one, a short one every 10 s", "alone", 2 * speeds[1] / (speeds[0] + speeds[2]), least=0.9),
    ]


def _commits(client: Client, how: str, least: float | None) -> list[Figure]:
    count, quick = client.quick_commits()
    return [Figure("commits of 5 ms and less", f"{count:,.0f} commits, {how}", 100 * quick, "%", least)]


def _overlap(often: Client, seldom: Client, text: str, runs: int) -> Figure:
    found = interleaved({"often": lambda: often.read(text), "seldom": lambda: seldom.read(text)}, runs)
    ratio = median_ratio(found["often"], found["seldom"])
    return Figure("reading with two commits a second", "one commit at the end", ratio, most=1.02)


def _chunks(
    client: Client, text: str, runs: int, how: str, most_ms: float | None, pause_s: float | None
) -> list[Figure]:
    chunk, seconds = text[:_CHUNK_BYTES].ljust(_CHUNK_BYTES).encode(), []
    sessions = [client.session() for _ in range(10 * runs)]
    where = client.http.base_url
    line = HTTPConnection(where.host, where.port)
    for session in sessions:
        url = f"/v1/sessions/{session}/documents"
        begun = client.http.post(url, headers={"Upload-Complete": "?0"}).raise_for_status()
        headers = {"Upload-Offset": "0", "Upload-Complete": "?0", "Content-Type": "application/partial-upload"}
        started = time.perf_counter()
        line.request("PATCH", httpx.URL(begun.headers["location"]).path, chunk, headers)
        answer = line.getresponse()
        answer.read()
        seconds.append(time.perf_counter() - started)
        assert answer.status == 204, answer.status
        client.rest(session) if pause_s is None else time.sleep(pause_s)
    for session in sessions:
        client.http.delete(f"/v1/sessions/{session}").raise_for_status()
    return [Figure("64 KiB acknowledged, median", how, 1000 * statistics.median(seconds), "ms", most=most_ms)]


def _states(client: Client, text: str, longest: int, kept_bytes: int) -> list[Figure]:
    session, figures = client.session(), []
    for tokens in (10_000, longest):
        while client.tokens(session) < tokens - 1000:
            client.send(session, text)
        known = client.tokens(session)
        url = f"/v1/sessions/{session}/snapshots"
        snapshot = client.http.post(url, json={"name": f"after {tokens}"}).raise_for_status().json()["id"]
        size = len(client.http.get(f"/v1/snapshots/{snapshot}/content").raise_for_status().content)
        figures.append(Figure(f"state after {known:,} tokens", "", size / 1000, "kB"))
        figures.append(Figure(f"keys and values of {known:,} tokens", "bfloat16", known * kept_bytes / 1000, "kB"))
    client.http.delete(f"/v1/sessions/{session}").raise_for_status()
    return figures


if __name__ == "__main__":
    sys.exit(main())
