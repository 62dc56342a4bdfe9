"""Search: how fast text is indexed, what the index takes, how fast and how well it answers.

    python -m benchmarks.search [--texts FOLDER] [--megabytes 50] [--squad FILE] [--out FILE]

The text is that of `*.txt` in a folder, again and again where it is too short (by default this project's documentation,
which has few words and flatters the size). A token counts as 4.6 bytes. `--squad` is a SQuAD file: its articles are
joined as one document, and a question is found at k when a passage with one of its answers, at its place, is among the
first k. Everything runs in one process without a model; the time from an append to its passage includes a Redis.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.report import Figure
from benchmarks.serving import resident_mb

from rmt_model.digest import StreamDigest
from rmt_server.metrics import Metrics
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.search.indexes import Indexes
from rmt_server.search.passages import cut_text
from rmt_server.search.text_index import TextIndex
from rmt_server.search.words import query_words
from rmt_server.settings import Settings
from rmt_server.store import Store, StoredState

_PIECE_BYTES = 256 * 1024
TOKENS_BYTES = 4_600_000  # a million tokens
QUERIES = (
    "Who met the captain in the harbour?",
    "What colour was the door of the old house?",
    "Where did Elizabeth hide the letter from her brother?",
    "How many pounds were paid for the horse in 1812?",
    "what did the doctor say about the fever",
    "Why was the train late on Monday morning?",
)
_RANKS = (1, 4, 8, 16)


def text_of(folder: Path | None, size: int) -> bytes:
    """So many bytes of the text files of a folder, or of this project's documentation."""
    files = sorted(folder.rglob("*.txt")) if folder else sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))
    data = b"\n\n".join(file.read_bytes().decode(errors="replace").encode() for file in files)
    return (data * (size // len(data) + 1))[:size].decode(errors="ignore").encode()


def _indexed(data: bytes, folder: Path) -> TextIndex:
    index = TextIndex(folder)
    for start in range(0, len(data), _PIECE_BYTES):
        index.feed(data[start : start + _PIECE_BYTES], ())
    index.commit()
    return index


def measured_index(data: bytes, folder: Path) -> list[Figure]:
    """Speed and size of one index, what it takes in memory, and queries to it."""
    before_mb, since_s, processor_s = sum(resident_mb()), time.monotonic(), time.process_time()
    index = _indexed(data, folder)
    took_s, spent_s = time.monotonic() - since_s, time.process_time() - processor_s
    against = f"{len(data) / 1e6:.0f} MB of text"
    times_ms = []
    for query in QUERIES * 30:
        since_s = time.monotonic()
        index.search(query_words(query), 16, None)
        times_ms.append(1e3 * (time.monotonic() - since_s))
    return [
        Figure("indexing, by processor time", against, len(data) / spent_s / 1e6, "MB/s", least=5.0),
        Figure("indexing, by the clock", against, len(data) / took_s / 1e6, "MB/s"),
        Figure("size of the index", "the text", index.size_bytes / len(data), "", most=0.4),
        Figure("resident memory, index and queries", against, sum(resident_mb()) - before_mb, "MB", most=50.0),
        Figure("a query, median", against, statistics.median(times_ms), "ms"),
        Figure("a query, longest", against, max(times_ms), "ms"),
    ]


def measured_recall(squad: Path) -> list[Figure]:
    """The share of SQuAD's questions whose answer, at its place, is in one of the first passages."""
    text, questions = _squad(json.loads(squad.read_text()))
    passages = {one.start: one for one in cut_text(text)}
    index = TextIndex(None)
    index.feed(text.encode(), ())
    index.commit()
    found = dict.fromkeys(_RANKS, 0)
    for question, spans in questions:
        hits = [passages[hit.place.start] for hit in index.search(query_words(question), max(_RANKS), None)]
        right = [any(one.start_char <= start and stop <= one.end_char for start, stop in spans) for one in hits]
        for most in _RANKS:
            found[most] += any(right[:most])
    against = f"{len(questions)} questions, {len(passages)} passages"
    return [Figure(f"answer in the first {most}", against, count / len(questions)) for most, count in found.items()]


def _squad(data: dict[str, Any]) -> tuple[str, list[tuple[str, list[tuple[int, int]]]]]:
    text, questions = "", []
    for paragraph in (paragraph for article in data["data"] for paragraph in article["paragraphs"]):
        for asked in paragraph["qas"]:
            begins = [(len(text) + one["answer_start"], len(one["text"])) for one in asked["answers"]]
            questions.append((asked["question"], [(start, start + size) for start, size in begins]))
        text += paragraph["context"] + "\n\n"
    return text, questions


async def measured_growth(url: str, data: bytes, folder: Path) -> list[Figure]:
    """From a search of a text that nobody has searched, and from an append, to the passages."""
    store = Store.connect(url)
    indexes = Indexes(store, Settings(search_dir=folder), Metrics())
    running = asyncio.create_task(indexes.run())
    digest, sent = StreamDigest().hexdigest(), 0
    await store.create_session("t", "s", model="m", ttl_s=3600.0, state=StoredState(b"", 0, 0, 0, digest))
    await store.create_document("t", "s", "d")

    async def append(piece: bytes) -> None:
        nonlocal sent
        await store.append("t", "s", "d", offset=sent, data=piece, complete=False, max_unread_bytes=1 << 40)
        sent += len(piece)

    async def find(query: str) -> float:
        since_s = time.monotonic()
        found = await indexes.find(await store.get_session("t", "s"), query, 10)
        assert found.position == sent
        return time.monotonic() - since_s

    for start in range(0, len(data), _PIECE_BYTES):
        await append(data[start : start + _PIECE_BYTES])
    first_s = await find(QUERIES[0])
    again_ms = [1e3 * await find(query) for query in QUERIES * 5]
    appended_ms = []
    for number in range(30):
        await append(f" The zebra number{number} slept. ".encode() + random.Random(number).choice([b"", data[:2000]]))
        appended_ms.append(1e3 * await find(f"number{number}"))
    running.cancel()
    await indexes.close()
    await store.close()
    against = f"{len(data) / 1e6:.0f} MB in Redis"
    return [
        Figure("first search, index included", against, first_s, "s"),
        Figure("a further search, ten passages", against, statistics.median(again_ms), "ms"),
        Figure("appended text is found after", against, statistics.median(appended_ms), "ms", most=1000.0),
        Figure("appended text is found after, longest", against, max(appended_ms), "ms", most=1000.0),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="folder with *.txt")
    parser.add_argument("--megabytes", type=float, default=50.0)
    parser.add_argument("--squad", type=Path, help="a SQuAD file, for the recall")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    data = text_of(options.texts, int(options.megabytes * 1e6))
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for name, size in (("small", min(len(data), TOKENS_BYTES)), ("large", len(data))):
            (folder / name).mkdir()
            figures += measured_index(data[:size], folder / name)
        with EmbeddedRedis(folder / "redis") as redis:
            figures += asyncio.run(measured_growth(redis.url, data[:TOKENS_BYTES], folder / "search"))
        if options.squad:
            figures += measured_recall(options.squad)
    held = report.show(figures)
    report.write(options.out, "search", figures)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
