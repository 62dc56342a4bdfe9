"""Growth: a whole backbone begins as a checkpoint with some of its layers; the others come in little by little."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmt_model.adapter import with_adapter
from rmt_model.backbone import backbone_digest, load_backbone
from rmt_model.checkpoint import load_checkpoint
from rmt_model.errors import DataError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.config import AdapterConfig, GrowthConfig

__all__ = ["Growth", "grow"]

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_LAYER = re.compile(r"\D+\.\d+")
_ADAPTER = "default"  # PEFT's name for the only one


class Growth:
    """How much of themselves the layers that are new add to what passes through them.

    A layer computes `x + f(x)`; a new one `x + share * f(x)`. The share rises from `first_share` to 1, where nothing of
    growth is left: the model is the backbone with its adapter.
    """

    def __init__(self, layers: Sequence[nn.Module], first_share: float, steps: int) -> None:
        self.first_share = first_share
        self.steps = steps
        self.share = first_share
        for layer in layers:
            layer.register_forward_hook(self._partly, with_kwargs=True)

    def at(self, step: int) -> None:
        """Set the share for a step of training."""
        self.share = min(1.0, self.first_share + (1 - self.first_share) * step / self.steps)

    @property
    def finished(self) -> bool:
        """Whether every layer counts in full."""
        return self.share == 1.0

    def _partly(
        self, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
    ) -> Tensor | None:
        del layer
        if self.finished:
            return None
        before = inputs[0] if inputs else named["hidden_states"]
        return before + self.share * (output - before)


def grow(base: str, config: GrowthConfig, adapter: AdapterConfig) -> tuple[RecurrentMemoryTransformer, Growth]:
    """A whole backbone under an adapter, which computes nearly what a checkpoint with some of its layers does.

    What the checkpoint's matrices differ by goes into the adapter, as well as `config.rank` allows (the nearest ones of
    that rank, by singular value decomposition); its norms stand beside it, its memory is taken as it is. The other
    layers have an adapter that changes nothing yet.

    Raises:
        DataError: The checkpoint is of another backbone, keeps all layers, or was trained in what has no place in an
            adapter: biases, embeddings.
        CheckpointError: Checkpoint or backbone cannot be loaded.
    """
    start = load_checkpoint(config.start, dtype="float32")
    kept = start.config.layers
    if kept is None or start.config.base_sha256 not in ("", backbone_digest(base)):
        has = "all layers" if kept is None else f"layers of another one, {start.config.base}"
        raise DataError(f"model.growth.start: {config.start} has {has}; wanted is a checkpoint with some of {base}'s")
    backbone = load_backbone(base)
    trained = {_place(name, kept): module for name, module in start.model.backbone.named_modules()}
    matrices = {name: one for name, one in trained.items() if isinstance(one, nn.Linear) and _NUMBER.search(name)}
    norms = {name: one for name, one in trained.items() if type(one).__name__.endswith("Norm")}
    _require_nothing_else(backbone, trained, {*matrices, *norms}, config.start)
    growth = Growth(
        [layer for name, layer in backbone.named_modules() if _LAYER.fullmatch(name) and name not in trained],
        config.first_share,
        config.steps,
    )
    adapted = with_adapter(backbone, _lora(config, adapter, matrices, norms))
    with torch.no_grad():
        for name, matrix in matrices.items():
            _approximate(backbone.get_submodule(name), matrix)
        for name, norm in norms.items():
            backbone.get_submodule(f"{name}.modules_to_save.{_ADAPTER}").load_state_dict(norm.state_dict())
    whole = replace(start.config, base=base, base_sha256="", layers=None, weights="adapter")
    model = RecurrentMemoryTransformer(adapted, whole)
    model.cell.load_state_dict(start.model.cell.state_dict())
    return model, growth


def _place(name: str, kept: Sequence[int]) -> str:
    """The name in the whole backbone of what has `name` in one with the kept layers, numbered anew from 0."""
    return _NUMBER.sub(lambda number: str(kept[int(number[0])]), name, count=1)


def _require_nothing_else(
    backbone: PreTrainedModel, trained: dict[str, nn.Module], taken: Collection[str], start: str
) -> None:
    """All that an adapter and norms beside it cannot hold must be as it is in the backbone."""
    for name, module in trained.items():
        for key, value in module.named_parameters(recurse=False):
            held = name in taken and (key == "weight" or not isinstance(module, nn.Linear))
            if not held and not torch.equal(value, backbone.get_submodule(name).get_parameter(key)):
                raise DataError(f"model.growth: {start} has a trained {name}.{key}, for which an adapter has no place")


def _lora(
    config: GrowthConfig, adapter: AdapterConfig, matrices: Collection[str], norms: Collection[str]
) -> LoraConfig:
    ranks = {re.escape(name): config.rank for name in matrices}
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules="all-linear",
        rank_pattern=ranks,
        alpha_pattern=dict.fromkeys(ranks, config.rank * adapter.alpha / adapter.rank),
        modules_to_save=list(norms),
    )


def _approximate(ours: nn.Module, trained: nn.Module) -> None:
    """Let an adapter make of its backbone's matrix the trained one, as well as its rank allows."""
    assert isinstance(ours, LoraLayer)  # noqa: S101 - PEFT put one there
    down, up = ours.lora_A[_ADAPTER].weight, ours.lora_B[_ADAPTER].weight
    wanted = (trained.get_parameter("weight") - ours.get_base_layer().get_parameter("weight")) / ours.scaling[_ADAPTER]
    left, strengths, right = torch.linalg.svd(wanted, full_matrices=False)
    rank, roots = min(len(down), len(strengths)), strengths.sqrt()
    up[:, :rank] = (left * roots)[:, :rank]
    down[:rank] = (roots[:, None] * right)[:rank]
    up[:, rank:] = 0
