"""State dicts of the official code, made here the way it makes them, and what they become."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmt_model.adapter import with_adapter
from rmt_model.checkpoint import Checkpoint, load_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.errors import CheckpointError
from rmt_model.official import import_official
from rmt_model.weights import read_weights, write_weights

M = 3
Import = Callable[..., Checkpoint]


class OfficialCell(nn.Module):
    """Names as in the official code: a cell that holds the memory and the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.memory = nn.Parameter(torch.randn(M, 32))


class OfficialWrapper(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.memory_cell = OfficialCell(model)


@torch.no_grad()
def official_answers(wrapper: OfficialWrapper) -> Tensor:
    """The official formula on the official modules."""
    model, ids = wrapper.memory_cell.model.eval(), torch.arange(1, 61).view(1, 60)
    embed, memory = model.get_input_embeddings(), wrapper.memory_cell.memory.unsqueeze(0)
    for segment in ids.split(16, dim=1)[:3]:
        out = model(inputs_embeds=torch.cat([memory, embed(segment), memory], 1), output_hidden_states=True)
        memory = out.hidden_states[-1][:, -M:]
    return model(inputs_embeds=torch.cat([memory, embed(ids[:, 48:])], 1)).logits[:, M:]


@torch.no_grad()
def our_answers(checkpoint: Checkpoint) -> Tensor:
    model, ids = checkpoint.model, torch.arange(1, 61).view(1, 60)
    memory = model.read_all(model.cell.fresh(1), ids.split(16, dim=1)[:3])
    return model.project(model.hidden_after(memory, ids[:, 48:]))


def trained(model: PreTrainedModel) -> PreTrainedModel:
    """A model that differs from its base in every matrix that may be trained."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def imported(backbone_dir, tmp_path) -> Import:
    """Stores a state dict, imports it on a family's base, and loads the checkpoint."""

    def run(state: dict[str, Tensor], family: str = "llama", *, safe: bool = False, **options: Any) -> Checkpoint:
        source = tmp_path / ("model.safetensors" if safe else "pytorch_model.bin")
        if safe:
            write_weights(source, state)
        else:
            torch.save(state, source)
        config = RMTConfig(str(backbone_dir(family)), memory_tokens=M, segment_tokens=16)
        return load_checkpoint(import_official(source, config, tmp_path / "out", **options))

    return run


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gpt_neox"])
def test_full_weights(family, tiny_backbone, imported) -> None:
    wrapper = OfficialWrapper(trained(tiny_backbone(family)))
    checkpoint = imported(wrapper.state_dict(), family)
    torch.testing.assert_close(our_answers(checkpoint), official_answers(wrapper), rtol=1e-5, atol=1e-5)
    assert checkpoint.config.update == "replace"
    assert checkpoint.config.memory_scale == 1.0
    assert checkpoint.config.provenance["imported_from"] == "pytorch_model.bin"


def test_the_source_is_not_written_over(tiny_backbone, backbone_dir, tmp_path) -> None:
    state = {name: tensor.clone() for name, tensor in OfficialWrapper(tiny_backbone()).state_dict().items()}
    write_weights(tmp_path / "model.safetensors", state)
    before = (tmp_path / "model.safetensors").read_bytes()
    config = RMTConfig(str(backbone_dir()), memory_tokens=M, segment_tokens=16)
    with pytest.raises(CheckpointError, match="place of its own"):
        import_official(tmp_path / "model.safetensors", config, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", "lm_head.weight"])
def test_tied_embeddings_under_one_name_only(kept, tiny_backbone, imported) -> None:
    wrapper = OfficialWrapper(trained(tiny_backbone()))
    state = wrapper.state_dict()
    embeddings = state.pop("memory_cell.model.lm_head.weight")
    del state["memory_cell.model.model.embed_tokens.weight"]
    state[f"memory_cell.model.{kept}"] = embeddings
    checkpoint = imported(state, safe=True)
    torch.testing.assert_close(our_answers(checkpoint), official_answers(wrapper), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("names", ["default", "plain", "without_base_layer"])
@pytest.mark.parametrize(("family", "targets"), [("llama", ["q_proj", "v_proj"]), ("gpt2", ["c_attn", "c_proj"])])
def test_lora(family, targets, names, tiny_backbone, imported) -> None:
    """Three ways in which versions of PEFT name the same tensors."""
    lora = LoraConfig(r=2, lora_alpha=12, target_modules=targets, lora_dropout=0.1)
    wrapper = OfficialWrapper(trained(with_adapter(tiny_backbone(family), lora)))
    state = wrapper.state_dict()
    if names != "default":
        state = {name.replace(".default.", "."): tensor for name, tensor in state.items()}
    if names == "without_base_layer":
        state = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items()}
    checkpoint = imported(state, family, lora_alpha=12)
    torch.testing.assert_close(our_answers(checkpoint), official_answers(wrapper), rtol=1e-4, atol=1e-4)


def test_lora_beside_modules_that_were_trained_whole(tiny_backbone, imported) -> None:
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=["query_key_value"], modules_to_save=["embed_out"])
    wrapper = OfficialWrapper(trained(with_adapter(tiny_backbone("gpt_neox"), lora)))
    checkpoint = imported(wrapper.state_dict(), "gpt_neox", lora_alpha=4)
    torch.testing.assert_close(our_answers(checkpoint), official_answers(wrapper), rtol=1e-4, atol=1e-4)


def test_only_what_training_changed_is_stored(tiny_backbone, imported, tmp_path) -> None:
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"])
    imported(OfficialWrapper(trained(with_adapter(tiny_backbone(), lora))).state_dict(), lora_alpha=4)
    stored = read_weights(tmp_path / "out" / "model.safetensors")
    assert {name.split(".", 3)[-1] for name in stored} == {"self_attn.q_proj.weight"}


def test_buffers_of_older_transformers_are_left_out(tiny_backbone, imported) -> None:
    wrapper = OfficialWrapper(trained(tiny_backbone("gpt2")))
    prefix = "memory_cell.model.transformer.h.0.attn."
    old = {
        f"{prefix}bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
        f"{prefix}masked_bias": torch.tensor(-1e4),
    }
    checkpoint = imported({**wrapper.state_dict(), **old}, "gpt2")
    torch.testing.assert_close(our_answers(checkpoint), official_answers(wrapper), rtol=1e-5, atol=1e-5)


class TestRefusals:
    @pytest.fixture
    def state(self, tiny_backbone) -> dict[str, Tensor]:
        return OfficialWrapper(tiny_backbone()).state_dict()

    @pytest.mark.parametrize(
        ("added", "expected"),
        [
            ("memory_cell.extra", "memory_cell.extra"),
            ("optimizer.step", "optimizer.step"),
            ("memory_cell.model.model.layers.0.mlp.gate.weight", "layers.0.mlp.gate.weight"),
            ("memory_cell.model.model.layers.2.mlp.up_proj.weight", "layers.2.mlp.up_proj.weight"),
            (
                "memory_cell.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                "lora_magnitude_vector",
            ),
        ],
    )
    def test_tensor_that_is_not_understood(self, state, imported, added: str, expected: str) -> None:
        with pytest.raises(CheckpointError, match=expected):
            imported({**state, added: torch.ones(2)})

    def test_tensor_that_is_missing(self, state, imported) -> None:
        del state["memory_cell.model.model.layers.1.mlp.up_proj.weight"]
        with pytest.raises(CheckpointError, match=r"lacks .* model\.layers\.1\.mlp\.up_proj\.weight"):
            imported(state)

    def test_tied_tensors_that_differ(self, state, imported) -> None:
        state["memory_cell.model.lm_head.weight"] = state["memory_cell.model.lm_head.weight"] + 1
        with pytest.raises(CheckpointError, match=r"lm_head\.weight .* differ"):
            imported(state)

    def test_no_memory(self, state, imported) -> None:
        del state["memory_cell.memory"]
        with pytest.raises(CheckpointError, match=r"no memory_cell\.memory"):
            imported(state)

    @pytest.mark.parametrize("shape", [(M + 1, 32), (M, 31), (M, 32, 1), (32,)])
    def test_memory_of_another_shape(self, state, imported, shape: tuple[int, ...]) -> None:
        with pytest.raises(CheckpointError, match=r"memory_cell\.memory"):
            imported({**state, "memory_cell.memory": torch.ones(shape)})

    def test_another_base(self, state, imported) -> None:
        with pytest.raises(CheckpointError, match="lacks"):
            imported(state, "gpt2")

    def test_lora_without_its_strength(self, tiny_backbone, imported) -> None:
        lora = LoraConfig(r=2, target_modules=["q_proj"])
        state = OfficialWrapper(with_adapter(tiny_backbone(), lora)).state_dict()
        with pytest.raises(CheckpointError, match="lora_alpha"):
            imported(state)

    @pytest.mark.parametrize("lost", ["lora_A.default.weight", "lora_B.default.weight", "base_layer.weight"])
    def test_lora_without_a_part(self, tiny_backbone, imported, lost: str) -> None:
        lora = LoraConfig(r=2, target_modules=["q_proj"])
        state = OfficialWrapper(with_adapter(tiny_backbone(), lora)).state_dict()
        state = {name: tensor for name, tensor in state.items() if not name.endswith(lost)}
        with pytest.raises(CheckpointError, match=r"layers\.0\.self_attn\.q_proj"):
            imported(state, lora_alpha=4)

    def test_lora_of_another_shape(self, tiny_backbone, imported) -> None:
        lora = LoraConfig(r=2, target_modules=["q_proj"])
        state = OfficialWrapper(with_adapter(tiny_backbone(), lora)).state_dict()
        name = next(name for name in state if name.endswith("lora_B.default.weight"))
        with pytest.raises(CheckpointError, match="q_proj"):
            imported({**state, name: torch.ones(32, 3)}, lora_alpha=4)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"plain text"])
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
    def test_file_that_is_damaged(self, backbone_dir, tmp_path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        config = RMTConfig(str(backbone_dir()), memory_tokens=M)
        with pytest.raises(CheckpointError, match=name):
            import_official(tmp_path / name, config, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
    def test_file_that_is_missing(self, backbone_dir, tmp_path, name: str) -> None:
        with pytest.raises(CheckpointError, match=name):
            import_official(tmp_path / name, RMTConfig(str(backbone_dir()), memory_tokens=M), tmp_path / "out")

    def test_pickle_of_something_else(self, backbone_dir, tmp_path) -> None:
        for content in ({"state_dict": {}}, [1, 2], {"step": 3}):
            torch.save(content, tmp_path / "pytorch_model.bin")
            with pytest.raises(CheckpointError, match="plain state dict"):
                import_official(
                    tmp_path / "pytorch_model.bin",
                    RMTConfig(str(backbone_dir()), memory_tokens=M),
                    tmp_path / "out",
                )

    def test_pickle_with_code_does_not_run(self, backbone_dir, tmp_path) -> None:
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> Any:
                return Path.touch, (marker,)

        torch.save({"memory_cell.memory": Evil()}, tmp_path / "pytorch_model.bin")
        config = replace(RMTConfig(str(backbone_dir())), memory_tokens=M)
        with pytest.raises(CheckpointError, match="more than tensors"):
            import_official(tmp_path / "pytorch_model.bin", config, tmp_path / "out")
        assert not marker.exists()
