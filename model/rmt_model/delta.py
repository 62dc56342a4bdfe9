"""Trained weights as what they differ from the base's by, in 8 bits: half the size of 16-bit weights.

A matrix is kept as int8 [rows, columns] and a float32 scale for each row, `NAME.scale` [rows, 1]; its difference from
the base is their product. The error of a weight is at most 1/254 of the largest difference in its row. Vectors are kept
as float32 differences.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rmt_model.errors import CheckpointError
from rmt_model.weights import listed, read_weights

__all__ = ["read_delta", "write_delta"]

_SCALE = ".scale"
_LARGEST = 127


def write_delta(path: Path, weights: Mapping[str, Tensor], originals: Mapping[str, Tensor]) -> None:
    """Write what weights differ from the originals of the same names by.

    Raises:
        CheckpointError: A difference is not finite, or the file cannot be written.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        difference = weight.detach().cpu().float() - originals[name].float()
        if not torch.isfinite(difference).all():
            raise CheckpointError(f"{path}: weights are not finite numbers: {name}")
        if difference.ndim < 2:
            stored[name] = difference
            continue
        scale = difference.abs().amax(dim=-1, keepdim=True) / _LARGEST
        steps = torch.where(scale > 0, difference / scale, 0.0).round()
        stored |= {name: steps.to(torch.int8), name + _SCALE: scale}
    try:
        save_file(stored, path, {"format": "pt"})
        path.chmod(0o644)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def read_delta(path: Path, originals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read weights that `write_delta` wrote, float32, given the originals.

    Raises:
        CheckpointError: The file is missing or damaged, or does not fit the originals.
    """
    tensors = read_weights(path)
    scales = {name.removesuffix(_SCALE): tensors.pop(name) for name in sorted(tensors) if name.endswith(_SCALE)}
    if unknown := (set(tensors) | set(scales)) - set(originals):
        raise CheckpointError(f"{path} has tensors that the model lacks: {listed(unknown)}")
    if unpaired := {name for name, steps in tensors.items() if steps.dtype == torch.int8} ^ set(scales):
        raise CheckpointError(f"{path} lacks the scale, or the 8-bit tensor, of: {listed(unpaired)}")
    weights: dict[str, Tensor] = {}
    for name, stored in tensors.items():
        original = originals[name].float()
        scale = scales.get(name, torch.ones(1))
        if stored.shape != original.shape or (name in scales and list(scale.shape) != [*original.shape[:-1], 1]):
            raise CheckpointError(f"{path}: {name} has shape {list(stored.shape)}, its original {list(original.shape)}")
        weights[name] = original + stored.float() * scale
    return weights
