"""Imports state dicts of the official RMT code (booydar/recurrent-memory-transformer, babilong).

They hold `memory_cell.memory` [M, d] and `memory_cell.model.<Hugging Face names>`; with LoRA, these below
`base_model.model`, the adapter's matrices beside the weights. There is no usable configuration in them: what
they mean is up to the caller. Strict: a tensor that is not understood, or missing, is an error.
"""

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rmt_model.backbone import load_backbone
from rmt_model.checkpoint import base_of, save_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.errors import CheckpointError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.weights import fill, listed, own_weights, read_pickle, read_weights, sha256_of

__all__ = ["import_official"]

_MEMORY, _MODEL = "memory_cell.memory", "memory_cell.model."
_LORA = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_WRAPPING = re.compile(r"^base_model\.model\.|\.(base_layer|modules_to_save\.default)(?=\.\w+$)")
# Not used by the model: what PEFT keeps beside a replaced module, and buffers that older transformers stored.
_UNUSED = re.compile(r".+\.original_module\.\w+|.+\.(attn|attention)\.(masked_)?bias|.+\.rotary_emb\.inv_freq")


def import_official(
    source: Path,
    config: RMTConfig,
    out_dir: Path,
    *,
    lora_alpha: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Turn an official state dict into a checkpoint directory.

    Args:
        source: `pytorch_model.bin` or a safetensors file.
        config: What the file does not say: base, layers, memory_tokens, segment_tokens (memory vectors not
            counted), templates. Update rule, scale and form of the weights are the official ones in any case.
        out_dir: The directory to write.
        lora_alpha: As in training, where the file holds LoRA matrices; they are merged into the weights.
        dtype: Type in which weights that differ from the base are stored.

    Returns:
        The checkpoint directory.

    Raises:
        CheckpointError: The file cannot be read, does not fit `config`, or holds what is not understood.
    """
    if source.resolve().parent == out_dir.resolve():
        raise CheckpointError(f"{out_dir} holds {source.name} itself; write the checkpoint to a place of its own")
    state = read_weights(source) if source.suffix == ".safetensors" else read_pickle(source)
    memory = state.pop(_MEMORY, None)
    if memory is None or memory.dim() != 2 or len(memory) != config.memory_tokens:
        found = "no" if memory is None else list(memory.shape)
        raise CheckpointError(f"{source} has {found} {_MEMORY}; wanted is [{config.memory_tokens}, hidden size]")
    if foreign := [name for name in state if not name.startswith(_MODEL)]:
        raise CheckpointError(f"{source} has tensors that belong to no memory cell: {listed(foreign)}")
    provenance = {**config.provenance, "imported_from": source.name, "imported_sha256": sha256_of(source)}
    config = replace(config, update="replace", memory_scale=1.0, weights="full", provenance=provenance)
    model = RecurrentMemoryTransformer(load_backbone(base_of(config, out_dir), layers=config.layers), config)
    fill({_MEMORY: model.cell.initial}, {_MEMORY: memory}, source)
    weights = {_WRAPPING.sub("", name.removeprefix(_MODEL)): tensor for name, tensor in state.items()}
    weights = _with_own_names(_merged(weights, model.backbone, lora_alpha, source), model.backbone, source)
    fill(own_weights(model.backbone), weights, source)
    return save_checkpoint(out_dir, model, dtype=dtype)


def _merged(weights: dict[str, Tensor], backbone: nn.Module, alpha: float | None, source: Path) -> dict[str, Tensor]:
    """Weights with their LoRA products added: `W + alpha / rank * B A`."""
    plain = {name: tensor for name, tensor in weights.items() if not _LORA.fullmatch(name)}
    matrices = {match.groups(): weights[name] for name in weights if (match := _LORA.fullmatch(name))}
    if matrices and alpha is None:
        raise CheckpointError(f"{source} holds LoRA matrices; say with which lora_alpha they were trained")
    for module in sorted({module for module, _ in matrices}):
        name = f"{module}.weight"
        try:
            a, b, weight = matrices[module, "A"].float(), matrices[module, "B"].float(), plain[name].float()
            product = (alpha or 0.0) / len(a) * (b @ a)
            transposed = isinstance(backbone.get_submodule(module), Conv1D)
            plain[name] = weight + (product.T if transposed else product)
        except (KeyError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{source}: the LoRA matrices of {module} do not fit: {error}") from error
    return plain


def _with_own_names(weights: dict[str, Tensor], backbone: nn.Module, source: Path) -> dict[str, Tensor]:
    """Weights under the names of `own_weights`: tied ones once, unused ones not at all."""
    first_names = {tensor.data_ptr(): name for name, tensor in own_weights(backbone).items()}
    aliases = {name: first_names[tensor.data_ptr()] for name, tensor in backbone.state_dict().items()}
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name not in aliases and _UNUSED.fullmatch(name):
            continue
        first = aliases.get(name, name)
        if not torch.equal(named.setdefault(first, tensor), tensor):
            raise CheckpointError(f"{source}: {name} and {first} differ; the base ties them to one tensor")
    return named
