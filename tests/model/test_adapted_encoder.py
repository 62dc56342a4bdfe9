"""Encoders under an adapter: kept beside their base in little room, and the same readers when they are loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from tests.model.test_encoder_checkpoint import scores
from tests.tiny_models import MPNET_PIECES, SPECIAL_PIECES, build_word_pieces, write_encoder_base
from tokenizers import Tokenizer

from rmt_model.adapter import with_adapter
from rmt_model.backbone import backbone_digest
from rmt_model.config import RMTConfig
from rmt_model.encoder import ADAPTED_LAYERS, load_encoder
from rmt_model.encoder_checkpoint import load_encoder_checkpoint, save_encoder_checkpoint, special_ids
from rmt_model.errors import CheckpointError
from rmt_model.span_engine import SpanEngine, Window
from rmt_model.span_reader import SpanReader


def pieces(form: str) -> Tokenizer:
    return build_word_pieces(special=MPNET_PIECES if form == "mpnet" else SPECIAL_PIECES)


def adapted(base: Path, tokenizer: Tokenizer) -> SpanReader:
    """A reader on a base, under an adapter that changes what it computes."""
    cls_id, sep_id = special_ids(tokenizer)
    torch.manual_seed(2)
    reader = SpanReader(load_encoder(base), 8, cls_id=cls_id, sep_id=sep_id)
    reader.encoder = with_adapter(reader.encoder, LoraConfig(r=4, lora_alpha=8, target_modules=list(ADAPTED_LAYERS)))
    with torch.no_grad():
        for name, weight in reader.named_parameters():
            if "lora_B" in name:
                weight += 0.3 * torch.randn_like(weight)
    return reader.eval()


def saved(tmp_path: Path, form: str) -> tuple[Path, SpanReader, Tokenizer]:
    tokenizer = pieces(form)
    base = write_encoder_base(tmp_path / "base", tokenizer, form)
    reader = adapted(base, tokenizer)
    config = RMTConfig(
        "../base",
        base_sha256=backbone_digest(base),
        form="encoder",
        memory_tokens=8,
        segment_tokens=96,
        update="gated",
        weights="adapter",
    )
    return save_encoder_checkpoint(tmp_path / "made", reader, tokenizer, config), reader, tokenizer


@pytest.mark.parametrize("form", ["bert", "mpnet"])
def test_it_reads_as_it_did_before_it_was_written(tmp_path: Path, form: str) -> None:
    """But for the adapter's 16 bits."""
    directory, reader, tokenizer = saved(tmp_path, form)
    files = sorted(path.name for path in directory.iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors", "memory.safetensors", "rmt.json"]
    loaded = load_encoder_checkpoint(directory)
    before, after = scores(reader, tokenizer), scores(loaded.model, tokenizer)
    plain = scores(SpanReader(load_encoder(tmp_path / "base"), 8, cls_id=0, sep_id=2).eval(), tokenizer)
    assert (after - before).norm() < 0.02 * before.norm()
    assert (plain - before).norm() > 0.1 * before.norm()
    unmerged = load_encoder_checkpoint(directory, merge=False)
    torch.testing.assert_close(scores(unmerged.model, tokenizer), after, rtol=1e-4, atol=1e-5)
    assert unmerged.fingerprint == loaded.fingerprint


def test_it_is_served(tmp_path: Path) -> None:
    directory, _, _ = saved(tmp_path, "mpnet")
    text = "Mary went to the bathroom. John moved to the hallway."
    (read,) = SpanEngine(load_encoder_checkpoint(directory)).read_windows("Where is Mary?", [Window(text, 0)])
    assert all(0 <= one.start < one.end <= len(text) for one in read.pointers)


def test_another_base_is_refused_and_another_adapter_is_another_checkpoint(tmp_path: Path) -> None:
    directory, _, _ = saved(tmp_path, "bert")
    before = load_encoder_checkpoint(directory).fingerprint
    copy = shutil.copytree(directory, tmp_path / "copy")
    path = copy / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 9}))
    assert load_encoder_checkpoint(copy).fingerprint != before
    write_encoder_base(tmp_path / "base", pieces("bert"), num_attention_heads=4)
    with pytest.raises(CheckpointError, match=r"made on a backbone \.\./base"):
        load_encoder_checkpoint(directory)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(CheckpointError, match="base"):
        load_encoder_checkpoint(directory)


def test_all_weights_take_its_place(tmp_path: Path) -> None:
    """Nothing of a checkpoint of the other kind is left."""
    directory, reader, tokenizer = saved(tmp_path, "bert")
    reader.encoder = reader.encoder.merge_and_unload()
    config = RMTConfig("base", form="encoder", memory_tokens=8, segment_tokens=96, update="gated")
    save_encoder_checkpoint(directory, reader, tokenizer, config)
    assert not {path.name for path in directory.iterdir()} & {"adapter_config.json", "memory.safetensors"}
    shutil.rmtree(tmp_path / "base")
    after = scores(load_encoder_checkpoint(directory).model, tokenizer)
    assert (after - scores(reader, tokenizer)).norm() < 0.05 * after.norm()


def test_ends_of_sequences_by_form() -> None:
    assert special_ids(pieces("bert")) == (SPECIAL_PIECES.index("[CLS]"), SPECIAL_PIECES.index("[SEP]"))
    assert special_ids(pieces("mpnet")) == (0, 2)
