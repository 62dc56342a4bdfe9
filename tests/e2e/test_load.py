"""The load benchmark works: a few sessions for a moment, without a call that fails."""

import asyncio
from pathlib import Path

from benchmarks import serving
from benchmarks.load import load


def test_a_few_sessions_at_once_meet_no_error(served_checkpoint: Path) -> None:
    with serving.server(served_checkpoint, device="cpu", threads=1) as served:
        tally, samples = asyncio.run(load(served, sessions=8, seconds=2.0, think_s=0.1))
    assert not tally.errors
    assert {"create session", "append", "delete session"} <= set(tally.seconds)
    assert samples
