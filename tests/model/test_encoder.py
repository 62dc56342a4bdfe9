"""The encoder computes what transformers' BERT computes, on the same weights; padding changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    MPNetConfig,
    MPNetForMaskedLM,
    MPNetModel,
    PreTrainedModel,
)

from rmt_model.encoder import Encoder, EncoderConfig, load_encoder, padding_bias
from rmt_model.errors import CheckpointError
from rmt_model.weights import read_weights, write_weights

VOCAB, LANES, LENGTH = 120, 3, 17
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 40,
}


def theirs(kind: type[PreTrainedModel] = BertModel, **sizes: Any) -> PreTrainedModel:
    """A random model of transformers; the wide start keeps its hidden states apart."""
    torch.manual_seed(3)
    return kind(BertConfig(**{**SIZES, "initializer_range": 0.2, **sizes})).eval()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    theirs().save_pretrained(tmp_path)
    return tmp_path


def changed(directory: Path, **fields: Any) -> Path:
    """The same directory with other fields in its config.json."""
    raw = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**raw, **fields}))
    return directory


def tokens() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, VOCAB, (LANES, LENGTH), generator=generator)
    return ids, (torch.arange(LENGTH) > 6).long().expand(LANES, -1)


def inputs(encoder: Encoder, ids: Tensor, types: Tensor) -> Tensor:
    return encoder.words(ids) + encoder.places(torch.arange(ids.shape[1])) + encoder.types(types)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_it_is_transformers_model(tmp_path: Path, kind: type[PreTrainedModel], training: bool) -> None:
    """With gradients attention is written out; without them it is PyTorch's fused one."""
    model = theirs(kind)
    model.save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path)
    assert not encoder.training
    ids, types = tokens()
    filled = torch.arange(LENGTH) < torch.tensor([[17], [9], [1]])
    with torch.set_grad_enabled(training):
        found = encoder(inputs(encoder, ids, types), padding_bias(filled, torch.float32))
    body = model if kind is BertModel else model.bert
    with torch.no_grad():
        wanted = body(input_ids=ids, token_type_ids=types, attention_mask=filled.long()).last_hidden_state
    assert wanted.std() > 0.5
    torch.testing.assert_close(found[filled], wanted[filled], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [MPNetModel, MPNetForMaskedLM])
def test_it_is_transformers_mpnet(tmp_path: Path, kind: type[PreTrainedModel], training: bool) -> None:
    """At lengths whose distances have a row each, share one, and are beyond the last."""
    length = 200
    torch.manual_seed(3)
    model = kind(MPNetConfig(**{**SIZES, "max_position_embeddings": length + 2, "initializer_range": 0.2})).eval()
    model.save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path)
    assert encoder.places.num_embeddings == length
    ids = torch.randint(2, VOCAB, (LANES, length), generator=torch.Generator().manual_seed(0))
    filled = torch.arange(length) < torch.tensor([[length], [150], [1]])
    with torch.set_grad_enabled(training):
        found = encoder(inputs(encoder, ids, torch.zeros_like(ids)), padding_bias(filled, torch.float32))
    body = model if kind is MPNetModel else model.mpnet
    with torch.no_grad():
        wanted = body(input_ids=ids, attention_mask=filled.long()).last_hidden_state
    assert wanted.std() > 0.5
    torch.testing.assert_close(found[filled], wanted[filled], rtol=1e-5, atol=1e-5)


def test_where_a_token_stands_decides_how_far_it_is(tmp_path: Path) -> None:
    """The same places in another order are the same scores in that order; BERT's form does not look at them."""
    torch.manual_seed(3)
    MPNetModel(MPNetConfig(**SIZES)).save_pretrained(tmp_path / "mpnet")
    theirs().save_pretrained(tmp_path / "bert")
    places = torch.tensor([0, 300, 1, 2, 64, 65])
    for form in ("mpnet", "bert"):
        encoder = load_encoder(tmp_path / form)
        told = torch.randn(1, 6, 64, generator=torch.Generator().manual_seed(0))
        turned = torch.tensor([5, 2, 0, 4, 1, 3])
        there = encoder(told, places=places)
        torch.testing.assert_close(encoder(told[:, turned], places=places[turned]), there[:, turned])
        assert torch.allclose(encoder(told), there) == (form == "bert")


def test_gradients_are_transformers_gradients(directory: Path) -> None:
    encoder, model = load_encoder(directory), theirs()
    ids, types = tokens()
    encoder(inputs(encoder, ids, types)).square().mean().backward()
    model(input_ids=ids, token_type_ids=types).last_hidden_state.square().mean().backward()
    wanted = model.encoder.layer[0].attention.self
    joined = torch.cat([part.weight.grad for part in (wanted.query, wanted.key, wanted.value)])
    torch.testing.assert_close(encoder.layers[0].qkv.weight.grad, joined, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_padded_rows_are_rows_without_padding(directory: Path, training: bool) -> None:
    encoder = load_encoder(directory)
    ids, types = tokens()
    with torch.set_grad_enabled(training):
        laid = inputs(encoder, ids, types)
        for length in (1, 5, LENGTH):
            filled = (torch.arange(LENGTH) < length).expand(LANES, -1)
            padded = encoder(laid, padding_bias(filled, torch.float32))[:, :length]
            torch.testing.assert_close(padded, encoder(laid[:, :length]), rtol=1e-5, atol=1e-5)
            garbage = laid.masked_fill(~filled[..., None], 7.0)
            torch.testing.assert_close(encoder(garbage, padding_bias(filled, torch.float32))[:, :length], padded)


def test_the_bias_lets_all_but_padding_through() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        bias = padding_bias(torch.tensor([[True, False]]), dtype)
        assert (bias.shape, bias.dtype) == ((1, 1, 1, 2), dtype)
        assert bias.flatten().tolist() == [0.0, torch.finfo(dtype).min]


# ---------------------------------------------------------------------------- refusals


def refusal(directory: Path, *expected: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_encoder(directory)
    for text in expected:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "roberta"}, "model_type 'bert' or 'mpnet'"),
        ({"model_type": "mpnet"}, "cannot be built"),
        ({"relative_attention_num_buckets": 32}, "cannot be built"),
        ({"model_type": "mpnet", "relative_attention_num_buckets": 33}, "cannot be built"),
        ({"model_type": "mpnet", "relative_attention_num_buckets": 32}, "encoder.relative_attention_bias"),
        ({"max_position_embeddings": True}, "cannot be built"),
        ({"hidden_act": "relu"}, "hidden_act 'gelu'"),
        ({"num_hidden_layers": 3}, "encoder.layer.2."),
        ({"vocab_size": 121}, "words.weight has shape [120, 64]"),
        ({"intermediate_size": 95}, "intermediate"),
        ({"hidden_size": "64"}, "cannot be built"),
        ({"hidden_size": 0}, "cannot be built"),
        ({"hidden_size": None}, "cannot be built"),
        ({"num_hidden_layers": True}, "cannot be built"),
        ({"num_attention_heads": 3}, "cannot be built"),
        ({"vocab_size": 1 << 40}, "cannot be built"),
        ({"layer_norm_eps": "1e-12"}, "cannot be built"),
        ({"layer_norm_eps": float("nan")}, "cannot be built"),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit(directory: Path, fields: dict[str, Any], expected: str) -> None:
    refusal(changed(directory, **fields), expected)


@pytest.mark.parametrize("content", [None, "", "[]", "5", "{}", '{"model_type": "bert"}', "[" * 100_000])
def test_a_description_that_is_none(directory: Path, content: str | None) -> None:
    path = directory / "config.json"
    path.unlink() if content is None else path.write_text(content)
    refusal(directory, str(path), "does not describe an encoder")


def test_a_description_that_says_no_more_than_it_must(directory: Path) -> None:
    """Old models say nothing of types and of the norm: they have two, and BERT's."""
    raw = json.loads((directory / "config.json").read_text())
    for name in ("type_vocab_size", "layer_norm_eps", "hidden_act"):
        del raw[name]
    (directory / "config.json").write_text(json.dumps(raw))
    assert EncoderConfig.of(directory).type_vocab_size == 2
    load_encoder(directory)


@pytest.mark.parametrize(
    "name",
    [
        "embeddings.word_embeddings.weight",
        "embeddings.LayerNorm.bias",
        "encoder.layer.1.attention.self.key.weight",
        "encoder.layer.0.output.dense.bias",
    ],
)
def test_a_weight_that_is_missing(directory: Path, name: str) -> None:
    weights = read_weights(directory / "model.safetensors")
    del weights[name]
    write_weights(directory / "model.safetensors", weights)
    refusal(directory, "lack", name)


def test_weights_that_are_missing_or_torn(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refusal(directory, str(path), "truncated")
    path.unlink()
    refusal(directory, str(path), "missing")
