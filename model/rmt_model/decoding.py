"""Decoding: many answers at once, a token of each at every step, with memory in front and a key-value cache behind."""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.types import Generation, Prompt

__all__ = ["Decoding", "Row"]

_TORN = "\ufffd"
_LEAST_TEMPERATURE = 1e-6


class Decoding:
    """Answers to a batch of prompts while they are decoded from `[memory | prompt]`.

    Making it reads the prompts and chooses their first tokens; each step chooses one more for every answer that has not
    ended. What several prompts to one memory have in common is read once. Positions count from each row's first memory
    vector, and no row sees another's or what pads it, so a prompt is answered as it would be alone.

    Args:
        model: The model; its configuration says which text stops an answer.
        memory: Memories, [memories, M, d].
        prompts: What to answer; `slot` is the number of a memory.
        text_of: Turns token ids into text.
        eos_token_id: The token that ends any text, if the model has one.

    Attributes:
        rows: The answers as they stand, one for each prompt.
    """

    @staticmethod
    def most_cached(prompts: Sequence[Prompt], memory_tokens: int) -> int:
        """For how many tokens, padding and answers included, these prompts in one batch may hold keys and values."""
        own = [(one.context_tokens, len(one.token_ids) - one.context_tokens, one.max_tokens) for one in prompts]
        width: int = memory_tokens + sum(max(column) for column in zip(*own, strict=True))
        return len(prompts) * width

    def __init__(
        self,
        model: RecurrentMemoryTransformer,
        memory: Tensor,
        prompts: Sequence[Prompt],
        text_of: Callable[[Sequence[int]], str],
        eos_token_id: int | None,
    ) -> None:
        self.rows = [Row(prompt, model.config.stop, text_of, eos_token_id) for prompt in prompts]
        self._model = model
        self._decoded = self.rows
        self._chosen = torch.zeros(0, dtype=torch.long)
        if prompts:
            self._prefill(memory, prompts)

    @property
    def held(self) -> int:
        """For how many tokens it may come to hold keys and values from now on."""
        return self.most_cached([row.prompt for row in self._decoded], self._model.config.memory_tokens)

    @property
    def finished(self) -> bool:
        """Whether all answers have ended."""
        return all(row.finished for row in self.rows)

    def step(self) -> None:
        """One more token for every answer that has not ended."""
        if self.finished:
            return
        self._leave_out_finished()
        self._choose(self._cache.extend(list(self._model.embed(self._chosen[:, None]))))

    def _prefill(self, memory: Tensor, prompts: Sequence[Prompt]) -> None:
        """Read the prompts: contexts that several of them share once, then what each has of its own."""
        contexts = [(one.slot, tuple(one.token_ids[: one.context_tokens])) for one in prompts]
        shared = list(dict.fromkeys(contexts))
        places = self.most_cached(prompts, self._model.config.memory_tokens) // len(prompts)
        self._cache = self._model.cache(len(prompts), places)
        if len(shared) == len(prompts):
            self._choose(self._cache.extend([self._preceded(memory, one.slot, one.token_ids) for one in prompts]))
            return
        self._cache.extend([self._preceded(memory, slot, context) for slot, context in shared])
        self._cache.select([shared.index(one) for one in contexts])
        own = [torch.tensor(one.token_ids[one.context_tokens :], device=memory.device) for one in prompts]
        self._choose(self._cache.extend([self._model.embed(ids[None])[0] for ids in own]))

    def _preceded(self, memory: Tensor, slot: int, token_ids: Sequence[int]) -> Tensor:
        """`[memory | tokens]` of one row, [M + L, d]."""
        ids = torch.tensor(token_ids, dtype=torch.long, device=memory.device)
        return self._model.cell.precede(memory[slot][None], self._model.embed(ids[None]))[0]

    def _choose(self, hidden: Tensor) -> None:
        """The next token of every row, from its last hidden state."""
        log_probs = self._model.project(hidden).float().log_softmax(-1)
        best = log_probs.topk(2)
        chosen = best.indices[:, 0].clone()
        drawing = [index for index, row in enumerate(self._decoded) if row.draws]
        if drawing:
            chosen[drawing] = _drawn(log_probs[drawing], [self._decoded[index] for index in drawing])
        other = torch.where(chosen == best.indices[:, 0], best.values[:, 1], best.values[:, 0])
        taken = log_probs.gather(1, chosen[:, None])[:, 0]
        for row, *token in zip(self._decoded, chosen.tolist(), taken.tolist(), other.tolist(), strict=True):
            row.take(*token)
        self._chosen = chosen

    def _leave_out_finished(self) -> None:
        """Go on without the rows that have ended, once there are enough of them to be worth a copy of the cache."""
        kept = [index for index, row in enumerate(self._decoded) if not row.finished]
        if 4 * len(kept) > 3 * len(self._decoded):
            return
        self._cache.select(kept)
        self._chosen = self._chosen[kept]
        self._decoded = [self._decoded[index] for index in kept]


class Row:
    """One answer while it is decoded."""

    def __init__(
        self, prompt: Prompt, stop: str, text_of: Callable[[Sequence[int]], str], eos_token_id: int | None
    ) -> None:
        self.prompt = prompt
        self._stops = tuple(text for text in (stop, *prompt.sampling.stop) if text)
        self._text_of = text_of
        self._eos_token_id = eos_token_id
        self._random = random.Random(prompt.sampling.seed)  # noqa: S311 - no secrets
        self._token_ids: list[int] = []
        self._log_prob = 0.0
        self._other_log_prob = -math.inf
        self._visible = ""
        self._stopped = False
        self._dropped = False

    @property
    def finished(self) -> bool:
        """Whether no more tokens are decoded for it."""
        return self._stopped or self._dropped or len(self._token_ids) >= self.prompt.max_tokens

    @property
    def draws(self) -> bool:
        """Whether its tokens are drawn instead of taken for being the likeliest."""
        return self.prompt.sampling.temperature > 0 and not self.finished

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._dropped = True

    def throw(self) -> float:
        """The next number that chance gives it, from 0 to below 1."""
        return self._random.random()

    def take(self, token_id: int, log_prob: float, other_log_prob: float) -> None:
        """Add a token, unless the answer has ended already; the other is the best one that was not taken."""
        if self.finished:
            return
        self._token_ids.append(token_id)
        self._other_log_prob = max(self._other_log_prob, self._log_prob + other_log_prob)
        self._log_prob += log_prob
        if token_id == self._eos_token_id:
            self._stopped = True
            return
        text = self._text_of(self._token_ids)
        blank = len(text) - len(text.lstrip())
        # White space in front of an answer ends none, but may be the beginning of a stop text.
        ends = [at for stop in self._stops if (at := text.find(stop, max(0, blank + 1 - len(stop)))) >= 0]
        self._stopped = bool(ends)
        self._visible = text[: min(ends)] if ends else text

    @property
    def probability(self) -> float:
        """Probability of the tokens so far; it never grows."""
        return math.exp(self._log_prob)

    @property
    def text(self) -> str:
        """The answer as far as it is certain: no further token takes any of this back."""
        if self.finished:
            return self._visible.strip()
        known = self._visible.rstrip(_TORN)
        return known[: len(known) - max(map(partial(_begun, known), self._stops), default=0)].strip()

    def generation(self) -> Generation:
        """The answer as it stands."""
        return Generation(
            text=self._visible.strip(),
            probability=self.probability,
            margin=self.probability - math.exp(self._other_log_prob),
            finish_reason="stop" if self._stopped else "length",
            prompt_tokens=len(self.prompt.token_ids),
            completion_tokens=len(self._token_ids),
        )


def _drawn(log_probs: Tensor, rows: Sequence[Row]) -> Tensor:
    """A token for each row by its probability: from log probabilities [rows, vocabulary], [rows]."""
    samplings = [row.prompt.sampling for row in rows]
    temperature, top_p, thrown = (
        torch.tensor(values, device=log_probs.device)[:, None]
        for values in (
            [max(one.temperature, _LEAST_TEMPERATURE) for one in samplings],
            [one.top_p for one in samplings],
            [row.throw() for row in rows],
        )
    )
    order = (log_probs / temperature).softmax(-1).sort(descending=True)
    reached = order.values.cumsum(-1)
    # The likeliest tokens that reach `top_p` together: all before the first that reaches it, and that one.
    last = (reached < top_p).sum(-1, keepdim=True).clamp(max=reached.shape[-1] - 1)
    index = (reached <= thrown * reached.gather(-1, last)).sum(-1, keepdim=True).minimum(last)
    return order.indices.gather(-1, index)[:, 0]


def _begun(text: str, stop: str) -> int:
    """How many of the last characters of a text may be the beginning of a stop text."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
