"""LlamaBody: a Llama's body for reading: it computes only what the memory needs.

Reading wants nothing but the last M rows of the last hidden states. So the last layer computes keys and values for the
whole segment, and everything else for those M rows alone; projections that read the same rows are one matrix product;
residuals are added by the product that makes them; and there is neither a mask nor a cache nor a Python object for each
of a layer's parts. It computes with the backbone's own weights, which become views into the joint ones.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaModel

__all__ = ["LlamaBody"]

_MOST_ROTATIONS = 64


class LlamaBody:
    """The body of a Llama from input vectors to final hidden states, for inference."""

    @classmethod
    def of(cls, body: Any) -> Self | None:
        """One that computes what `body` does, or None where that is not a plain Llama."""
        plain = (
            type(body) is LlamaModel
            and body.config.hidden_act == "silu"
            and body.config.rope_parameters["rope_type"] == "default"
            and all(type(part) is nn.Linear and part.bias is None for part in _linears(body))
        )
        return cls(body) if plain else None

    def __init__(self, body: Any) -> None:
        config = body.config
        self._layers = [_Layer(layer, config.num_attention_heads, config.num_key_value_heads) for layer in body.layers]
        self._norm = _Norm(body.norm)
        self._rotary = body.rotary_emb
        self._rotations: dict[int, _Rotation] = {}  # by length

    def last_rows(self, inputs: Tensor, rows: int) -> Tensor:
        """The final hidden states of the last rows: [lanes, rows, d] from input vectors [lanes, L, d]."""
        lanes, length, width = inputs.shape
        rotation = self._rotation(inputs, length)
        hidden = inputs.reshape(-1, width).clone()
        for layer in self._layers[:-1]:
            layer.add_to(hidden, lanes, rotation)
        last = self._layers[-1].last_rows(hidden, lanes, rows, rotation)
        return self._norm(last).view(lanes, rows, width)

    def _rotation(self, inputs: Tensor, length: int) -> "_Rotation":
        """What positions 0 to `length` do to queries and keys; kept, for segments have few lengths."""
        if length not in self._rotations:
            if len(self._rotations) >= _MOST_ROTATIONS:
                self._rotations.clear()
            positions = torch.arange(length, device=inputs.device)[None]
            self._rotations[length] = _Rotation(*self._rotary(inputs, positions))
        return self._rotations[length]


class _Rotation:
    """Rotary position embeddings of some positions: cosines and sines, each [1, L, 1, head]."""

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        self._cosines, self._sines = cosines[:, :, None], sines[:, :, None]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Rotate queries or keys [lanes, rows, heads, head], of the last positions."""
        rows, half = vectors.shape[1], vectors.shape[-1] // 2
        sines = self._sines[:, -rows:]
        turned = vectors * self._cosines[:, -rows:]
        turned[..., :half].addcmul_(vectors[..., half:], sines[..., half:], value=-1)
        turned[..., half:].addcmul_(vectors[..., :half], sines[..., :half])
        return turned


class _Norm:
    """Root mean square norm, in two passes over the vectors."""

    def __init__(self, norm: Any) -> None:
        self._weight: Tensor = norm.weight
        self._epsilon: float = norm.variance_epsilon

    def __call__(self, vectors: Tensor) -> Tensor:
        """Vectors [..., d] with a mean square of 1, times the weight."""
        length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=torch.float32)
        scale = length.square_().div_(vectors.shape[-1]).add_(self._epsilon).rsqrt_()
        return (vectors * scale.to(vectors.dtype)).mul_(self._weight)


class _Layer:
    """One layer; hidden states are [lanes * L, d]."""

    def __init__(self, layer: Any, heads: int, kv_heads: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._heads, self._kv_heads, self._head = heads, kv_heads, attention.head_dim
        self._before_attention, self._before_mlp = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._qkv = _joined((attention.q_proj, attention.k_proj, attention.v_proj))
        self._gate_up = _joined((mlp.gate_proj, mlp.up_proj))
        self._out, self._down = attention.o_proj.weight, mlp.down_proj.weight

    def add_to(self, hidden: Tensor, lanes: int, rotation: _Rotation) -> None:
        """Add what the layer finds to the hidden states of whole segments."""
        vectors = functional.linear(self._before_attention(hidden), self._qkv)
        vectors = vectors.view(lanes, -1, self._heads + 2 * self._kv_heads, self._head)
        turned = rotation(vectors[:, :, : self._heads + self._kv_heads])
        queries, keys = turned[:, :, : self._heads], turned[:, :, self._heads :]
        values = vectors[:, :, self._heads + self._kv_heads :]
        self._attend(hidden, queries, keys, values, None)
        self._add_mlp(hidden)

    def last_rows(self, hidden: Tensor, lanes: int, rows: int, rotation: _Rotation) -> Tensor:
        """The hidden states of the last rows of each segment after this layer: [lanes * rows, d]."""
        width = self._heads * self._head
        normed = self._before_attention(hidden)
        others = functional.linear(normed, self._qkv[width:]).view(lanes, -1, 2 * self._kv_heads, self._head)
        last = normed.view(lanes, -1, normed.shape[-1])[:, -rows:]
        queries = rotation(functional.linear(last, self._qkv[:width]).view(lanes, rows, self._heads, self._head))
        keys, values = rotation(others[:, :, : self._kv_heads]), others[:, :, self._kv_heads :]
        length = keys.shape[1]
        seen = torch.ones(rows, length, dtype=torch.bool, device=hidden.device).tril(length - rows)
        found = hidden.view(lanes, -1, hidden.shape[-1])[:, -rows:].reshape(lanes * rows, -1)
        self._attend(found, queries, keys, values, seen)
        self._add_mlp(found)
        return found

    def _attend(self, hidden: Tensor, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> None:
        found = functional.scaled_dot_product_attention(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            attn_mask=seen,
            is_causal=seen is None,
            enable_gqa=self._heads != self._kv_heads,
        )
        hidden.addmm_(found.transpose(1, 2).reshape(len(hidden), -1), self._out.t())

    def _add_mlp(self, hidden: Tensor) -> None:
        gate, up = functional.linear(self._before_mlp(hidden), self._gate_up).chunk(2, dim=-1)
        hidden.addmm_(functional.silu(gate).mul_(up), self._down.t())


def _linears(body: Any) -> Sequence[nn.Module]:
    parts: list[nn.Module] = []
    for layer in body.layers:
        attention, mlp = layer.self_attn, layer.mlp
        parts += [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        parts += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    return parts


def _joined(parts: Sequence[nn.Linear]) -> Tensor:
    """One weight for what reads the same rows; the parts' own become views into it."""
    joined = torch.cat([part.weight.detach() for part in parts])
    start = 0
    for part in parts:
        stop = start + part.out_features
        part.weight.data = joined[start:stop]
        start = stop
    return joined
