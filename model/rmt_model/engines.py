"""Engines by checkpoint: whichever kind a directory holds."""

from pathlib import Path

import torch

from rmt_model.backbone import BACKBONES
from rmt_model.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, read_config
from rmt_model.config import DtypeName
from rmt_model.encoder_checkpoint import EncoderCheckpoint, load_encoder_checkpoint
from rmt_model.engine import Engine
from rmt_model.lane_engine import LaneEngine
from rmt_model.pull import pull
from rmt_model.span_engine import SpanEngine

__all__ = ["load_any_checkpoint", "load_engine"]


def load_any_checkpoint(
    name_or_dir: str | Path, *, device: str | torch.device = "cpu", dtype: DtypeName = "auto"
) -> Checkpoint | EncoderCheckpoint:
    """Load a checkpoint of either form; for arguments and errors see `load_checkpoint`."""
    directory = find_checkpoint(name_or_dir, device)
    if read_config(directory).form == "encoder":
        return load_encoder_checkpoint(directory, device=device, dtype=dtype)
    return load_checkpoint(directory, device=device, dtype=dtype)


def load_engine(
    name_or_dir: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: DtypeName = "auto",
    slots: int = 64,
    max_batch_lanes: int = 16,
    max_answer_lanes: int = 64,
    pulls: bool = False,
) -> LaneEngine:
    """An engine for a checkpoint of either form.

    Args:
        name_or_dir: See `find_checkpoint`, as for errors.
        device: Where to put it.
        dtype: Type of the weights.
        slots: How many lanes there can be at a time.
        max_batch_lanes: The most lanes of a step.
        max_answer_lanes: The most answers that are decoded at a time, where the checkpoint writes them.
        pulls: Whether a backbone that is not on this machine is fetched first.
    """
    config = read_config(find_checkpoint(name_or_dir, device))
    whole = config.form == "encoder" and config.weights == "full"
    if pulls and not whole and config.base in BACKBONES:
        pull(config.base)
    checkpoint = load_any_checkpoint(name_or_dir, device=device, dtype=dtype)
    if isinstance(checkpoint, EncoderCheckpoint):
        return SpanEngine(checkpoint, slots=slots, max_batch_lanes=max_batch_lanes)
    return Engine(checkpoint, slots=slots, max_batch_lanes=max_batch_lanes, max_answer_lanes=max_answer_lanes)
