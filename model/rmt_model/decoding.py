"""Greedy decoding of many prompts at once, with memory in front and a key-value cache behind."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.types import Generation, Prompt

__all__ = ["decode_greedy"]


def decode_greedy(
    model: RecurrentMemoryTransformer,
    memory: Tensor,
    prompts: Sequence[Prompt],
    text_of: Callable[[Sequence[int]], str],
    eos_token_id: int | None,
) -> list[Generation]:
    """Decode an answer to each prompt from `[memory | prompt]`.

    Shorter prompts are padded on the left and masked; positions count from each row's first memory vector, so a prompt
    is answered as it would be alone.

    Args:
        model: The model; its configuration says which text stops an answer.
        memory: Each prompt's memory, [prompts, M, d].
        prompts: What to answer.
        text_of: Turns token ids into text.
        eos_token_id: The token that ends any text, if the model has one.
    """
    rows = [_Row(prompt, model.config.stop, text_of, eos_token_id) for prompt in prompts]
    inputs, mask = _left_padded(model, memory, prompts)
    cache, last_position = None, model.positions and model.positions - 1
    while True:
        # A row that is finished goes on beside the others, and stays at the last position that there is.
        positions = (mask.cumsum(1) - 1).clamp(min=0, max=last_position)[:, -inputs.shape[1] :]
        # A mask without padding is left out: attention then takes its fastest path, the one that reading takes.
        output = model.body(
            inputs_embeds=inputs,
            attention_mask=None if bool(mask.all()) else mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        logits = model.project(output.last_hidden_state[:, -1]).float()
        best = logits.argmax(-1)
        log_probs = logits.gather(1, best[:, None])[:, 0] - logits.logsumexp(-1)
        for row, token_id, log_prob in zip(rows, best.tolist(), log_probs.tolist(), strict=True):
            row.take(token_id, log_prob)
        if all(row.finished for row in rows):
            return [row.generation() for row in rows]
        inputs = model.embed(best[:, None])
        mask = torch.cat((mask, mask.new_ones(len(rows), 1)), dim=1)


def _left_padded(model: RecurrentMemoryTransformer, memory: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Input vectors [prompts, L, d] with what is too short padded on the left, and their mask [prompts, L]."""
    ids = [torch.tensor(prompt.token_ids, device=memory.device) for prompt in prompts]
    vectors = [model.cell.precede(lane[None], model.embed(row[None]))[0] for lane, row in zip(memory, ids, strict=True)]
    present = [torch.ones(len(row), dtype=torch.long, device=memory.device) for row in vectors]
    inputs = pad_sequence(vectors, batch_first=True, padding_side="left")
    return inputs, pad_sequence(present, batch_first=True, padding_side="left")


class _Row:
    """One answer while it is decoded."""

    def __init__(
        self, prompt: Prompt, stop: str, text_of: Callable[[Sequence[int]], str], eos_token_id: int | None
    ) -> None:
        self.prompt = prompt
        self.stop = stop
        self.text_of = text_of
        self.eos_token_id = eos_token_id
        self.token_ids: list[int] = []
        self.log_prob = 0.0
        self.text = ""
        self.stopped = False

    @property
    def finished(self) -> bool:
        return self.stopped or len(self.token_ids) >= self.prompt.max_tokens

    def take(self, token_id: int, log_prob: float) -> None:
        """Add a token, unless the answer has ended already."""
        if self.finished:
            return
        self.token_ids.append(token_id)
        self.log_prob += log_prob
        if token_id == self.eos_token_id:
            self.stopped = True
            return
        self.text = self.text_of(self.token_ids)
        self.stopped = self.stop != "" and self.stop in self.text.lstrip()

    def generation(self) -> Generation:
        text = self.text.strip()
        return Generation(
            text=text.split(self.stop)[0].strip() if self.stop else text,
            confidence=math.exp(self.log_prob),
            finish_reason="stop" if self.stopped else "length",
            prompt_tokens=len(self.prompt.token_ids),
            completion_tokens=len(self.token_ids),
        )
