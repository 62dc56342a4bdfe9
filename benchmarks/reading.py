"""Reading speed: the engine against a bare loop over the backbone's body, and the server against the engine.

All three read the same number of tokens in the same shapes, in turn, several times; the table shows medians. The bare
loop does nothing but call the body on ready-made vectors: no embedding, no memory, no update. Exit code 1 where a
share that the project promises is missed.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data.topics import topics

import httpx
import torch
from benchmarks import report, serving
from benchmarks.device import synchronize

from rmt_model.allocator import keep_freed_memory
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.types import LaneSegment

_WANTED = {("engine", "bare body"): 0.95, ("server", "engine"): 0.90}
_TEXT_BODY = {"Content-Type": "text/plain; charset=utf-8"}


@dataclass(frozen=True)
class Row:
    """Speed of one way of reading, in document tokens a second."""

    what: str
    tokens_per_s: float
    lowest: float
    highest: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--segments", type=int, default=32, help="segments in one measurement")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    keep_freed_memory()
    checkpoint = load_checkpoint(options.checkpoint, device=options.device)
    engine = Engine(checkpoint, slots=4)
    size, memory = checkpoint.config.segment_tokens, checkpoint.config.memory_tokens
    rng = random.Random(1)
    segments = [[rng.randrange(1000, 40000) for _ in range(size)] for _ in range(options.segments)]
    vectors = torch.randn(1, memory + size + memory, checkpoint.model.hidden, device=options.device) * 0.1
    text = _text(engine, options.segments * size)

    served = serving.server(options.checkpoint, device=options.device)
    with served as where, httpx.Client(base_url=where.url, timeout=600) as http:
        ways: dict[str, Callable[[], float]] = {
            "bare body": lambda: _bare(engine, vectors, options.segments) / (options.segments * size),
            "engine": lambda: _engine(engine, segments) / (options.segments * size),
            "server": lambda: _served(http, text),
        }
        for way in ways.values():
            way()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.runs):
            for name, way in ways.items():
                seconds[name].append(way())
    rows = [Row(name, 1 / statistics.median(each), 1 / max(each), 1 / min(each)) for name, each in seconds.items()]
    ratios = {
        f"{way} / {base}": statistics.median(b / w for b, w in zip(seconds[base], seconds[way], strict=True))
        for way, base in _WANTED
    }
    _report(rows, ratios, options)
    return int(any(ratio < wanted for ratio, wanted in zip(ratios.values(), _WANTED.values(), strict=True)))


def _bare(engine: Engine, vectors: torch.Tensor, segments: int) -> float:
    body = engine.model.body
    started = time.perf_counter()
    with torch.inference_mode():
        for _ in range(segments):
            body(inputs_embeds=vectors, use_cache=False)
    synchronize(vectors.device)
    return time.perf_counter() - started


def _engine(engine: Engine, segments: list[list[int]]) -> float:
    slots = engine.open(1)
    started = time.perf_counter()
    for segment in segments:
        engine.read([LaneSegment(slots[0], segment)])
    synchronize(engine.model.device)
    seconds = time.perf_counter() - started
    engine.close(slots)
    return seconds


def _served(http: httpx.Client, text: str) -> float:
    """Seconds a token, from the first byte sent to the answer that the last segment is read."""
    session = http.post("/v1/sessions", json={}).raise_for_status().json()["id"]
    started = time.perf_counter()
    sent = http.post(
        f"/v1/sessions/{session}/documents", params={"wait": True}, content=text.encode(), headers=_TEXT_BODY
    )
    seconds = time.perf_counter() - started
    sent.raise_for_status()
    tokens = http.get(f"/v1/sessions/{session}").raise_for_status().json()["tokens"]
    http.delete(f"/v1/sessions/{session}").raise_for_status()
    return float(seconds / tokens)


def _text(engine: Engine, tokens: int) -> str:
    """Text of about so many tokens."""
    whole = "\n".join(topics[name] for name in sorted(topics))
    text = whole[: tokens * 5]
    ids = engine.checkpoint.tokenizer.encode(text, add_special_tokens=False)
    return text[: ids.offsets[min(tokens, len(ids.offsets) - 1)][1]]


def _report(rows: list[Row], ratios: dict[str, float], options: argparse.Namespace) -> None:
    for row in rows:
        print(f"{row.what:12} {row.tokens_per_s:10,.0f} tokens/s   ({row.lowest:,.0f} .. {row.highest:,.0f})")
    for name, ratio in ratios.items():
        print(f"{name:20} {ratio:.3f}")
    report.write(
        options.out,
        "reading",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        device=options.device,
        runs=options.runs,
        rows=[asdict(row) for row in rows],
        ratios=ratios,
    )


if __name__ == "__main__":
    sys.exit(main())
