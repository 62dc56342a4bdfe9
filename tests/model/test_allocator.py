"""The allocator's setting keeps the pages of one pass for the next."""

import os
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import torch
from rmt_model.allocator import keep_freed_memory

kept = {keep} and keep_freed_memory()
torch.set_num_threads(1)

def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def layers() -> None:
    x, wide, narrow = torch.ones(384, 576), torch.ones(1536, 576), torch.ones(576, 1536)
    for _ in range(20):
        x = ((torch.sigmoid(x @ wide.T) * (x @ wide.T)) @ narrow.T).clamp(0, 1) + x

for _ in range(4):
    layers()
before = faults()
for _ in range(4):
    layers()
print(kept, faults() - before)
"""


# Left alone, glibc moves its thresholds by what a process happens to free first: here they start where they would fall.
_THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def _run(keep: bool) -> tuple[bool, int]:
    command = [sys.executable, "-c", _FAULTS.format(keep=keep)]
    kept, faults = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | _THRESHOLDS
    ).stdout.split()
    return kept == "True", int(faults)


def test_freed_memory_is_used_again_without_the_kernel() -> None:
    kept, faults = _run(keep=True)
    if not kept:
        pytest.skip("not glibc")
    assert faults < _run(keep=False)[1] / 4
