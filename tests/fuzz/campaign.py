"""A long run of random inputs: what came out of how many, and how to have a failing one again.

A run is made from its number and the seed alone, so ``--seed S --first N --inputs 1`` repeats run N.
"""

import argparse
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Run = Callable[[random.Random], Iterable[str]]
"""One run: it takes some inputs, names the outcome of each, and raises what must never happen."""

_REPORT_S = 30.0
_SHOWN = 40


def arguments(about: str) -> argparse.ArgumentParser:
    """The options that every campaign has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    return parser


def campaign(run: Run, inputs: int, seed: int, first: int = 0, most_growth_bytes: int = 128 << 20) -> int:
    """Runs until so many inputs were taken, one failed, or the memory has grown too much: the exit status."""
    outcomes: Counter[str] = Counter()
    started = reported = time.monotonic()
    resident = _resident_bytes()
    number = first
    while outcomes.total() < inputs:
        try:
            outcomes.update(run(random.Random(f"{seed}:{number}")))
        except BaseException:
            print(f"failed: again with --seed {seed} --first {number} --inputs 1", flush=True)
            raise
        number += 1
        if number == first + 1000:
            resident = _resident_bytes()
        if time.monotonic() - reported > _REPORT_S:
            reported = time.monotonic()
            print(f"{outcomes.total():,} inputs", file=sys.stderr, flush=True)
    grown = _resident_bytes() - resident
    report(outcomes, time.monotonic() - started, f"seed {seed}, runs {first} to {number - 1}")
    print(f"memory grew by {grown / 1e6:.1f} MB")
    if number >= first + 1000 and grown > most_growth_bytes:
        print("failed: the memory grows")
        return 1
    return 0


def report(outcomes: Counter[str], seconds: float, which: str) -> None:
    """The summary that is printed."""
    inputs = outcomes.total()
    print(f"{inputs:,} inputs in {seconds:.0f} s: {inputs / seconds:,.0f} a second ({which}), 0 failures")
    for kind, count in outcomes.most_common(_SHOWN):
        print(f"{count:12,}  {kind}")
    if len(outcomes) > _SHOWN:
        rest = outcomes.most_common()[_SHOWN:]
        print(f"{sum(count for _, count in rest):12,}  of {len(rest)} kinds more")
    sys.stdout.flush()


def kind_of(error: Exception) -> str:
    """An error's class and what it complains about, without what differs from input to input."""
    complaint = re.sub(r"[\w.\\]*\d[\w.,-]*|'\w*'|[\[{(\"].*", "_", str(error), flags=re.DOTALL)
    return f"{type(error).__name__}: {complaint[:80]}".replace("\n", " ")


def numbered(run: Run, runs: int, seed: int = 0) -> Iterator[str]:
    """The outcomes of some runs: the short form of a campaign."""
    for number in range(runs):
        yield from run(random.Random(f"{seed}:{number}"))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
