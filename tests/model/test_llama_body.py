"""LlamaBody: the last rows as the backbone computes them, with the backbone's own weights."""

from collections.abc import Callable

import pytest
import torch
from tests.tiny_models import BackboneFactory
from transformers import LlamaConfig, LlamaForCausalLM

from rmt_model.checkpoint import load_checkpoint
from rmt_model.llama_body import LlamaBody


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> bool:
    return float((found - wanted).float().norm() / wanted.float().norm()) < tolerance


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("length", [4, 5, 40])
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_last_rows_are_the_backbones(
    tiny_backbone: BackboneFactory, lanes: int, length: int, layers: int, dtype: torch.dtype
) -> None:
    whole = tiny_backbone("llama", layers=layers)
    for parameter in whole.parameters():
        parameter.data = parameter.data.to(dtype)
    inputs = torch.randn(lanes, length, 32, generator=torch.Generator().manual_seed(length)).to(dtype)
    with torch.inference_mode():
        before = inputs.clone()
        wanted = whole.model(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -4:]
        body = LlamaBody.of(whole.model)
        assert body is not None
        found = body.last_rows(inputs, 4)
        assert found.shape == (lanes, 4, 32)
        assert close(found, wanted, 2e-6 if dtype == torch.float32 else 0.05)
        assert torch.equal(inputs, before)
        assert torch.equal(whole.model(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -4:], wanted)


def test_the_backbones_own_weights_take_no_more_room(tiny_backbone: BackboneFactory) -> None:
    whole = tiny_backbone("llama", layers=2)
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in whole.parameters()}
    LlamaBody.of(whole.model)
    now = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in whole.parameters()}
    assert sum(now.values()) == sum(held.values())


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gpt_neox"])
def test_other_families_read_with_their_own_body(
    tiny_backbone: BackboneFactory, tiny_checkpoint: Callable[..., object], family: str
) -> None:
    whole = tiny_backbone(family)
    assert LlamaBody.of(getattr(whole, whole.base_model_prefix)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ],
)
def test_a_llama_of_another_kind_is_left_to_transformers(fields: dict[str, object]) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    assert LlamaBody.of(LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes, **fields)).model) is None
    assert LlamaBody.of(LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)).model) is not None


def test_a_memory_that_is_read_is_the_one_that_was_trained(tiny_checkpoint: Callable[..., object]) -> None:
    model = load_checkpoint(tiny_checkpoint()).model.eval()
    segments = torch.randint(0, 300, (6, 2, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        trained = model.read_all(model.cell.fresh(2), list(segments))
        read = model.for_inference().read_all(model.cell.fresh(2), list(segments))
    assert model.lean_body is not None
    assert close(read, trained, 1e-4)
