"""`python -m rmt_model.evaluation`: accuracy on planted facts at given distances."""

import argparse
import sys
import time
from pathlib import Path
from typing import get_args

from rmt_model.allocator import keep_freed_memory
from rmt_model.checkpoint import load_checkpoint
from rmt_model.config import DtypeName
from rmt_model.engine import Engine
from rmt_model.evaluation.planted import Task, evaluate, interval
from rmt_model.data.background import Background, read_texts, split_by_author


def main() -> int:
    """Run one task after another and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m rmt_model.evaluation", description=__doc__)
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--books", type=Path, required=True, help="folder of text files; the held-out authors are used")
    parser.add_argument("--mode", choices=("focus", "recall"), required=True)
    parser.add_argument("--distances", type=int, nargs="+", required=True, help="tokens between fact and question")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--others", type=int, default=6, help="facts about other things in each document, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=8, help="documents read side by side")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--dtype", choices=get_args(DtypeName), default="auto", help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="folder of results; a run with the same one resumes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    checkpoint = load_checkpoint(options.checkpoint, device=options.device, dtype=options.dtype)
    engine = Engine(checkpoint, slots=options.lanes, max_batch_lanes=options.lanes)
    held_out = split_by_author(options.books.glob("*.txt"))[1]
    background = Background.of(read_texts(held_out, 8_000_000), checkpoint.tokenizer)
    served = f"{checkpoint.fingerprint[:8]}-{str(checkpoint.model.backbone.dtype).removeprefix('torch.')}"
    for distance in options.distances:
        task = Task(options.mode, distance, options.others, seed=options.seed)
        name = f"{options.mode}, {distance} tokens, {options.others} other facts"
        started, right, total = time.monotonic(), 0, 0
        file = f"{served}-{options.mode}-{distance}-others{options.others}-seed{options.seed}.jsonl"
        for result in evaluate(engine, background, task, options.questions, options.out / file, lanes=options.lanes):
            right, total = right + result.right, total + 1
            seconds = time.monotonic() - started
            sys.stderr.write(f"\r{name}: {right}/{total}, {seconds:.0f} s ")
        low, high = interval(right, total)
        sys.stdout.write(
            f"{name}: {100 * right / total:.1f} % of {total}, 95 % interval {100 * low:.1f}..{100 * high:.1f}\n"
        )
        sys.stdout.flush()
    return 0


sys.exit(main())
