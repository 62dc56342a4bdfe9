"""Reading speed of one document: the engine against two plain loops over the backbone, and the server against it.

    python -m benchmarks.reading [--checkpoint NAME] [--device cuda] [--dtype fast] [--sessions 16] [--out FILE]

All read the same number of tokens in the same shapes, in turn, several times; the table shows medians.

* bare body: the backbone's body as transformers computes it, called on ready-made vectors: no embedding, no memory.
* official: what the published `RecurrentWrapper` does, written anew: the whole language model on every segment, its
  vocabulary projection on every token, hidden states of all layers asked for, all of them kept and joined at the end.
* server: by HTTP, from the first byte sent until the last segment is read: one session, and `--sessions` at once, whose
  engine reads the same lanes alone in steps of the size that the server takes.

Exit code 1 where a figure that the project promises is missed.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc_data.topics import topics

import httpx
import torch
from benchmarks import report, serving
from benchmarks.device import synchronize
from benchmarks.report import Figure
from benchmarks.rounds import interleaved, median_ratio
from torch import Tensor

from rmt_model.allocator import keep_freed_memory
from rmt_model.checkpoint import Checkpoint, load_checkpoint
from rmt_model.engine import Engine
from rmt_model.types import LaneSegment

_TEXT_BODY = {"Content-Type": "text/plain; charset=utf-8"}
_STEP_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""What the server takes in a step if nobody says otherwise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--segments", type=int, default=24, help="segments in one measurement")
    parser.add_argument("--sessions", type=int, default=16, help="sessions at once")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--no-server", action="store_true", help="the engine only")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    checkpoint = load_checkpoint(options.checkpoint, device=options.device, dtype=options.dtype)
    bench = Bench(checkpoint, options.segments, options.sessions)
    seconds = interleaved(bench.alone(), options.runs)
    if not options.no_server:
        with (
            serving.server(options.checkpoint, device=options.device, dtype=options.dtype) as where,
            httpx.Client(base_url=where.url, timeout=600) as http,
        ):
            seconds |= interleaved(bench.served(http), options.runs)
    speeds = [Figure(name, "tokens read", 1 / statistics.median(each), "tokens/s") for name, each in seconds.items()]
    figures = [*speeds, *_ratios(seconds, options)]
    holds = report.show(figures)
    report.write(options.out, "reading", figures, options=vars(options) | {"out": None}, seconds_a_token=seconds)
    return int(not holds)


def _ratios(seconds: dict[str, list[float]], options: argparse.Namespace) -> list[Figure]:
    official = 4.0 if options.device == "cuda" else 1.35
    wanted = [("engine", "bare body", 1.0), ("engine", "official", official)]
    if not options.no_server:
        many = f", {options.sessions}"
        wanted += [("server, 1", "engine beside it", 0.95), (f"server{many}", f"engine{many}", 0.95)]
    return [
        Figure(f"reading: {way}", base, median_ratio(seconds[base], seconds[way]), "", least)
        for way, base, least in wanted
    ]


class Bench:
    """Ways to read so many segments; each gives seconds a token."""

    def __init__(self, checkpoint: Checkpoint, segments: int, sessions: int) -> None:
        self._engine = Engine(checkpoint, slots=sessions)
        self._model = self._engine.model
        config, self._sessions = checkpoint.config, sessions
        self._size, self._memory = config.segment_tokens, config.memory_tokens
        self._at_once = max(1, _STEP_TOKENS[self._model.device.type] // config.segment_positions)
        rng = random.Random(1)
        self._segments = [[rng.randrange(1000, 40000) for _ in range(self._size)] for _ in range(segments)]
        self._text = text_of(checkpoint, segments * self._size)

    @torch.inference_mode()
    def alone(self) -> dict[str, Callable[[], float]]:
        """Without a server."""
        like = self._model.embed(torch.tensor([self._segments[0]], device=self._model.device))
        vectors = torch.randn(1, self._size + 2 * self._memory, self._model.hidden, device=like.device).to(like) * 0.1
        work: dict[str, Callable[[], object]] = {
            "bare body": lambda: self._bare(vectors),
            "official": self._official,
            "engine": lambda: self._read(1, self._segments),
        }
        return {name: lambda way=way: self._timed(way, len(self._segments)) for name, way in work.items()}  # type: ignore[misc]

    def served(self, http: httpx.Client) -> dict[str, Callable[[], float]]:
        """By HTTP, and the engine alone beside it."""
        some, many = self._segments, self._segments[: max(4, len(self._segments) // 2)]
        of_many = self._text[: len(self._text) * len(many) // len(some)]
        count = self._sessions
        return {
            "engine beside it": lambda: self._timed(lambda: self._read(1, some), len(some)),
            "server, 1": lambda: _served(http, [self._text]),
            f"engine, {count}": lambda: self._timed(lambda: self._read(count, many), count * len(many)),
            f"server, {count}": lambda: _served(http, [of_many] * count),
        }

    def _timed(self, way: Callable[[], object], segments: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            way()
        synchronize(self._model.device)
        return (time.perf_counter() - started) / (segments * self._size)

    def _bare(self, vectors: Tensor) -> None:
        for _ in self._segments:
            self._model.body(inputs_embeds=vectors, use_cache=False)

    def _official(self) -> tuple[Tensor, list[Tensor]]:
        """Logits of all tokens, [1, tokens, vocabulary], and their hidden states by layer, each [1, tokens, d]."""
        model, cell, own = self._model, self._model.cell, slice(self._memory, -self._memory)
        memory, logits, hidden = cell.fresh(1), list[Tensor](), list[tuple[Tensor, ...]]()
        for segment in self._segments:
            inputs = cell.surround(memory, model.embed(torch.tensor([segment], device=model.device)))
            output = model.backbone(inputs_embeds=inputs, output_hidden_states=True, use_cache=False)
            memory = cell.update(memory, cell.written(output.hidden_states[-1]))
            logits.append(output.logits[:, own])
            hidden.append(tuple(layer[:, own] for layer in output.hidden_states))
        return torch.cat(logits, dim=1), [torch.cat(layer, dim=1) for layer in zip(*hidden, strict=True)]

    def _read(self, lanes: int, segments: Sequence[Sequence[int]]) -> None:
        slots = self._engine.open(lanes)
        for segment in segments:
            for start in range(0, lanes, self._at_once):
                self._engine.read([LaneSegment(slot, segment) for slot in slots[start : start + self._at_once]])
        self._engine.close(slots)


def _served(http: httpx.Client, texts: Sequence[str]) -> float:
    """Seconds a token, from the first byte sent to the answers that the last segments are read."""
    sessions = [str(http.post("/v1/sessions", json={}).raise_for_status().json()["id"]) for _ in texts]

    def send(session: str, text: str) -> None:
        url = f"/v1/sessions/{session}/documents"
        http.post(url, params={"wait": True}, content=text.encode(), headers=_TEXT_BODY).raise_for_status()

    started = time.perf_counter()
    with ThreadPoolExecutor(len(texts)) as senders:
        list(senders.map(send, sessions, texts))
    seconds = time.perf_counter() - started
    tokens = sum(http.get(f"/v1/sessions/{one}").raise_for_status().json()["tokens"] for one in sessions)
    for session in sessions:
        http.delete(f"/v1/sessions/{session}").raise_for_status()
    return float(seconds / tokens)


def text_of(checkpoint: Checkpoint, tokens: int) -> str:
    """Text of about so many tokens."""
    text = "\n".join(topics[name] for name in sorted(topics))[: tokens * 5]
    ids = checkpoint.tokenizer.encode(text, add_special_tokens=False)
    return text[: ids.offsets[min(tokens, len(ids.offsets) - 1)][1]]


if __name__ == "__main__":
    sys.exit(main())
