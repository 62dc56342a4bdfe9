"""LlamaBody: a Llama's body for reading and answering: it computes only what those need.

Reading wants nothing but the last M rows of the last hidden states. So the last layer computes keys and values for the
whole segment, and everything else for those M rows alone; projections that read the same rows are one product;
residuals are added by the product that makes them; and there is neither a mask nor a Python object for each of a
layer's parts.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaModel

from rmt_model.attention import causal_attention
from rmt_model.product import product

__all__ = ["Attend", "LlamaBody"]

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""What queries find in the layer of that number: [rows, L, heads * head], from queries [rows, L, heads, head] and from
keys and values [rows, L, kv heads, head]."""


class LlamaBody:
    """The body of a Llama from input vectors to final hidden states, for inference.

    Attributes:
        layers: How many there are.
        kv_heads: Heads of keys and values.
        head: Width of each.
    """

    @classmethod
    def of(cls, body: Any) -> Self | None:
        """One that computes what `body` does, with its weights; None where that is not a plain Llama."""
        plain = (
            type(body) is LlamaModel
            and body.config.hidden_act == "silu"
            and body.config.rope_parameters["rope_type"] == "default"
            and all(type(part) is nn.Linear and part.bias is None for part in _linears(body))
        )
        return cls(body) if plain else None

    def __init__(self, body: Any) -> None:
        config = body.config
        heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.layers, self.head = len(body.layers), body.layers[0].self_attn.head_dim
        self._before_last = [_Layer(layer, heads, self.kv_heads) for layer in body.layers[:-1]]
        self._last = _LastLayer(body.layers[-1], heads, self.kv_heads)
        self._norm = _Norm(body.norm)
        self._rotations = _Rotations(body.rotary_emb)

    def last_rows(self, inputs: Tensor, rows: int) -> Tensor:
        """Final hidden states of the last rows of whole segments: [lanes, rows, d] from input vectors [lanes, L, d]."""
        lanes, length, width = inputs.shape
        rotation = self._rotations.of(inputs, slice(0, length))
        hidden = inputs.reshape(-1, width).clone()
        for layer in self._before_last:
            hidden = layer.after(hidden, lanes, rotation, _alone)
        return self._norm(self._last.last_rows(hidden, lanes, rows, rotation)).view(lanes, rows, width)

    def hidden(self, inputs: Tensor, positions: slice | Tensor, attend: Attend) -> Tensor:
        """Final hidden states of rows that follow others: [rows, L, d] from input vectors [rows, L, d].

        Args:
            inputs: What is new.
            positions: Where it stands: the same in each row, or [rows, L].
            attend: Looks at what stood before, too.
        """
        rows, _, width = inputs.shape
        rotation = self._rotations.of(inputs, positions)
        hidden = inputs.reshape(-1, width).clone()
        for number, layer in enumerate((*self._before_last, self._last)):
            hidden = layer.after(hidden, rows, rotation, attend, number)
        return self._norm(hidden).view(inputs.shape)


class _Rotation:
    """Rotary position embeddings of some positions: cosines and sines, each [1 or rows, L, 1, head]."""

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        self._cosines, self._sines = cosines, sines

    def __call__(self, vectors: Tensor) -> Tensor:
        """Rotate queries or keys [rows, L, heads, head], of the last positions."""
        count, half = vectors.shape[1], vectors.shape[-1] // 2
        sines = self._sines[:, -count:]
        turned = vectors * self._cosines[:, -count:]
        turned[..., :half].addcmul_(vectors[..., half:], sines[..., half:], value=-1)
        turned[..., half:].addcmul_(vectors[..., :half], sines[..., :half])
        return turned


class _Rotations:
    """Those of all positions that were asked for so far, and some more."""

    def __init__(self, rotary: Any) -> None:
        self._rotary = rotary
        self._cosines = self._sines = torch.empty(0, 0)

    def of(self, like: Tensor, positions: slice | Tensor) -> _Rotation:
        """The rotation of some positions: the same ones in each row, or [rows, L]."""
        largest = positions.stop if isinstance(positions, slice) else int(positions.max()) + 1
        if largest > len(self._cosines):
            known = torch.arange(1 << (largest - 1).bit_length(), device=like.device)
            self._cosines, self._sines = (part[0] for part in self._rotary(like, known[None]))
        rows = (None, positions) if isinstance(positions, slice) else positions
        return _Rotation(self._cosines[rows][:, :, None], self._sines[rows][:, :, None])


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
    """One layer; hidden states are [rows * L, d]."""

    def __init__(self, layer: Any, heads: int, kv_heads: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._heads, self._kv_heads, self._head = heads, kv_heads, attention.head_dim
        self._before_attention, self._before_mlp = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._qkv_weight = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self._qkv = product(self._qkv_weight)
        self._gate_up = product(_joined(mlp.gate_proj, mlp.up_proj))
        self._out, self._down = product(attention.o_proj.weight), product(mlp.down_proj.weight)

    def after(self, hidden: Tensor, rows: int, rotation: _Rotation, attend: Attend, number: int = 0) -> Tensor:
        """Hidden states after this layer, which has that number."""
        vectors = self._qkv(self._before_attention(hidden)).view(rows, -1, self._heads + 2 * self._kv_heads, self._head)
        turned = rotation(vectors[:, :, : self._heads + self._kv_heads])
        queries, keys = turned[:, :, : self._heads], turned[:, :, self._heads :]
        values = vectors[:, :, self._heads + self._kv_heads :]
        return self._with_found(hidden, attend(number, queries, keys, values))

    def _with_found(self, hidden: Tensor, found: Tensor) -> Tensor:
        """Hidden states with what attention found, and what the rest of the layer makes of both."""
        hidden = self._out.added_to(hidden, found.view(len(hidden), -1))
        gate, up = self._gate_up(self._before_mlp(hidden)).chunk(2, dim=-1)
        return self._down.added_to(hidden, functional.silu(gate, inplace=True).mul_(up))


class _LastLayer(_Layer):
    """The last layer, of which reading wants the last rows of each segment only."""

    def __init__(self, layer: Any, heads: int, kv_heads: int) -> None:
        super().__init__(layer, heads, kv_heads)
        width = heads * self._head
        self._q, self._kv = product(self._qkv_weight[:width]), product(self._qkv_weight[width:])

    def last_rows(self, hidden: Tensor, lanes: int, rows: int, rotation: _Rotation) -> Tensor:
        """Hidden states of the last rows of each segment after this layer: [lanes * rows, d]."""
        normed = self._before_attention(hidden)
        keys_values = self._kv(normed).view(lanes, -1, 2 * self._kv_heads, self._head)
        queries = self._q(_last(normed, lanes, rows)).view(lanes, rows, self._heads, self._head)
        keys, values = rotation(keys_values[:, :, : self._kv_heads]), keys_values[:, :, self._kv_heads :]
        return self._with_found(_last(hidden, lanes, rows), causal_attention(rotation(queries), keys, values))


def _alone(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention in a segment before which nothing stands."""
    del number
    return causal_attention(queries, keys, values)


def _last(vectors: Tensor, lanes: int, rows: int) -> Tensor:
    """The last rows of each segment, copied: [lanes * rows, d] from [lanes * L, d]."""
    return vectors.view(lanes, -1, vectors.shape[-1])[:, -rows:].reshape(lanes * rows, -1)


def _linears(body: Any) -> list[nn.Module]:
    parts: list[nn.Module] = []
    for layer in body.layers:
        attention, mlp = layer.self_attn, layer.mlp
        parts += [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        parts += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    return parts


def _joined(*parts: nn.Linear) -> Tensor:
    """One weight for what reads the same rows; the parts' own become views into it."""
    joined = torch.cat([part.weight.detach() for part in parts])
    pieces = torch.split(joined, [part.out_features for part in parts])
    for part, piece in zip(parts, pieces, strict=True):
        part.weight.data = piece
    return joined
