"""What a device makes of many lanes, and whether a long document stays as cheap as a short one.

    python -m benchmarks.lanes [--device cuda] [--checkpoint NAME] [--lanes 1 4 16] [--tokens 1000000] [--out FILE]

Document tokens a second by the number of lanes that one step reads, with the share of the measured matrix peak,
medians of five. Then a document of `--tokens` in one lane, in turns of a few segments with ten documents of a tenth of
it, one after another: whatever else the machine does meets both; and answers after the longest and the last of the
others, in turn. The memory of the process, and on a GPU of the device, is looked at before and after.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch
from benchmarks import report
from benchmarks.device import synchronize
from benchmarks.report import Figure
from benchmarks.rounds import interleaved, median_ratio

from rmt_model.allocator import keep_freed_memory
from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_model.types import Generation, LaneSegment, Prompt

_RUNS = 5
_QUESTION_TOKENS = 24
_TENTHS, _ANSWERS = 10, 25
_TURN_SEGMENTS = {"cpu": 1, "cuda": 16}
"""Short, so that what else a machine does meets both; a GPU has to be kept busy."""


class Bench:
    """An engine and random segments."""

    def __init__(self, checkpoint: str, device: str, dtype: str, most_lanes: int) -> None:
        loaded = load_checkpoint(checkpoint, device=device, dtype=dtype)
        self.engine = Engine(loaded, slots=max(2, most_lanes), max_batch_lanes=most_lanes)
        self.device = self.engine.model.device
        self.size = loaded.config.segment_tokens
        self._rng = random.Random(1)

    def segment(self) -> list[int]:
        """Tokens of one segment."""
        return [self._rng.randrange(1000, 40000) for _ in range(self.size)]

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds that it takes, on the device too."""
        synchronize(self.device)
        started = time.perf_counter()
        work()
        synchronize(self.device)
        return time.perf_counter() - started

    def step(self, lanes: int) -> float:
        """Median seconds of a step that reads one segment in each of so many lanes."""
        slots = self.engine.open(lanes)
        rows = [LaneSegment(slot, self.segment()) for slot in slots]
        steps = max(1, 64 // lanes)
        found = [self.seconds(lambda: [self.engine.read(rows) for _ in range(steps)]) for _ in range(_RUNS + 1)]
        self.engine.close(slots)
        return statistics.median(found[1:]) / steps

    def read(self, slot: int, segments: Sequence[list[int]]) -> float:
        """Seconds to read these in one lane."""
        return self.seconds(lambda: [self.engine.read([LaneSegment(slot, one)]) for one in segments])

    def in_turns(self, long: int, short: int, turns: int) -> list[tuple[float, float]]:
        """Seconds to read the same segments in each of two lanes, for each turn; who is first changes."""
        found = []
        for turn in range(turns):
            segments = [self.segment() for _ in range(_TURN_SEGMENTS[self.device.type])]
            seconds = {slot: self.read(slot, segments) for slot in ((long, short) if turn % 2 else (short, long))}
            found.append((seconds[long], seconds[short]))
        return found

    def answer(self, slot: int, question: list[int]) -> float:
        """Seconds for each token of an answer."""
        answers: list[Generation] = []
        seconds = self.seconds(lambda: answers.extend(self.engine.answer([Prompt(slot, question, 8)])))
        return seconds / answers[0].completion_tokens

    def peak_flops(self) -> float:
        """Floating-point operations a second of a large matrix product in the type that the model computes in."""
        dtype = self.engine.model.body.get_input_embeddings().weight.dtype
        size = 8192 if self.device.type == "cuda" else 1024
        left, right = (torch.randn(size, size, device=self.device, dtype=dtype) for _ in range(2))
        found = [self.seconds(lambda: [left @ right for _ in range(8)]) / 8 for _ in range(_RUNS + 1)]
        return 2 * size**3 / statistics.median(found[1:])

    def segment_flops(self) -> float:
        """Operations that reading a segment takes: two for each weight that a token meets, and attention."""
        body, config = self.engine.model.body, self.engine.model.backbone.config
        weights = sum(p.numel() for p in body.parameters() if p.dim() == 2)
        matrices = weights - body.get_input_embeddings().weight.numel()
        length = self.size + 2 * self.engine.checkpoint.config.memory_tokens
        # Causal: half of all pairs, in two products.
        attention = 2 * config.num_hidden_layers * length * config.hidden_size
        return float(length * (2 * matrices + attention))

    def megabytes(self) -> dict[str, float]:
        """Memory that is taken now."""
        taken = {"process": psutil.Process().memory_info().rss / 1e6}
        if self.device.type == "cuda":
            taken["device"] = torch.cuda.memory_allocated() / 1e6
        return taken


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=100_000, help="length of the long document")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    bench = Bench(options.checkpoint, options.device, options.dtype, max(options.lanes))
    peak = bench.peak_flops()
    print(f"{bench.device}, {peak / 1e12:.1f} TFLOP/s in a large matrix product")
    print(f"{'lanes':>8}{'ms a step':>12}{'tokens a second':>18}{'of the peak':>14}")
    speeds = []
    for lanes in options.lanes:
        seconds = bench.step(lanes)
        share = lanes * bench.segment_flops() / seconds / peak
        speeds.append(
            {"lanes": lanes, "step_s": seconds, "tokens_per_s": lanes * bench.size / seconds, "of_peak": share}
        )
        print(f"{lanes:8}{1e3 * seconds:12.1f}{lanes * bench.size / seconds:18,.0f}{share:14.1%}")
    figures = _by_lanes(bench, speeds) + _by_length(bench, options.tokens)
    holds = report.show(figures)
    known = {name: str(value) for name, value in vars(options).items()}
    report.write(options.out, "lanes", figures, options=known, peak_flops=peak, speeds=speeds)
    return int(not holds)


def _by_lanes(bench: Bench, speeds: Sequence[dict[str, float]]) -> list[Figure]:
    on_gpu = bench.device.type == "cuda"
    best = max(speeds, key=lambda one: one["tokens_per_s"])
    gain = best["tokens_per_s"] / speeds[0]["tokens_per_s"]
    return [
        Figure(f"{best['lanes']} lanes in a step, tokens a second", "one lane", gain, "times", 6.0 if on_gpu else None),
        Figure("of the measured matrix peak, best step", "", 100 * best["of_peak"], "%", 50.0 if on_gpu else None),
    ]


def _by_length(bench: Bench, tokens: int) -> list[Figure]:
    turn_tokens = _TURN_SEGMENTS[bench.device.type] * bench.size
    turns = max(1, tokens // (_TENTHS * turn_tokens))
    tenth = turns * turn_tokens
    long, short = bench.engine.open(2)
    bench.in_turns(long, short, turns)  # takes the memory that it will need
    bench.engine.close([long, short])
    before = bench.megabytes()
    (long,) = bench.engine.open(1)
    found = []
    for part in range(_TENTHS):
        (short,) = bench.engine.open(1)
        found += bench.in_turns(long, short, turns)
        if part < _TENTHS - 1:  # the last one is asked below
            bench.engine.close([short])
    grown = {name: after - before[name] for name, after in bench.megabytes().items()}
    question = bench.segment()[:_QUESTION_TOKENS]
    ways = {"long": lambda: bench.answer(long, question), "short": lambda: bench.answer(short, question)}
    answers = interleaved(ways, _ANSWERS)
    latency = median_ratio(answers["long"], answers["short"])
    long_s, short_s = zip(*found, strict=True)
    ratio = _TENTHS * median_ratio(long_s, short_s)
    whole, part = f"{_TENTHS * tenth:,} tokens", f"{tenth:,} tokens"
    return [
        Figure(f"reading {whole}", "in one lane", turn_tokens / statistics.median(long_s), "tokens/s"),
        Figure(f"reading {whole}", f"{part}, in turns", ratio, "times", 9.8, 10.2),
        Figure("resident memory grows by", "", grown["process"], "MB", most=20.0),
        *([Figure("GPU memory grows by", "", grown["device"], "MB", most=0.0)] if "device" in grown else []),
        Figure(f"answer after {whole}", f"after {part}", latency, "times", most=1.05),
    ]


if __name__ == "__main__":
    sys.exit(main())
