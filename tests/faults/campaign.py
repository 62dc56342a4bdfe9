"""Many seeded runs, one line each, and a table at the end: `python -m tests.faults.campaign --runs 200 --seed 1`.

The results file remembers what was done: started again, the campaign goes on behind its last run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.faults.oracle import Oracle
from tests.faults.plan import Fsync, plan_run
from tests.faults.run import Outcome, Run
from tests.tiny_models import train_tokenizer, write_backbone, write_checkpoint

from rmt_server.redis_process.server import redis_server_candidates

_SEGMENT_TOKENS = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when anything was lost, or a run failed."""
    options = _parser().parse_args(arguments)
    done = _done(options.results, options.fsync) if options.results else {}
    wanted = [seed for seed in range(options.seed, options.seed + options.runs) if seed not in done]
    with tempfile.TemporaryDirectory() as directory:
        campaign = Campaign(Path(directory))
        for outcome in campaign.outcomes(wanted, options.fsync, options.jobs):
            done[outcome.seed] = outcome
            print(line(outcome), flush=True)
            if options.results:
                with options.results.open("a") as results:
                    results.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
    chosen = [done[seed] for seed in range(options.seed, options.seed + options.runs)]
    print(table(chosen))
    return int(any(outcome.problems for outcome in chosen))


class Campaign:
    """What all runs share: a checkpoint, and the oracle that reads with it."""

    def __init__(self, directory: Path) -> None:
        os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})  # of the servers
        self._binaries = list(redis_server_candidates())
        base = write_backbone(directory / "base", train_tokenizer(), layers=1)
        self._checkpoint = write_checkpoint(directory / "checkpoint", base, segment_tokens=_SEGMENT_TOKENS)
        self._oracle = Oracle(self._checkpoint)

    def run(self, seed: int, fsync: Fsync) -> Outcome:
        """The outcome of a seed's run; the redis-servers that there are take turns."""
        binary = self._binaries[seed % len(self._binaries)]
        return Run(plan_run(seed, fsync), self._oracle, self._checkpoint, binary)()

    def outcomes(self, seeds: Sequence[int], fsync: Fsync, jobs: int = 1) -> Iterator[Outcome]:
        """The outcomes of many, some at the same time."""
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(lambda seed: self.run(seed, fsync), seeds)


def line(outcome: Outcome) -> str:
    """A run in one line, and its problems behind it."""
    what = ", ".join(f"{count} {name}" for name, count in outcome.counts.items())
    head = (
        f"{outcome.fsync} {outcome.seed}: {outcome.sessions} sessions, {outcome.sent_bytes} bytes, {outcome.seconds} s"
    )
    return "\n".join([f"{head}; {what}; problems: {len(outcome.problems)}", *outcome.problems])


def table(done: Sequence[Outcome]) -> str:
    """All runs together."""
    counts = sum((Counter(outcome.counts) for outcome in done), Counter())
    rows = {
        "runs": len(done),
        "sessions": sum(outcome.sessions for outcome in done),
        "bytes": sum(outcome.sent_bytes for outcome in done),
        **dict(sorted(counts.items())),
        "seconds": round(sum(outcome.seconds for outcome in done)),
        "losses": sum(bool(outcome.problems) for outcome in done),
    }
    return "\n".join(f"{name:32}{number:>12,}" for name, number in rows.items())


def _done(results: Path, fsync: str) -> dict[int, Outcome]:
    if not results.exists():
        return {}
    found = (Outcome(**json.loads(row)) for row in results.read_text().splitlines())
    return {outcome.seed: outcome for outcome in found if outcome.fsync == fsync and not outcome.problems}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.split(":")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--fsync", choices=("always", "everysec"), default="always")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--results", type=Path, help="file to remember results in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
