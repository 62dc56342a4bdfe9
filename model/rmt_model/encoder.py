"""A bidirectional encoder of BERT's or MPNet's form, lean: what reading computes, and nothing else.

Order to read on: `span_reader` puts memory around it, `pointers` turns its scores into places of the text.

The weights are those of a Hugging Face `BertModel` or `MPNetModel`; query, key and value are one product here. MPNet
adds to attention's scores what a learned table says of the distance between two tokens. No dropout: the models are
small beside what they read. Sources: Devlin et al., arXiv 1810.04805; Song et al., arXiv 2004.09297.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmt_model.errors import CheckpointError
from rmt_model.weights import fill, own_weights, read_weights

__all__ = ["ADAPTED_LAYERS", "Encoder", "EncoderConfig", "load_encoder", "padding_bias"]

ADAPTED_LAYERS = ("qkv", "attention_output", "intermediate", "output")
"""Linear layers that an adapter changes."""
_MOST = 1 << 20
_FURTHEST = 128
"""Tokens that are further apart than this all count as equally far."""
_COMMON_NAMES = {
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class _Form:
    """What a family of encoders calls its weights, and where its positions begin."""

    qkv: tuple[str, ...]
    layer: Mapping[str, str]
    body: Mapping[str, str]
    first_position: int = 0


_EMBEDDINGS = {
    "words.weight": "embeddings.word_embeddings.weight",
    "places.weight": "embeddings.position_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
_FORMS = {
    "bert": _Form(
        qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
        layer={
            "attention_output": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            **_COMMON_NAMES,
        },
        body={**_EMBEDDINGS, "types.weight": "embeddings.token_type_embeddings.weight"},
    ),
    "mpnet": _Form(
        qkv=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        layer={"attention_output": "attention.attn.o", "attention_norm": "attention.LayerNorm", **_COMMON_NAMES},
        body={**_EMBEDDINGS, "distances.weight": "encoder.relative_attention_bias.weight"},
        first_position=2,  # those before are padding's
    ),
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of an encoder, under the names of a Hugging Face `config.json`.

    `relative_attention_num_buckets` is 0 where attention does not look at distances; a form without token types gets
    types that say nothing.
    """

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    relative_attention_num_buckets: int = 0
    model_type: str = "bert"

    @classmethod
    def of(cls, directory: Path) -> Self:
        """Read a Hugging Face model directory's `config.json`.

        Raises:
            CheckpointError: It is missing, damaged, or of neither form.
        """
        path = directory / "config.json"
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if raw["model_type"] not in _FORMS or raw.get("hidden_act", "gelu") != "gelu":
                known = " or ".join(map(repr, _FORMS))
                raise CheckpointError(f"{path}: an encoder must have model_type {known} and hidden_act 'gelu'")
            config = cls(**{field.name: raw[field.name] for field in fields(cls) if field.name in raw})
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path} does not describe an encoder: {error!r}") from error
        if not config.is_possible:
            raise CheckpointError(f"{path} does not describe an encoder: {config} cannot be built")
        return config

    @property
    def positions(self) -> int:
        """Places that tokens can have."""
        return self.max_position_embeddings - _FORMS[self.model_type].first_position

    @property
    def is_possible(self) -> bool:
        """Whether all sizes are counts that go with each other."""
        sizes = (getattr(self, field.name) for field in fields(self) if field.type == "int" or field.type is int)
        *counts, buckets = sizes
        return (
            all(type(size) is int and 0 < size <= _MOST for size in counts)
            and type(buckets) is int
            and (buckets == 0) == (self.model_type == "bert")
            and (buckets % 4 == 0 and buckets <= _FURTHEST)
            and type(self.layer_norm_eps) is float
            and self.layer_norm_eps > 0
            and self.positions > 0
            and self.hidden_size % self.num_attention_heads == 0
        )


class Encoder(nn.Module):
    """Vectors in, as many hidden states out, each of which has seen all others."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.positions, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        buckets = config.relative_attention_num_buckets
        self.distances = nn.Embedding(buckets, config.num_attention_heads) if buckets else None
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, inputs: Tensor, bias: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Final hidden states [rows, L, d].

        Args:
            inputs: The sum of word, place and type vectors, [rows, L, d].
            bias: Added to attention's scores, [rows, 1, 1, L]; see `padding_bias`.
            places: Where each token stands, [L], for a form that looks at distances; 0, 1, 2 .. where it is not given.
        """
        if self.distances is not None:
            near = self._distance_bias(torch.arange(inputs.shape[1]) if places is None else places)
            bias = near if bias is None else near + bias
        hidden: Tensor = self.norm(inputs)
        for layer in self.layers:
            hidden = layer(hidden, bias)
        return hidden

    def _distance_bias(self, places: Tensor) -> Tensor:
        """What each head adds to a score for the distance between its tokens, [1, heads, L, L]."""
        assert self.distances is not None  # noqa: S101 - the caller's condition
        places = places.to(self.distances.weight.device)
        buckets = _distance_buckets(places[None, :] - places[:, None], self.distances.num_embeddings)
        return self.distances(buckets).permute(2, 0, 1)[None]  # type: ignore[no-any-return]


class _Layer(nn.Module):
    """Attention and a feed-forward network, each with its residual and a norm behind it."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(size, 3 * size)
        self.attention_output = nn.Linear(size, size)
        self.attention_norm = nn.LayerNorm(size, eps)
        self.intermediate = nn.Linear(size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, size)
        self.output_norm = nn.LayerNorm(size, eps)

    def forward(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        mixed: Tensor = self.attention_norm(hidden + self.attention_output(self._attention(hidden, bias)))
        wide = functional.gelu(self.intermediate(mixed))
        result: Tensor = self.output_norm(mixed + self.output(wide))
        return result

    def _attention(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        rows, length, size = hidden.shape
        shape = (rows, length, 3, self.heads, size // self.heads)
        query, key, value = self.qkv(hidden).view(shape).permute(2, 0, 3, 1, 4)
        if torch.is_grad_enabled() and hidden.device.type == "cpu":
            # PyTorch's fused backward pass takes several times as long in bfloat16 on a CPU.
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
            seen = (scores if bias is None else scores + bias).softmax(-1) @ value
        else:
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        joined: Tensor = seen.transpose(1, 2).reshape(rows, length, size)
        return joined


def padding_bias(filled: Tensor, dtype: torch.dtype) -> Tensor:
    """What keeps attention from places that only pad: [rows, 1, 1, L], from bool [rows, L] that is True elsewhere."""
    lowest = torch.finfo(dtype).min
    return torch.zeros(filled.shape, dtype=dtype, device=filled.device).masked_fill(~filled, lowest)[:, None, None]


def _distance_buckets(ahead: Tensor, buckets: int) -> Tensor:
    """The row of the table for how far ahead a token is, as in T5.

    Half of the rows are for tokens behind. Of either half the first half is for one distance each, the others for
    distances that grow evenly in their logarithm.
    """
    half = buckets // 2
    exact = half // 2
    distance = ahead.abs()
    growth = torch.log(distance.clamp_min(1).float() / exact) / math.log(_FURTHEST / exact)
    far = (exact + (growth * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(ahead > 0, half, 0) + torch.where(distance < exact, distance, far)


def load_encoder(directory: Path) -> Encoder:
    """Load a Hugging Face directory of BERT's or MPNet's form, float32, in eval mode; pooler and heads are left out.

    Raises:
        CheckpointError: Something is missing, damaged, or of another form.
    """
    config = EncoderConfig.of(directory)
    encoder, form = Encoder(config), _FORMS[config.model_type]
    path = directory / "model.safetensors"
    tensors = read_weights(path, lambda name: _wanted(name.removeprefix("bert.").removeprefix("mpnet.")))
    fused = _fused(tensors, form, config.num_hidden_layers)
    fused["places.weight"] = fused["places.weight"][form.first_position :]
    if "types.weight" not in fused:
        fused["types.weight"] = torch.zeros_like(encoder.types.weight)
    fill(own_weights(encoder), fused, path)
    return encoder.eval()


def _wanted(name: str) -> str | None:
    """An original name that is part of the body; the table of positions is computed, not stored."""
    parts = ("embeddings.", "encoder.layer.", "encoder.relative_attention_bias.")
    return name if name.startswith(parts) and not name.endswith("position_ids") else None


def _fused(tensors: Mapping[str, Tensor], form: _Form, layers: int) -> dict[str, Tensor]:
    """Hugging Face's tensors under this module's names, query, key and value as one."""
    try:
        fused = {own: tensors[theirs] for own, theirs in form.body.items()}
        for number in range(layers):
            prefix = f"encoder.layer.{number}."
            for kind in ("weight", "bias"):
                parts = [tensors[f"{prefix}{name}.{kind}"] for name in form.qkv]
                fused[f"layers.{number}.qkv.{kind}"] = torch.cat(parts)
                for own, theirs in form.layer.items():
                    fused[f"layers.{number}.{own}.{kind}"] = tensors[f"{prefix}{theirs}.{kind}"]
    except KeyError as error:
        raise CheckpointError(f"the encoder's weights lack {error}") from error
    return fused
