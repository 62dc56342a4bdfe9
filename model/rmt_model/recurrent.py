"""A causal language model with memory: the step over one segment, and the loop over many."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmt_model.cache import Cache, CachePool, PaddedCache, StaticCache
from rmt_model.config import RMTConfig
from rmt_model.llama_body import LlamaBody
from rmt_model.memory_cell import MemoryCell
from rmt_model.product import Product, product

__all__ = ["RecurrentMemoryTransformer"]


class RecurrentMemoryTransformer(nn.Module):
    """Any Hugging Face causal LM, reading a document segment by segment through M memory vectors.

    The backbone's body (everything but the vocabulary projection) is all that reading runs. `inputs_embeds`
    only, positions 0..L-1 in every segment, no padding inside a segment: as the official code does it.

    Attributes:
        lean_body: Computes only what is needed, and nothing that can be trained; see `for_inference`.
    """

    def __init__(self, backbone: PreTrainedModel, config: RMTConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.lean_body: LlamaBody | None = None
        self._vocabulary: Product | None = None
        self._caches = CachePool()
        self.cell = MemoryCell(config.memory_tokens, self.hidden, update=config.update, scale=config.memory_scale)

    def for_inference(self) -> "RecurrentMemoryTransformer":
        """From now on read and answer as fast as the backbone's kind allows, with the weights as they are now."""
        self.eval()
        self.lean_body = LlamaBody.of(self.body)
        projection = self.backbone.get_output_embeddings()
        if self.lean_body is not None and projection.bias is None:
            self._vocabulary = product(projection.weight)
        return self

    @property
    def hidden(self) -> int:
        """Width d of the backbone's hidden states, and so of a memory vector."""
        return int(self.backbone.get_input_embeddings().embedding_dim)

    @property
    def positions(self) -> int | None:
        """Positions that the backbone knows, memory vectors included; None where there is no end."""
        return getattr(self.backbone.config, "max_position_embeddings", None)

    @property
    def body(self) -> nn.Module:
        """The backbone without its vocabulary projection; ends with the final norm."""
        adapted = hasattr(self.backbone, "get_base_model")
        causal_lm = self.backbone.get_base_model() if adapted else self.backbone
        body: nn.Module = getattr(causal_lm, causal_lm.base_model_prefix)
        return body

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings [lanes, L, d] of ids [lanes, L]."""
        vectors: Tensor = self.backbone.get_input_embeddings()(token_ids)
        return vectors

    def project(self, hidden_states: Tensor) -> Tensor:
        """Vocabulary logits of final hidden states."""
        if self._vocabulary is not None:
            rows = hidden_states.reshape(-1, hidden_states.shape[-1])
            return self._vocabulary(rows).view(*hidden_states.shape[:-1], -1)
        logits: Tensor = self.backbone.get_output_embeddings()(hidden_states)
        return logits

    def write(self, memory: Tensor, token_ids: Tensor) -> Tensor:
        """Run one segment and return what it wrote, before the update rule: [lanes, M, d], float32.

        Args:
            memory: Memory before the segment, float32 [lanes, M, d].
            token_ids: The segment, a focus in front included, [lanes, L].
        """
        inputs = self.cell.surround(memory, self.embed(token_ids))
        if self.lean_body is not None:
            return self.cell.written(self.lean_body.last_rows(inputs, self.cell.memory_tokens))
        return self.cell.written(self.body(inputs_embeds=inputs, use_cache=False).last_hidden_state)

    def read(self, memory: Tensor, token_ids: Tensor) -> Tensor:
        """Memory after one segment: [lanes, M, d], from memory [lanes, M, d] and ids [lanes, L]."""
        updated: Tensor = self.cell.update(memory, self.write(memory, token_ids))
        return updated

    def read_all(self, memory: Tensor, segments: Sequence[Tensor], *, bptt_segments: int | None = None) -> Tensor:
        """Memory after all `segments`, each [lanes, L_i].

        Args:
            memory: Memory before the first segment, [lanes, M, d].
            segments: Token ids of each segment.
            bptt_segments: Gradients flow through the last so many segments only, 1 or more; None for all.
        """
        for index, token_ids in enumerate(segments):
            if bptt_segments is not None and 0 < index == len(segments) - bptt_segments:
                memory = memory.detach()
            memory = self.read(memory, token_ids)
        return memory

    def hidden_after(self, memory: Tensor, token_ids: Tensor) -> Tensor:
        """Final hidden states [lanes, L, d] of `[memory | tokens]`, the memory's left out: for answering."""
        inputs = self.cell.precede(memory, self.embed(token_ids))
        hidden: Tensor = self.body(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return hidden[:, self.cell.memory_tokens :]

    def cache(self, rows: int, places: int) -> Cache:
        """Room for so many rows at most to be decoded, each with so many input vectors and what pads it at most."""
        if self.lean_body is not None:
            return StaticCache(self.lean_body, rows, places, self.backbone.get_input_embeddings().weight, self._caches)
        return PaddedCache(self.body, self.positions)

    @property
    def device(self) -> torch.device:
        """Where the memory lives."""
        return self.cell.initial.device
