"""Time to answer: a text of n tokens is read and one question answered, by the memory and by attention over all of it.

    python -m benchmarks.answer_time [--checkpoint NAME] [--lengths 1024 2048 ...] [--runs 5] [--llama FOLDER]
        [--plot FILE.svg] [--out FILE]

* memory: the engine reads the text in segments, then answers.
* full attention: the same backbone with the same weights as transformers computes it, a key-value cache of all tokens,
  the text taken 512 tokens at a time.
* llama.cpp: the backbone's own GGUF, 4-bit, with as many threads; where `--llama` names a folder that
  `python -m benchmarks.llama` made.

Each goes over the longest text once a round, in turn, and at every length answers a question of 24 tokens with 8 tokens
and goes back to where it was. A length's time is the reading up to there and the answer. From the medians comes a line
in n for the memory, and a parabola for the others; beyond the longest text, ratios are by those.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import llama, report
from benchmarks.device import synchronize
from benchmarks.report import Figure

from rmt_model.allocator import keep_freed_memory
from rmt_model.checkpoint import Checkpoint, load_checkpoint
from rmt_model.engine import Engine
from rmt_model.types import LaneSegment, Prompt

_QUESTION_TOKENS, _ANSWER_TOKENS, _PIECE = 24, 8, 512
_ASKED_AT = (8192, 32_768, 131_072)
_Times = list[float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="rmt-smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16_384])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--llama", type=Path, help="folder of benchmarks.llama: then llama.cpp is measured, too")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    checkpoint = load_checkpoint(options.checkpoint, device=options.device, dtype=options.dtype)
    rng = random.Random(1)
    text, question = (
        [rng.randrange(1000, 40_000) for _ in range(count)] for count in (max(options.lengths), _QUESTION_TOKENS)
    )
    ways: dict[str, Any] = {"memory": Memory(checkpoint), "full attention": FullAttention(checkpoint)}
    if options.llama is not None:
        ways["llama.cpp"] = LlamaCpp(options.llama, max(options.lengths))
    rounds: dict[str, list[_Times]] = {name: [] for name in ways}
    for number in range(options.runs):
        for name, way in ways.items():
            rounds[name].append(list(_times(way, text, question, options.lengths)))
            print(f"round {number + 1} {name}: {rounds[name][-1][-1]:.1f} s at {options.lengths[-1]:,}", flush=True)
    medians = {name: [statistics.median(at) for at in zip(*some, strict=True)] for name, some in rounds.items()}
    figures = _figures(medians, options.lengths)
    holds = report.show(figures)
    if options.plot is not None:
        _draw(medians, options)
    named = {name: str(value) for name, value in vars(options).items()}
    report.write(options.out, "answer_time", figures, options=named, lengths=options.lengths, seconds=medians)
    return int(not holds)


def _times(way: Any, text: Sequence[int], question: Sequence[int], lengths: Sequence[int]) -> Iterator[float]:
    """Seconds to read the first n tokens and to answer, for each n."""
    way.begin()
    read_s, known = 0.0, 0
    for length in lengths:
        started = time.perf_counter()
        way.read(text[known:length])
        way.wait()
        read_s += time.perf_counter() - started
        known = length
        started = time.perf_counter()
        way.answer(question)
        way.wait()
        yield read_s + time.perf_counter() - started


class Memory:
    """The engine."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._engine = Engine(checkpoint, slots=1)
        self._size = checkpoint.config.segment_tokens
        (self._slot,) = self._engine.open(1)
        self._rest: list[int] = []

    def begin(self) -> None:
        """Nothing is known."""
        self._engine.close([self._slot])
        (self._slot,) = self._engine.open(1)
        self._rest = []

    def read(self, token_ids: Sequence[int]) -> None:
        """Read on; what fills no segment waits."""
        self._rest += token_ids
        while len(self._rest) >= self._size:
            self._engine.read([LaneSegment(self._slot, self._rest[: self._size])])
            del self._rest[: self._size]

    def answer(self, question: Sequence[int]) -> None:
        """Answer, from the memory and what waits."""
        self._engine.answer([Prompt(self._slot, [*self._rest, *question], _ANSWER_TOKENS)])

    def wait(self) -> None:
        """Until the device has done it."""
        synchronize(self._engine.model.device)


class FullAttention:
    """The backbone over all tokens."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._backbone = checkpoint.model.backbone
        self._device = checkpoint.model.device
        self._cache: Any = None

    def begin(self) -> None:
        """Nothing is known."""
        from transformers import DynamicCache

        self._cache = DynamicCache()

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> None:
        """Take tokens into the cache; the vocabulary projection is left out."""
        for start in range(0, len(token_ids), _PIECE):
            self._forward(token_ids[start : start + _PIECE])

    @torch.inference_mode()
    def answer(self, question: Sequence[int]) -> None:
        """Answer, and forget the question."""
        hidden = self._forward(question)
        for _ in range(_ANSWER_TOKENS - 1):
            token = self._backbone.get_output_embeddings()(hidden[:, -1]).argmax(-1)
            hidden = self._forward(token.tolist())
        self._backbone.get_output_embeddings()(hidden[:, -1]).argmax(-1)
        self._cache.crop(-(len(question) + _ANSWER_TOKENS - 1))

    def _forward(self, token_ids: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([token_ids], device=self._device)
        hidden: torch.Tensor = self._backbone.model(
            input_ids=ids, past_key_values=self._cache, use_cache=True
        ).last_hidden_state
        return hidden

    def wait(self) -> None:
        """Until the device has done it."""
        synchronize(self._device)


class LlamaCpp:
    """llama.cpp by its Python package."""

    def __init__(self, folder: Path, longest: int) -> None:
        context = longest + _QUESTION_TOKENS + _ANSWER_TOKENS
        self._llama = llama.load(folder, context, torch.get_num_threads(), _PIECE)

    def begin(self) -> None:
        """Nothing is known."""
        self._llama.reset()

    def read(self, token_ids: Sequence[int]) -> None:
        """Take tokens into the cache."""
        self._llama.eval(list(token_ids))

    def answer(self, question: Sequence[int]) -> None:
        """Answer, and forget the question."""
        known = self._llama.n_tokens
        self.read(question)
        for _ in range(_ANSWER_TOKENS - 1):
            self._llama.eval([self._llama.sample(temp=0.0)])
        self._llama.sample(temp=0.0)
        self._llama.n_tokens = known

    def wait(self) -> None:
        """It has done it."""


def _fits(medians: dict[str, list[float]], lengths: Sequence[int]) -> dict[str, Any]:
    """Seconds by length, for any length: a line for the memory, else a parabola, each length weighing the same."""
    return {
        name: np.polynomial.Polynomial.fit(
            lengths, times, 1 if name == "memory" else 2, w=[1 / one for one in times]
        ).convert()
        for name, times in medians.items()
    }


def _figures(medians: dict[str, list[float]], lengths: Sequence[int]) -> list[Figure]:
    fits = _fits(medians, lengths)
    figures = []
    for name in medians:
        if name == "memory":
            continue
        for length in _ASKED_AT:
            if length in lengths:
                at = lengths.index(length)
                ratio, how = medians[name][at] / medians["memory"][at], "measured"
            else:
                ratio, how = fits[name](length) / fits["memory"](length), "by the curves"
            figures.append(Figure(f"time to answer after {length:,} tokens, {how}", f"memory; {name} takes", ratio))
        crossing = max(
            (float(root.real) for root in (fits[name] - fits["memory"]).roots() if root.imag == 0), default=0.0
        )
        figures.append(Figure("tokens from which the memory is faster", name, max(0.0, crossing), "tokens"))
    for name, times in medians.items():
        for length, seconds in zip(lengths, times, strict=True):
            figures.append(Figure(f"time to answer after {length:,} tokens", name, seconds, "s"))
    return figures


def _draw(medians: dict[str, list[float]], options: argparse.Namespace) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Sheet

    fits = _fits(medians, options.lengths)
    beyond = np.geomspace(options.lengths[-1], 131_072)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rmt", "font.size": 9}):
        sheet = Sheet(figsize=(7, 4), layout="constrained")
        axes = sheet.subplots()
        for (name, times), colour in zip(medians.items(), ("#0072B2", "#D55E00", "#009E73"), strict=False):
            axes.plot(options.lengths, times, "o-", color=colour, label=name)
            axes.plot(beyond, fits[name](beyond), "--", color=colour, linewidth=1)
        axes.set(
            xscale="log", yscale="log", xlabel="tokens of text (dashed: by the curve)", ylabel="seconds to an answer"
        )
        axes.legend()
        axes.grid(alpha=0.3)
        sheet.savefig(options.plot, metadata={"Date": None} if options.plot.suffix == ".svg" else None)


if __name__ == "__main__":
    sys.exit(main())
