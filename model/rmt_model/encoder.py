"""A bidirectional encoder of BERT's form, lean: what reading computes, and nothing else.

Order to read on: `span_reader` puts memory around it, `spans` turns its scores into places of the text.

The weights are those of a Hugging Face `BertModel`; query, key and value are one product here. No dropout: the models
are small beside what they read. Source: Devlin et al., arXiv 1810.04805.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmt_model.errors import CheckpointError
from rmt_model.weights import fill, own_weights, read_weights

__all__ = ["Encoder", "EncoderConfig", "load_encoder", "padding_bias"]

_MOST = 1 << 20
_LAYER_NAMES = {
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "output_norm",
}
_EMBEDDING_NAMES = {
    "embeddings.word_embeddings.weight": "words.weight",
    "embeddings.position_embeddings.weight": "places.weight",
    "embeddings.token_type_embeddings.weight": "types.weight",
    "embeddings.LayerNorm.weight": "norm.weight",
    "embeddings.LayerNorm.bias": "norm.bias",
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of an encoder, under the names of a Hugging Face `config.json`."""

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def of(cls, directory: Path) -> Self:
        """Read a Hugging Face model directory's `config.json`.

        Raises:
            CheckpointError: It is missing, damaged, or not of BERT's form.
        """
        path = directory / "config.json"
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if raw["model_type"] != "bert" or raw.get("hidden_act", "gelu") != "gelu":
                raise CheckpointError(f"{path}: an encoder must have model_type 'bert' and hidden_act 'gelu'")
            config = cls(**{field.name: raw[field.name] for field in fields(cls) if field.name in raw})
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path} does not describe an encoder: {error!r}") from error
        if not config.is_possible:
            raise CheckpointError(f"{path} does not describe an encoder: {config} cannot be built")
        return config

    @property
    def is_possible(self) -> bool:
        """Whether all sizes are counts, and the hidden size is a multiple of the heads."""
        *sizes, eps = (getattr(self, field.name) for field in fields(self))
        counts = all(type(size) is int and 0 < size <= _MOST for size in sizes)
        return counts and type(eps) is float and eps > 0 and self.hidden_size % self.num_attention_heads == 0


class Encoder(nn.Module):
    """Vectors in, as many hidden states out, each of which has seen all others."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
        """Final hidden states [rows, L, d].

        Args:
            inputs: The sum of word, place and type vectors, [rows, L, d].
            bias: Added to attention's scores, [rows, 1, 1, L]; see `padding_bias`.
        """
        hidden: Tensor = self.norm(inputs)
        for layer in self.layers:
            hidden = layer(hidden, bias)
        return hidden


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


def load_encoder(directory: Path) -> Encoder:
    """Load a Hugging Face directory of BERT's form, float32, in eval mode; its pooler and heads are left out.

    Raises:
        CheckpointError: Something is missing, damaged, or of another form.
    """
    encoder = Encoder(EncoderConfig.of(directory))
    path = directory / "model.safetensors"
    tensors = read_weights(path, lambda name: _wanted(name.removeprefix("bert.")))
    fill(own_weights(encoder), _fused(tensors, encoder.config), path)
    return encoder.eval()


def _wanted(name: str) -> str | None:
    """An original name that is part of the body; the table of positions is computed, not stored."""
    return name if name.startswith(("embeddings.", "encoder.layer.")) and not name.endswith("position_ids") else None


def _fused(tensors: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """Hugging Face's tensors under this module's names, query, key and value as one."""
    try:
        fused = {own: tensors[theirs] for theirs, own in _EMBEDDING_NAMES.items()}
        for number in range(config.num_hidden_layers):
            prefix = f"encoder.layer.{number}."
            for kind in ("weight", "bias"):
                parts = [tensors[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
                fused[f"layers.{number}.qkv.{kind}"] = torch.cat(parts)
                for theirs, own in _LAYER_NAMES.items():
                    fused[f"layers.{number}.{own}.{kind}"] = tensors[f"{prefix}{theirs}.{kind}"]
    except KeyError as error:
        raise CheckpointError(f"the encoder's weights lack {error}") from error
    return fused
