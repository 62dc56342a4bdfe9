"""Checkpoints: written, read back, named by their content, and refused when something is wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor

from rmt_model import checkpoint as checkpoints
from rmt_model.adapter import with_adapter
from rmt_model.backbone import load_backbone
from rmt_model.checkpoint import load_checkpoint, save_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.errors import CheckpointError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.weights import own_weights, read_weights, write_weights

FAMILIES = ("llama", "gpt2", "qwen2", "gpt_neox")


@torch.no_grad()
def answers(model: RecurrentMemoryTransformer) -> Tensor:
    """Logits after three segments and a question: they change with every weight that is used."""
    ids = torch.arange(1, 61).view(1, 60)
    memory = model.read_all(model.cell.fresh(1), ids.split(16, dim=1)[:3])
    return model.project(model.hidden_after(memory, ids[:, 48:]))


def changed(directory: Path, **fields: Any) -> Path:
    """The same checkpoint with other fields in its rmt.json."""
    raw = json.loads((directory / "rmt.json").read_text())
    (directory / "rmt.json").write_text(json.dumps({**raw, **fields}))
    return directory


class TestRoundTrip:
    @pytest.mark.parametrize("update", ["replace", "gated"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_full_weights(self, family, update, tiny_backbone, backbone_dir, tmp_path) -> None:
        config = RMTConfig(str(backbone_dir(family)), memory_tokens=4, update=update, memory_scale=0.5)
        model = RecurrentMemoryTransformer(tiny_backbone(family, seed=5), config)
        with torch.no_grad():
            for parameter in model.cell.parameters():
                parameter.normal_()
        loaded = load_checkpoint(save_checkpoint(tmp_path / "new", model))
        assert not loaded.model.training
        assert loaded.name == "new"
        assert loaded.eos_token_id == 0
        assert loaded.config == replace(config, base_sha256=loaded.config.base_sha256)
        torch.testing.assert_close(own_weights(loaded.model), own_weights(model), rtol=0, atol=0)
        torch.testing.assert_close(answers(loaded.model), answers(model), rtol=0, atol=0)

    @pytest.mark.parametrize("family", ["llama", "gpt2"])
    def test_adapter(self, family, tiny_checkpoint) -> None:
        directory = tiny_checkpoint(family, weights="adapter")
        assert not (directory / "model.safetensors").exists()
        apart = load_checkpoint(directory, merge=False)
        merged = load_checkpoint(directory)
        bare = load_checkpoint(directory).config
        base = RecurrentMemoryTransformer(load_backbone(bare.base), bare)
        base.cell.load_state_dict(merged.model.cell.state_dict())
        torch.testing.assert_close(answers(merged.model), answers(apart.model), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(answers(merged.model), answers(base), atol=0.1)
        assert apart.fingerprint == merged.fingerprint

    def test_an_adapter_written_again_is_the_same(self, tiny_checkpoint, tmp_path) -> None:
        first = load_checkpoint(tiny_checkpoint(weights="adapter"), merge=False)
        again = load_checkpoint(save_checkpoint(tmp_path / "again", first.model), merge=False)
        assert again.fingerprint == first.fingerprint

    def test_only_what_differs_is_stored(self, backbone_dir, tmp_path) -> None:
        config = RMTConfig(str(backbone_dir()), memory_tokens=2)
        model = RecurrentMemoryTransformer(load_backbone(config.base), config)
        with torch.no_grad():
            model.backbone.model.layers[1].mlp.up_proj.weight[3, 4] += 1e-3
        directory = save_checkpoint(tmp_path / "new", model)
        assert list(read_weights(directory / "model.safetensors")) == ["model.layers.1.mlp.up_proj.weight"]
        torch.testing.assert_close(answers(load_checkpoint(directory).model), answers(model), rtol=0, atol=0)

    def test_float16_halves_the_file(self, tiny_checkpoint, tmp_path) -> None:
        loaded = load_checkpoint(tiny_checkpoint())
        small = save_checkpoint(tmp_path / "small", loaded.model, dtype=torch.float16)
        stored = read_weights(small / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
        assert read_weights(small / "memory.safetensors")["initial"].dtype == torch.float32
        torch.testing.assert_close(answers(load_checkpoint(small).model), answers(loaded.model), rtol=0.05, atol=0.05)

    @pytest.mark.parametrize(
        ("name", "features", "dtype"),
        [
            ("auto", {"avx512_bf16": True}, torch.float32),
            ("fast", {"avx512_bf16": True}, torch.bfloat16),
            ("fast", {"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
            ("fast", {"avx2": True}, torch.float32),
            ("float32", {"avx512_bf16": True}, torch.float32),
            ("bfloat16", {}, torch.bfloat16),
        ],
    )
    def test_type_of_the_weights(self, tiny_checkpoint, monkeypatch, name, features, dtype) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
        assert load_checkpoint(tiny_checkpoint(), dtype=name).model.backbone.dtype == dtype

    def test_chosen_layers(self, tiny_checkpoint) -> None:
        loaded = load_checkpoint(tiny_checkpoint(base_layers=4, layers=(0, 3)))
        assert loaded.config.layers == (0, 3)
        assert len(loaded.model.body.layers) == 2

    def test_the_memory_cell_stays_float32(self, tiny_checkpoint) -> None:
        model = load_checkpoint(tiny_checkpoint(), dtype="bfloat16").model
        assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in model.cell.parameters()} == {torch.float32}
        assert model.read(model.cell.fresh(2), torch.ones(2, 8, dtype=torch.long)).dtype == torch.float32

    @pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gpt_neox"])
    def test_only_weights_are_cast(self, tiny_checkpoint, family: str) -> None:
        """Rotary frequencies are no weights: rounded to 8 bits, far positions would be told apart wrongly."""
        directory = tiny_checkpoint(family)
        exact, cast = load_checkpoint(directory).model, load_checkpoint(directory, dtype="bfloat16").model
        torch.testing.assert_close(dict(cast.named_buffers()), dict(exact.named_buffers()), rtol=0, atol=0)

    def test_text_of_tokens(self, tiny_checkpoint) -> None:
        loaded = load_checkpoint(tiny_checkpoint())
        assert loaded.text_of([0, *loaded.tokenizer.encode("Mary is in the garden.").ids]) == "Mary is in the garden."

    def test_another_form_takes_the_place_of_the_first(self, tiny_checkpoint, tmp_path) -> None:
        first = load_checkpoint(tiny_checkpoint(weights="adapter"), merge=False)
        directory = save_checkpoint(tmp_path, first.model)
        plain = load_checkpoint(directory).model
        plain.config = replace(plain.config, weights="full")
        save_checkpoint(directory, plain)
        assert sorted(path.name for path in directory.iterdir()) == [
            "memory.safetensors",
            "model.safetensors",
            "rmt.json",
        ]
        torch.testing.assert_close(answers(load_checkpoint(directory).model), answers(plain), rtol=0, atol=0)

    def test_a_name_is_looked_up_among_the_bundled_ones(self, tiny_checkpoint, monkeypatch, tmp_path) -> None:
        shutil.copytree(tiny_checkpoint(), tmp_path / "small")
        monkeypatch.setattr(checkpoints, "_BUNDLED", tmp_path)
        assert load_checkpoint("small").name == "small"
        with pytest.raises(CheckpointError, match="small"):
            load_checkpoint("smaller")

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_on_a_gpu(self, tiny_checkpoint) -> None:
        model = load_checkpoint(tiny_checkpoint(), device="auto").model
        assert model.device.type == "cuda"
        assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in model.cell.parameters()} == {torch.float32}


class TestFingerprint:
    @pytest.fixture
    def directory(self, tiny_checkpoint) -> Path:
        return tiny_checkpoint(provenance={"steps": 7})

    def test_a_copy_elsewhere_is_the_same(self, directory, tmp_path) -> None:
        copy = shutil.copytree(directory, tmp_path / "elsewhere")
        assert load_checkpoint(copy).fingerprint == load_checkpoint(directory).fingerprint

    def test_so_is_one_with_another_history(self, directory, tmp_path) -> None:
        copy = changed(shutil.copytree(directory, tmp_path / "copy"), provenance={"steps": 8})
        assert load_checkpoint(copy).fingerprint == load_checkpoint(directory).fingerprint

    def test_so_is_one_whose_base_was_moved(self, directory, tmp_path) -> None:
        copy = shutil.copytree(directory, tmp_path / "copy")
        base = json.loads((directory / "rmt.json").read_text())["base"]
        shutil.copytree(base, copy / "base")
        changed(copy, base="base")
        assert load_checkpoint(copy).fingerprint == load_checkpoint(directory).fingerprint

    @pytest.mark.parametrize(
        "fields",
        [{"segment_tokens": 17}, {"question_template": "{question}"}, {"memory_scale": 2.0}, {"stop": ""}],
    )
    def test_another_meaning_is_another_one(self, directory, tmp_path, fields: dict[str, Any]) -> None:
        copy = changed(shutil.copytree(directory, tmp_path / "copy"), **fields)
        assert load_checkpoint(copy).fingerprint != load_checkpoint(directory).fingerprint

    @pytest.mark.parametrize("file", ["memory.safetensors", "model.safetensors"])
    def test_another_weight_is_another_one(self, directory, tmp_path, file: str) -> None:
        copy = shutil.copytree(directory, tmp_path / "copy")
        weights = read_weights(copy / file)
        next(iter(weights.values())).view(-1)[0] += 1
        write_weights(copy / file, weights)
        assert load_checkpoint(copy).fingerprint != load_checkpoint(directory).fingerprint

    def test_another_strength_of_an_adapter_is_another_one(self, tiny_checkpoint, tmp_path) -> None:
        directory = tiny_checkpoint(weights="adapter")
        copy = shutil.copytree(directory, tmp_path / "copy")
        adapter = json.loads((copy / "adapter_config.json").read_text())
        (copy / "adapter_config.json").write_text(json.dumps({**adapter, "lora_alpha": 9}))
        assert load_checkpoint(copy).fingerprint != load_checkpoint(directory).fingerprint


class TestRefusals:
    @pytest.fixture
    def broken(self, tiny_checkpoint) -> Path:
        """A good checkpoint, to be broken by the test."""
        return tiny_checkpoint()

    def refusal(self, directory: Path | str, *expected: str, **options: Any) -> None:
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(directory, **options)
        for text in (str(directory), *expected):
            assert text in str(caught.value)

    def test_no_such_directory(self, tmp_path) -> None:
        self.refusal(tmp_path / "nothing", "neither a directory")

    def test_empty_directory(self, tmp_path) -> None:
        self.refusal(tmp_path, "lacks rmt.json")

    def test_official_directory(self, tmp_path) -> None:
        (tmp_path / "pytorch_model.bin").touch()
        self.refusal(tmp_path, "rmt-model import-official")

    @pytest.mark.parametrize("file", ["memory.safetensors", "model.safetensors"])
    def test_missing_file(self, broken, file: str) -> None:
        (broken / file).unlink()
        self.refusal(broken, file, "missing")

    @pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
    def test_missing_part_of_an_adapter(self, tiny_checkpoint, file: str) -> None:
        directory = tiny_checkpoint(weights="adapter")
        (directory / file).unlink()
        self.refusal(directory, file, "missing")

    @pytest.mark.parametrize("file", ["memory.safetensors", "model.safetensors"])
    @pytest.mark.parametrize("kept", [0, 5, 40, -1])
    def test_truncated_file(self, broken, file: str, kept: int) -> None:
        (broken / file).write_bytes((broken / file).read_bytes()[:kept])
        self.refusal(broken, file, "truncated")

    def test_damaged_header(self, broken) -> None:
        data = bytearray((broken / "memory.safetensors").read_bytes())
        data[12] ^= 0xFF
        (broken / "memory.safetensors").write_bytes(data)
        self.refusal(broken, "memory.safetensors", "damaged")

    @pytest.mark.parametrize("modern", [True, False])
    def test_pickle_in_place_of_safetensors(self, broken, modern: bool) -> None:
        weights = read_weights(broken / "memory.safetensors")
        torch.save(weights, broken / "memory.safetensors", _use_new_zipfile_serialization=modern)
        self.refusal(broken, "memory.safetensors", "pickle")

    def test_directory_in_place_of_a_file(self, broken) -> None:
        (broken / "memory.safetensors").unlink()
        (broken / "memory.safetensors").mkdir()
        self.refusal(broken, "memory.safetensors")

    def test_other_number_of_memory_vectors(self, broken) -> None:
        self.refusal(changed(broken, memory_tokens=5), "initial has shape [4, 32]", "[5, 32]")

    def test_other_hidden_size(self, broken) -> None:
        weights = read_weights(broken / "memory.safetensors")
        write_weights(broken / "memory.safetensors", {**weights, "initial": torch.zeros(4, 48)})
        self.refusal(broken, "[4, 48]", "[4, 32]")

    def test_gate_that_is_missing(self, tiny_checkpoint) -> None:
        directory = changed(tiny_checkpoint(update="replace"), update="gated")
        self.refusal(directory, "lacks", "update.bias, update.from_all_old, update.from_all_written")

    def test_gate_that_is_not_used(self, broken) -> None:
        self.refusal(changed(broken, update="replace"), "update.bias")

    def test_unknown_weight(self, broken) -> None:
        weights = read_weights(broken / "model.safetensors")
        write_weights(broken / "model.safetensors", {**weights, "model.layers.7.mlp.up_proj.weight": torch.ones(2)})
        self.refusal(broken, "model.layers.7.mlp.up_proj.weight")

    def test_weight_of_another_shape(self, broken) -> None:
        name = "model.layers.0.mlp.up_proj.weight"
        write_weights(broken / "model.safetensors", {name: torch.ones(3, 3)})
        self.refusal(broken, name, "[3, 3]")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weight_that_is_no_number(self, broken, value: float) -> None:
        from safetensors.torch import save_file

        weights = read_weights(broken / "memory.safetensors")
        weights["initial"][1, 1] = value
        save_file(weights, broken / "memory.safetensors")
        self.refusal(broken, "initial", "finite")

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("", "not valid JSON"),
            ("[]", "must hold an object"),
            ("[" * 100_000, "not valid JSON"),
            ('{"format_version": 2, "base": "b"}', "format_version 2"),
            ('{"base": "b"}', "format_version None"),
            ('{"format_version": 1}', "base"),
            ('{"format_version": 1, "base": "b", "memry": 3}', "memry"),
            ('{"format_version": 1, "base": "b", "memory_tokens": 0}', "memory_tokens"),
            ('{"format_version": 1, "base": "b", "memory_tokens": true}', "memory_tokens"),
            ('{"format_version": 1, "base": "b", "memory_tokens": 1000000000}', "memory_tokens"),
            ('{"format_version": 1, "base": "b", "focus_multiple": 1000000000}', "focus_multiple"),
            ('{"format_version": 1, "base": "b", "layers": [2, 1]}', "layers"),
            ('{"format_version": 1, "base": "b", "layers": []}', "layers"),
            ('{"format_version": 1, "base": "b", "layers": 6}', "layers"),
            ('{"format_version": 1, "base": "b", "update": "xor"}', "update"),
            ('{"format_version": 1, "base": "b", "memory_scale": NaN}', "memory_scale"),
            ('{"format_version": 1, "base": "b", "question_template": "?"}', "question_template"),
            ('{"format_version": 1, "base": "b", "question_template": "\\ud800{question}"}', "question_template"),
            ('{"format_version": 1, "base": "b", "stop": null}', "stop"),
            ('{"format_version": 1, "base": "b", "stop": "\\udfff"}', "stop"),
            ('{"format_version": 1, "base": "b", "provenance": []}', "provenance"),
            ('{"format_version": 1, "base": ["b"]}', "base"),
        ],
    )
    def test_rmt_json(self, broken, content: str, expected: str) -> None:
        (broken / "rmt.json").write_text(content)
        self.refusal(broken, "rmt.json", expected)

    def test_rmt_json_that_is_not_text(self, broken) -> None:
        (broken / "rmt.json").write_bytes(b"\xff\xfe")
        self.refusal(broken)

    def test_unknown_base(self, broken) -> None:
        with pytest.raises(CheckpointError, match="no-such-base"):
            load_checkpoint(changed(broken, base="no-such-base"))

    def test_base_that_was_not_pulled(self, broken, monkeypatch, tmp_path) -> None:
        monkeypatch.setenv("RMT_CACHE_DIR", str(tmp_path))
        changed(broken, base="smollm2-135m-instruct", base_sha256="")
        with pytest.raises(CheckpointError, match="rmt-model pull smollm2-135m-instruct"):
            load_checkpoint(broken)

    def test_base_of_another_content(self, broken, backbone_dir) -> None:
        changed(broken, base=str(backbone_dir(seed=9)))
        with pytest.raises(CheckpointError, match="SHA-256"):
            load_checkpoint(broken)

    def test_segments_longer_than_the_positions(self, tiny_checkpoint) -> None:
        """GPT-2 here has 512 positions, and the memory takes twice four of them."""
        assert load_checkpoint(tiny_checkpoint("gpt2", segment_tokens=504)).config.segment_tokens == 504
        with pytest.raises(CheckpointError, match="takes 513 positions; the backbone has 512"):
            load_checkpoint(tiny_checkpoint("gpt2", segment_tokens=505))

    def test_more_tokens_than_embeddings(self, tiny_checkpoint, tiny_backbone, tiny_tokenizer, tmp_path) -> None:
        from tokenizers import Tokenizer

        tiny_backbone().save_pretrained(tmp_path / "base")
        larger = Tokenizer.from_str(tiny_tokenizer.to_str())
        larger.add_tokens(["one more"])
        larger.save(str(tmp_path / "base" / "tokenizer.json"))
        directory = changed(tiny_checkpoint(), base=str(tmp_path / "base"), base_sha256="")
        with pytest.raises(CheckpointError, match="more tokens"):
            load_checkpoint(directory)

    @pytest.mark.parametrize("device", ["cuda:99", "abacus", ""])
    def test_device_that_is_not_there(self, broken, device: str) -> None:
        with pytest.raises(CheckpointError, match="cpu or auto"):
            load_checkpoint(broken, device=device)

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"peft_type": "PREFIX_TUNING"}, "must be LORA"),
            ({"no_such_field": 1}, "no_such_field"),
            ({"target_modules": ["no_such_module"]}, "no_such_module"),
            ({"r": 3}, "shape"),
            ({"r": "x"}, "adapter_config.json"),
            ({"target_modules": ["q_proj"]}, "v_proj"),
        ],
    )
    def test_adapter_that_does_not_fit(self, tiny_checkpoint, fields: dict[str, Any], expected: str) -> None:
        directory = tiny_checkpoint(weights="adapter")
        adapter = json.loads((directory / "adapter_config.json").read_text())
        (directory / "adapter_config.json").write_text(json.dumps({**adapter, **fields}))
        self.refusal(directory, expected)

    def test_adapter_config_that_is_not_json(self, tiny_checkpoint) -> None:
        directory = tiny_checkpoint(weights="adapter")
        (directory / "adapter_config.json").write_text("[]")
        self.refusal(directory, "adapter_config.json")


class TestSaving:
    def test_into_a_model_directory(self, tiny_checkpoint, backbone_dir) -> None:
        model = load_checkpoint(tiny_checkpoint()).model
        with pytest.raises(CheckpointError, match="place of its own"):
            save_checkpoint(backbone_dir(), model)
        load_backbone(backbone_dir())

    def test_where_there_is_a_file(self, tiny_checkpoint, tmp_path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CheckpointError, match="cannot be written"):
            save_checkpoint(tmp_path / "file", load_checkpoint(tiny_checkpoint()).model)

    def test_a_failure_leaves_nothing_that_looks_whole(self, tiny_checkpoint) -> None:
        directory = tiny_checkpoint()
        model = load_checkpoint(directory).model
        with torch.no_grad():
            model.backbone.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
        with pytest.raises(CheckpointError, match="float16"):
            save_checkpoint(directory, model, dtype=torch.float16)
        with pytest.raises(CheckpointError, match=r"rmt\.json"):
            load_checkpoint(directory)

    def test_on_a_base_that_does_not_fit(self, tiny_checkpoint, backbone_dir, tmp_path) -> None:
        model = load_checkpoint(tiny_checkpoint()).model
        model.config = replace(model.config, base=str(backbone_dir("gpt2")), base_sha256="")
        with pytest.raises(CheckpointError, match="other weights than its base"):
            save_checkpoint(tmp_path / "new", model)
        assert not (tmp_path / "new").exists()

    def test_an_adapter_starts_without_an_effect(self, tiny_backbone) -> None:
        ids = torch.arange(6)[None]
        with torch.no_grad():
            wanted = tiny_backbone()(ids).logits
            adapted = with_adapter(tiny_backbone(), LoraConfig(r=2, target_modules=["q_proj"]))
            torch.testing.assert_close(adapted(ids).logits, wanted)


def test_the_real_backbone_loads(smollm2_tokenizer, tmp_path) -> None:
    config = RMTConfig("smollm2-135m-instruct", layers=(0, 1, 2, 3, 4, 5), update="gated")
    model = RecurrentMemoryTransformer(load_backbone(config.base, layers=config.layers), config)
    directory = save_checkpoint(tmp_path / "real", model)
    loaded = load_checkpoint(directory)
    assert loaded.eos_token_id == 2
    assert loaded.tokenizer.encode("In 2304").tokens == ["In", "Ġ", "2", "3", "0", "4"]
    with torch.no_grad():
        ids = torch.tensor([loaded.tokenizer.encode("Mary went to the garden.").ids])
        assert torch.isfinite(loaded.model.read(loaded.model.cell.fresh(1), ids)).all()
