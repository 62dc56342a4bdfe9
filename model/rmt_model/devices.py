"""Devices and types of weights, by name."""

import torch

from rmt_model.config import DtypeName
from rmt_model.errors import CheckpointError

__all__ = ["pick_device", "pick_dtype"]

_BFLOAT16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")


def pick_device(name: str | torch.device) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one.

    Raises:
        CheckpointError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"device {name} cannot be used on this machine; try cpu or auto") from error
    return device


def pick_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """The type of weights on a device; "auto" and "fast" as `load_checkpoint` says."""
    if name in ("float32", "bfloat16"):
        return torch.float32 if name == "float32" else torch.bfloat16
    features = torch.cpu.get_capabilities() if name == "fast" and device.type == "cpu" else {}
    native = any(features.get(feature) for feature in _BFLOAT16_FEATURES)
    return torch.bfloat16 if device.type == "cuda" or native else torch.float32
