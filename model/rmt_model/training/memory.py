"""Whether a step's activations fit into the memory of the device, estimated before they are made."""

import os
from pathlib import Path

import torch

from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.batches import SampleShape

__all__ = ["activation_bytes", "fits_in_memory", "free_bytes"]

_HIDDEN_COPIES, _INNER_COPIES = 16, 5
"""Activations that one layer keeps for each token, counted on Llama in float32: so many times the width, so many times
the width inside the feed-forward part."""
_QUESTION_TOKENS = 16
_SHARE = 0.6
"""Share of the free memory that activations may take."""


def activation_bytes(model: RecurrentMemoryTransformer, shape: SampleShape, bptt_segments: int | None = None) -> int:
    """About how many bytes the backward pass over a batch needs, if nothing is computed twice."""
    config = model.backbone.config
    inner = getattr(config, "intermediate_size", None) or 4 * model.hidden
    segments = shape.segments if bptt_segments is None else min(shape.segments, bptt_segments)
    branches = _QUESTION_TOKENS * shape.questions + model.cell.memory_tokens * shape.endings
    tokens = shape.lanes * (segments + 1) * (shape.segment_tokens + 2 * model.cell.memory_tokens + branches)
    per_token = config.num_hidden_layers * (_HIDDEN_COPIES * model.hidden + _INNER_COPIES * inner)
    return int(4 * tokens * per_token)


def fits_in_memory(model: RecurrentMemoryTransformer, shape: SampleShape, bptt_segments: int | None = None) -> bool:
    """Whether a batch's activations fit into the device's memory as it is now."""
    return activation_bytes(model, shape, bptt_segments) < _SHARE * free_bytes(model.device)


def free_bytes(device: torch.device) -> int:
    """Memory of a device that can be had now; on the CPU what the system counts as available, file caches included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux: what no process has touched, which is less
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return 1024 * int(available.split()[1])
