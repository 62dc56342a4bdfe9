"""A whole backbone that begins as a checkpoint with some of its layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rmt_model.checkpoint import load_checkpoint, save_checkpoint
from rmt_model.errors import DataError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.config import AdapterConfig, GrowthConfig
from rmt_model.training.growth import grow

FULL_RANK = 64
"""More than any matrix of the tiny backbone has."""
LAYERS = (0, 2)


@pytest.fixture
def start(tiny_checkpoint: Callable[..., Path]) -> Path:
    """Two layers of a backbone with four, trained: matrices, norms, memory."""
    directory = tiny_checkpoint(base_layers=4, layers=LAYERS)
    checkpoint = load_checkpoint(directory)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in checkpoint.model.backbone.named_parameters():
            if name.endswith("norm.weight"):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return save_checkpoint(directory, checkpoint.model)


@pytest.fixture
def base(backbone_dir: Callable[..., Path]) -> str:
    return str(backbone_dir("llama", 4))


def grown(base: str, start: Path, **fields: Any) -> Any:
    config = GrowthConfig(start=str(start), **{"rank": FULL_RANK, "first_share": 0.0, "steps": 10, **fields})
    model, growth = grow(base, config, AdapterConfig(rank=2, alpha=4))
    return model.eval(), growth


@torch.no_grad()
def answers(model: RecurrentMemoryTransformer) -> Tensor:
    ids = torch.arange(1, 61).reshape(1, 60)
    memory = model.read_all(model.cell.fresh(1), ids.split(16, dim=1)[:3])
    return model.project(model.hidden_after(memory, ids[:, 48:]))


def test_begins_as_what_it_grows_from(base, start) -> None:
    model, _ = grown(base, start)

    assert len(model.body.layers) == 4
    torch.testing.assert_close(answers(model), answers(load_checkpoint(start).model), rtol=1e-3, atol=1e-3)


def test_ends_as_a_backbone_with_an_adapter_and_nothing_else(base, start, tmp_path) -> None:
    model, growth = grown(base, start, rank=3)
    before = answers(model)
    growth.at(10)
    saved = load_checkpoint(save_checkpoint(tmp_path / "grown", model))

    assert saved.config.layers is None
    assert saved.config.weights == "adapter"
    torch.testing.assert_close(answers(saved.model), answers(model), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(answers(model), before, atol=0.1)


def test_the_share_rises_evenly_and_stays_whole(base, start) -> None:
    model, growth = grown(base, start, first_share=0.2)
    shares, finished, said = [], [], []
    for step in (0, 5, 10, 500):
        growth.at(step)
        shares.append(growth.share)
        finished.append(growth.finished)
        said.append(answers(model))

    assert shares == pytest.approx([0.2, 0.6, 1.0, 1.0])
    assert finished == [False, False, True, True]
    assert not torch.allclose(said[0], said[1], atol=0.1)
    assert torch.equal(said[2], said[3])


def test_an_adapter_of_low_rank_holds_the_nearest_matrix(base, start) -> None:
    """As near as the singular values that are left out, which no matrix of that rank undercuts."""
    model, _ = grown(base, start, rank=5)
    trained = load_checkpoint(start).model.body.layers[1].mlp.up_proj.weight.detach()
    ours = model.body.layers[2].mlp.up_proj
    original = ours.get_base_layer().weight.detach()
    missing = trained - original - ours.get_delta_weight("default").detach()
    left_out = torch.linalg.svdvals(trained - original)[5:]

    assert torch.linalg.matrix_rank(ours.get_delta_weight("default")) == 5
    torch.testing.assert_close(missing.norm(), left_out.norm(), rtol=1e-4, atol=1e-5)


def test_new_layers_are_taught_from_the_first_step(base, start) -> None:
    model, _ = grown(base, start, first_share=0.2)
    answered = model.project(model.read(model.cell.fresh(1), torch.arange(1, 17).reshape(1, 16)))
    answered.square().mean().backward()
    gradients = [layer.mlp.up_proj.lora_B["default"].weight.grad for layer in model.body.layers]

    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


class TestRefusals:
    def refusal(self, base: str, start: Path, *words: str) -> None:
        with pytest.raises(DataError) as caught:
            grown(base, start)
        for word in (str(start), *words):
            assert word in str(caught.value)

    def test_a_checkpoint_with_all_layers(self, base, tiny_checkpoint) -> None:
        self.refusal(base, tiny_checkpoint(base_layers=4), "all layers")

    def test_layers_of_another_backbone(self, start, backbone_dir) -> None:
        self.refusal(str(backbone_dir("llama", 4, 1)), start, "another one", "llama-4-0")

    @pytest.mark.parametrize("what", ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.bias"])
    def test_training_that_has_no_place_in_an_adapter(self, what, tiny_checkpoint, backbone_dir) -> None:
        directory = tiny_checkpoint("qwen2", base_layers=4, layers=LAYERS)
        checkpoint = load_checkpoint(directory)
        with torch.no_grad():
            checkpoint.model.backbone.get_parameter(what).add_(1.0)
        self.refusal(str(backbone_dir("qwen2", 4)), save_checkpoint(directory, checkpoint.model), what)
