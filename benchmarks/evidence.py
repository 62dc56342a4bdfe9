"""Answers from a long text: what looking up saves, what reading costs, what an index takes, and whether memory grows.

    python -m benchmarks.evidence DATA [--llama FOLDER] [--dtype fast] [--quick] [--only answers ...] [--out FILE]

DATA has `books` and `squad` as docs/training.md names them. What is compared is measured in one run, in turns where it
is not too long. Servers are processes of their own, with their settings as they are, on loopback.

* answers: a session of `--tokens` tokens; the time of an answer by a search, against one that rereads the text.
* windows: questions about held-out SQuAD articles in one document with a novel. The same four windows are read by the
  encoder as the server does, by llama.cpp with SmolLM2-135M-Instruct in 4 and 8 bits (where `--llama` names a folder
  that `python -m benchmarks.llama` made), and by `rmt-smollm2-small` with the question as its focus: time and F1.
* focus: the same text read with a focus by `rmt-minilm` and by `rmt-smollm2-small`, with as many threads.
* index: how fast text is indexed by one core, what the index takes, and how soon appended text is found.
* growth: `--long` tokens sent to one session, which keeps them and is searched now and then: does the server grow?
"""

import argparse
import asyncio
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import httpx
import torch
from benchmarks import report, search, serving
from benchmarks.llama import Form, LlamaReader
from benchmarks.readers import Focused, Pointing, Reader
from benchmarks.reading_quality import f1_of, in_one_document, judged
from benchmarks.report import Figure
from benchmarks.rounds import interleaved, median_ratio

from rmt_model.allocator import keep_freed_memory
from rmt_model.config import DtypeName
from rmt_model.data.corpora import read_squad
from rmt_model.engines import load_engine
from rmt_model.lane_engine import LaneEngine
from rmt_model.offline import read_document
from rmt_model.span_engine import SpanEngine
from rmt_server.redis_process.server import EmbeddedRedis

_ENCODER, _DECODER = "rmt-minilm", "rmt-smollm2-small"
_TEXT_BODY = {"Content-Type": "text/plain; charset=utf-8"}
_WINDOWS = 4
_PIECE_BYTES = 500_000
_BYTES_A_TOKEN = 4.2
_FOCUS = "Who is the owner of the old house?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--llama", type=Path, help="folder of benchmarks.llama")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="of the session that is asked")
    parser.add_argument("--long", type=int, default=10_000_000, help="tokens of the session that grows")
    parser.add_argument("--questions", type=int, default=80, help="about windows")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--megabytes", type=float, default=46.0, help="of text that is indexed")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run?")
    parser.add_argument("--only", nargs="+", choices=list(_PARTS))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.quick:
        options.tokens, options.long, options.questions, options.runs, options.megabytes = 4000, 8000, 3, 1, 2.0
    keep_freed_memory()
    figures: list[Figure] = []
    for name in options.only or _PARTS:
        print(f"== {name}", flush=True)
        found = _PARTS[name](options)
        report.show(found)
        figures += found
        known = {key: str(value) for key, value in vars(options).items()}
        report.write(options.out, "evidence", figures, options=known)
    return int(not all(one.holds for one in figures))


class Session:
    """A session of a server, and how much of some books it has."""

    def __init__(self, http: httpx.Client, text: bytes) -> None:
        self._http = http
        self._pieces = cycle(text[start : start + _PIECE_BYTES] for start in range(0, len(text), _PIECE_BYTES))
        self._url = "/v1/sessions/" + str(http.post("/v1/sessions", json={}).raise_for_status().json()["id"])

    @property
    def tokens(self) -> int:
        """How many it has read."""
        return int(self._http.get(self._url).raise_for_status().json()["tokens"])

    def grow(self, tokens: int) -> None:
        """Send text until so many tokens are read."""
        while (missing := tokens - self.tokens) > 0:
            self._send(next(self._pieces)[: 1000 + int(missing * _BYTES_A_TOKEN)])

    def _send(self, piece: bytes) -> None:
        body = piece.decode(errors="ignore").encode()
        url = f"{self._url}/documents"
        self._http.post(url, params={"wait": True}, content=body, headers=_TEXT_BODY).raise_for_status()

    def answer_s(self, question: str, mode: str) -> float:
        """Seconds for an answer."""
        since_s = time.perf_counter()
        body = {"question": question, "mode": mode}
        self._http.post(f"{self._url}/answers", json=body).raise_for_status()
        return time.perf_counter() - since_s


@contextmanager
def _session(text: bytes, dtype: str) -> Iterator[tuple[Session, serving.Served]]:
    """A server of its own with one session."""
    with (
        serving.server(_ENCODER, dtype=dtype, read_wait_s=7200) as served,
        httpx.Client(base_url=served.url, timeout=None) as http,
    ):
        yield Session(http, text), served


def answers(options: argparse.Namespace) -> list[Figure]:
    """An answer by a search, against one that rereads the text."""
    text = search.text_of(options.data / "books", int(2 * options.tokens * _BYTES_A_TOKEN))
    with _session(text, options.dtype) as (session, _):
        since_s = time.perf_counter()
        session.grow(options.tokens)
        read_s, size = time.perf_counter() - since_s, f"{session.tokens:,} tokens"
        first_s = session.answer_s(search.QUERIES[0], "search")
        searched = [session.answer_s(one, "search") for one in search.QUERIES * 5]
        reread_s = session.answer_s(search.QUERIES[0], "reread")
    median_s = statistics.median(searched)
    return [
        Figure("text sent and read", size, options.tokens / read_s, "tokens/s"),
        Figure("first answer by a search, index included", size, first_s, "s"),
        Figure("an answer by a search, median", size, median_s, "s"),
        Figure("an answer by a search, longest", size, max(searched), "s"),
        Figure("an answer that rereads", size, reread_s, "s"),
        Figure("an answer that rereads", "a search", reread_s / median_s, "times"),
    ]


def windows(options: argparse.Namespace) -> list[Figure]:
    """The same windows read by several models."""
    squad = options.data / "squad" / "squad-v1.1-dev-36-articles.json"
    cases = in_one_document(read_squad(squad, "squad", "validation"), options.data / "books", options.questions)
    readers: dict[str, Reader] = {_ENCODER: Pointing(_encoder(options.dtype))}
    forms: tuple[Form, ...] = ("Q4_1", "Q8_0") if options.llama else ()
    for form in forms:
        readers[f"llama.cpp, {form}"] = LlamaReader(options.llama, torch.get_num_threads(), form)
    readers[f"{_DECODER}, focus"] = Focused(load_engine(_DECODER, dtype=options.dtype, slots=2))
    for reader in readers.values():
        list(judged(reader, cases[:1], _WINDOWS))  # does not count
    in_turns = zip(*(judged(reader, cases, _WINDOWS) for reader in readers.values()), strict=True)
    found = dict(zip(readers, zip(*in_turns, strict=True), strict=True))
    seconds = {name: [one.seconds for one in some] for name, some in found.items()}
    figures = []
    for name, some in found.items():
        f1, spread = f1_of(some)
        figures += [
            Figure(f"{name}: an answer, median", f"{_WINDOWS} windows", statistics.median(seconds[name]), "s"),
            Figure(f"{name}: F1", f"{len(some)} questions, within {spread}", f1, "%"),
        ]
        if name != _ENCODER:
            figures.append(
                Figure(f"{name}: an answer", _ENCODER, median_ratio(seconds[name], seconds[_ENCODER]), "times")
            )
    return figures


def focus(options: argparse.Namespace) -> list[Figure]:
    """The same text read for a question by a checkpoint of either kind."""
    text = search.text_of(options.data / "books", 10_000 if options.quick else 60_000)
    engines = {name: load_engine(name, dtype=options.dtype, slots=2) for name in (_ENCODER, _DECODER)}
    tokens = {name: _read(engine, text) for name, engine in engines.items()}
    ways = {name: lambda engine=engine: _timed(lambda: _read(engine, text)) for name, engine in engines.items()}
    seconds = interleaved(ways, options.runs)
    size = f"{len(text) / 1000:.0f} kB of text"
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    speeds = [
        Figure(f"{name}: reading for a focus", size, tokens[name] / median_s, "tokens/s")
        for name, median_s in medians.items()
    ]
    ratio = median_ratio(seconds[_DECODER], seconds[_ENCODER])
    return [*speeds, Figure(f"{_ENCODER}: text a second", f"{_DECODER}, with a focus", ratio, "times")]


def index(options: argparse.Namespace) -> list[Figure]:
    """Speed and size of an index, and how soon appended text is found."""
    text = search.text_of(options.data / "books", int(options.megabytes * 1e6))
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "index").mkdir()
        figures = search.measured_index(text, folder / "index")
        with EmbeddedRedis(folder / "redis") as redis:
            figures += asyncio.run(search.measured_growth(redis.url, text[: search.TOKENS_BYTES], folder / "search"))
    return figures


def growth(options: argparse.Namespace) -> list[Figure]:
    """The server's memory after a hundredth of a long text, and after all of it."""
    text = search.text_of(options.data / "books", int(options.long * _BYTES_A_TOKEN))
    queries = cycle(search.QUERIES)
    with _session(text, options.dtype) as (session, served):
        session.grow(options.long // 100)
        for _ in search.QUERIES:
            session.answer_s(next(queries), "search")
        first, before = session.tokens, serving.resident_mb(served.pid)
        while session.tokens < options.long:
            session.grow(min(options.long, session.tokens + options.long // 20))
            asked_s = session.answer_s(next(queries), "search")
            now = serving.resident_mb(served.pid)
            print(f"{session.tokens:,} tokens: {now[0]:.1f} MB of its own, {now[1]:.1f} MB of files; {asked_s:.2f} s")
        read = f"from {first:,} to {session.tokens:,} tokens"
    own, files = (after - at_first for after, at_first in zip(now, before, strict=True))
    return [
        Figure("the server's memory grows by", read, own, "MB"),
        Figure("files that it maps, in memory, grow by", read, files, "MB"),
    ]


def _encoder(dtype: DtypeName) -> SpanEngine:
    engine = load_engine(_ENCODER, dtype=dtype)
    assert isinstance(engine, SpanEngine)
    return engine


def _read(engine: LaneEngine, text: bytes) -> int:
    """Read a text with a focus; how many tokens it has."""
    return read_document(engine, io.BytesIO(text), [_FOCUS], report=lambda _: None).tokens_read


def _timed(way: Callable[[], object]) -> float:
    since_s = time.perf_counter()
    way()
    return time.perf_counter() - since_s


_PARTS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "answers": answers,
    "windows": windows,
    "focus": focus,
    "index": index,
    "growth": growth,
}

if __name__ == "__main__":
    sys.exit(main())
