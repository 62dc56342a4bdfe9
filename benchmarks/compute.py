"""The paper's compute figure from counted operations: full attention over a text, against reading it in segments.

    python -m benchmarks.compute [--times FILE] [--plot FILE.svg] [--out FILE]

Two countings of multiplications and additions, two operations each:

* as the paper's (arXiv 2304.11062, figure 5): attention over all pairs, the vocabulary projection on every token,
  segments of 512 tokens; its ratio for the model of 125 million parameters is 148 at 2^20 tokens, 295 at 2^21.
* as it is computed here: causal attention (half of the pairs), no vocabulary projection, segments of 384 with 16 memory
  vectors in front and behind; full attention counted by the same rules.

The formula is held against PyTorch's own counter on the backbone before anything is printed. `--times` takes what
`benchmarks.answer_time --out` wrote: our measured ratios stand beside the counted ones.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks import report
from benchmarks.report import Figure
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaModel

_LENGTHS = tuple(1 << exponent for exponent in range(9, 22))
_MOST_OFF = 0.01


@dataclass(frozen=True)
class Model:
    """A decoder's sizes.

    Attributes:
        layers: How many there are.
        hidden: Width of hidden states.
        projections: Weights of a layer.
        attended: Width of all queries together.
        vocabulary: Tokens that it knows.
    """

    layers: int
    hidden: int
    projections: int
    attended: int
    vocabulary: int

    def flops(self, tokens: int, length: int, *, causal: bool, vocabulary: bool) -> float:
        """Operations for so many tokens that each see a window of that length, or half of it on average."""
        seen = length / 2 if causal else length
        a_token = 2 * self.layers * (self.projections + 2 * seen * self.attended)
        return float(tokens * (a_token + 2 * self.hidden * self.vocabulary * vocabulary))


def _opt(layers: int, hidden: int) -> Model:
    return Model(layers, hidden, 12 * hidden * hidden, hidden, 50_272)


PAPER = {
    "OPT-125M": _opt(12, 768),
    "OPT-1.3B": _opt(24, 2048),
    "OPT-6.7B": _opt(32, 4096),
    "OPT-30B": _opt(48, 7168),
    "OPT-175B": _opt(96, 12_288),
}
SMOLLM2 = LlamaConfig(
    vocab_size=49_152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    attn_implementation="eager",  # its products are ordinary ones, which the counter knows
)
_LIKE_SMOLLM2 = Model(30, 576, 576 * (576 + 2 * 192 + 576) + 3 * 576 * 1536, 576, 49_152)
_SEGMENT, _MEMORY = 384, 16


def paper_ratio(model: Model, tokens: int) -> float:
    """How many times the operations full attention takes, as the paper counts."""
    whole = model.flops(tokens, tokens, causal=False, vocabulary=True)
    return whole / model.flops(tokens, min(tokens, 512), causal=False, vocabulary=True)


def our_ratio(model: Model, tokens: int) -> float:
    """The same, of what is computed here."""
    rows = _SEGMENT + 2 * _MEMORY
    segments = max(1, tokens // _SEGMENT)
    whole = model.flops(tokens, tokens, causal=True, vocabulary=False)
    return whole / model.flops(segments * rows, rows, causal=True, vocabulary=False)


def counted(tokens: int) -> float:
    """What PyTorch counts for SmolLM2's body over so many tokens; its attention counts all pairs."""
    body = LlamaModel(SMOLLM2)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        body(inputs_embeds=torch.zeros(1, tokens, SMOLLM2.hidden_size), use_cache=False)
    return float(counter.get_total_flops())


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the formula, print the figure and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    figures = []
    for tokens in (512, 2048):
        formula = _LIKE_SMOLLM2.flops(tokens, tokens, causal=False, vocabulary=False)
        share = formula / counted(tokens)
        figures.append(
            Figure(f"formula, {tokens:,} tokens", "PyTorch's counter", share, "", 1 - _MOST_OFF, 1 + _MOST_OFF)
        )
    for exponent, wanted in ((20, 148), (21, 295)):
        found = paper_ratio(PAPER["OPT-125M"], 1 << exponent)
        figures.append(Figure(f"operations, 2^{exponent} tokens, OPT-125M", "the paper's counting", found, "times",
                              0.98 * wanted, 1.02 * wanted))  # fmt: skip
    name = "SmolLM2-135M"
    ours = {tokens: our_ratio(_LIKE_SMOLLM2, tokens) for tokens in (8192, 32_768, 131_072, 1 << 20)}
    figures += [Figure(f"operations, {n:,} tokens, {name}", "as computed here", x, "times") for n, x in ours.items()]
    times = _measured(options.times)
    figures += [Figure(f"time, {tokens:,} tokens, {name}", "measured", ratio, "times") for tokens, ratio in times]
    holds = report.show(figures)
    if options.plot is not None:
        _draw(options.plot, times)
    report.write(options.out, "compute", figures)
    return int(not holds)


def _measured(file: Path | None) -> list[tuple[int, float]]:
    """Length and ratio of times, full attention against the memory."""
    if file is None:
        return []
    known = json.loads(file.read_text())
    pairs = zip(known["seconds"]["full attention"], known["seconds"]["memory"], strict=True)
    return [(length, full / memory) for length, (full, memory) in zip(known["lengths"], pairs, strict=True)]


def _draw(path: Path, times: Sequence[tuple[int, float]]) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Sheet

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rmt", "font.size": 9}):
        sheet = Sheet(figsize=(7, 4), layout="constrained")
        axes = sheet.subplots()
        for name, model in PAPER.items():
            axes.plot(_LENGTHS, [paper_ratio(model, n) for n in _LENGTHS], linewidth=1, label=f"{name}, as the paper")
        ours = [our_ratio(_LIKE_SMOLLM2, n) for n in _LENGTHS]
        axes.plot(_LENGTHS, ours, "k--", label="SmolLM2-135M, as computed here")
        if times:
            axes.plot(*zip(*times, strict=True), "ko", label="SmolLM2-135M, measured seconds")
        axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="full attention takes so many times as much")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
        sheet.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    sys.exit(main())
