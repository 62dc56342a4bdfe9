"""Pointers: the best places that a lane has found for its question, kept as one row beside its memory vectors.

A row is float32 [d] and holds `KEPT` pointers, best first, of `FIELDS` numbers each:

    score, start byte / 2^22, start byte % 2^22, length in bytes, number of tokens, their ids (24 at most)

All are whole numbers below 2^24, but for the score, so float32 holds them exactly; no tokens: no pointer. A row lies
on the device with the memory, changes in the same step, and travels in the same state. The ids say the answer's words
where the text is not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmt_model.errors import StateError

__all__ = [
    "BYTE_UNIT",
    "KEPT",
    "LEAST_HIDDEN",
    "MOST_ANSWER_TOKENS",
    "Pointer",
    "best_spans",
    "merged",
    "pointers_of",
    "require_pointers",
]

KEPT = 4
MOST_ANSWER_TOKENS = 24
_HEAD = 5
FIELDS = 32
LEAST_HIDDEN = KEPT * FIELDS
"""A model whose vectors are shorter than this has no room for pointers."""
BYTE_UNIT = 1 << 22
"""Byte offsets are kept in two numbers: how often this, and what is left."""
_MOST = float(1 << 24)
_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Pointer:
    """A place of the text that may answer a question.

    Attributes:
        score: How much likelier the answer begins and ends here than that the segment holds none, in logits.
        start: First byte, in the text of the session.
        end: The byte behind it.
        token_ids: Its tokens.
    """

    score: float
    start: int
    end: int
    token_ids: tuple[int, ...]


def best_spans(
    start: Tensor, end: Tensor, begins: Tensor, ends: Tensor, count: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The best stretches of tokens that do not overlap: score, first and last token, each [lanes, count].

    Args:
        start: Scores of an answer's first token, float32 [lanes, 1 + S]; the first: no answer here.
        end: The same for its last token.
        begins: Tokens that may be an answer's first, bool [lanes, S].
        ends: Tokens that may be its last, bool [lanes, S].
        count: How many.
    """
    length = begins.shape[1]
    nothing = (start[:, :1] + end[:, :1]).unsqueeze(-1)
    first = start[:, 1:].masked_fill(~begins, _NEVER)
    last = end[:, 1:].masked_fill(~ends, _NEVER)
    width = min(MOST_ANSWER_TOKENS, length)
    windows = torch.nn.functional.pad(last, (0, width - 1), value=_NEVER).unfold(1, width, 1)
    scores = first.unsqueeze(-1) + windows - nothing
    places = torch.arange(length, device=start.device)
    behind = places[:, None] + torch.arange(width, device=start.device)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(count):
        best, at = scores.flatten(1).max(1)
        a, b = at // width, at // width + at % width
        found.append((best, a, b))
        overlaps = (places[None, :, None] <= b[:, None, None]) & (behind[None] >= a[:, None, None])
        scores = scores.masked_fill(overlaps, _NEVER)
    score, a, b = (torch.stack(column, 1) for column in zip(*found, strict=True))
    return score, a, b


def merged(
    rows: Tensor,
    spans: tuple[Tensor, Tensor, Tensor],
    segment: Tensor,
    starts: Tensor,
    ends: Tensor,
    start_byte: tuple[Tensor, Tensor],
    asked: Tensor,
) -> Tensor:
    """Rows with the best of their pointers and a segment's spans: float32 [lanes, d].

    Args:
        rows: Rows before the segment, float32 [lanes, d].
        spans: What `best_spans` gave.
        segment: The segment's token ids, [lanes, S].
        starts: First byte of each token, counted from the segment's, [lanes, S].
        ends: The byte behind each token, likewise.
        start_byte: The segment's first byte in the text, over and modulo 2^22, [lanes] each.
        asked: Lanes that have a question, bool [lanes]; the rows of others stay as they are.
    """
    score, first, last = spans
    lanes, count = score.shape
    offset = starts.gather(1, first)
    low = start_byte[1][:, None] + offset
    tokens = (last - first + 1).clamp(1, MOST_ANSWER_TOKENS)
    steps = torch.arange(MOST_ANSWER_TOKENS, device=rows.device)
    places = (first[..., None] + steps).clamp_max(segment.shape[1] - 1)
    ids = segment.gather(1, places.flatten(1)).view(lanes, count, -1) * (steps < tokens[..., None])
    head = (score, start_byte[0][:, None] + low // BYTE_UNIT, low % BYTE_UNIT, ends.gather(1, last) - offset, tokens)
    fresh = torch.cat((torch.stack([one.float() for one in head], -1), ids.float()), -1)
    fresh = torch.nn.functional.pad(fresh, (0, FIELDS - fresh.shape[-1]))
    fresh[..., _HEAD - 1] *= score > _NEVER / 2
    old = rows[:, :LEAST_HIDDEN].view(lanes, KEPT, FIELDS)
    everything = torch.cat((old, fresh), 1)
    rank = everything[..., 0].masked_fill(everything[..., _HEAD - 1] == 0, _NEVER)
    order = rank.sort(dim=1, descending=True, stable=True).indices[:, :KEPT]
    kept = everything.gather(1, order[..., None].expand(-1, -1, FIELDS))
    kept = kept * (kept[..., _HEAD - 1 : _HEAD] > 0)
    packed = torch.nn.functional.pad(kept.flatten(1), (0, rows.shape[1] - LEAST_HIDDEN))
    return torch.where(asked[:, None], packed, rows)


def pointers_of(row: NDArray[np.float32]) -> list[Pointer]:
    """The pointers of a row [d], best first."""
    found = []
    for fields in row[:LEAST_HIDDEN].reshape(KEPT, FIELDS):
        tokens = int(fields[_HEAD - 1])
        if tokens > 0:
            start = int(fields[1]) * BYTE_UNIT + int(fields[2])
            ids = tuple(int(one) for one in fields[_HEAD : _HEAD + tokens])
            found.append(Pointer(float(fields[0]), start, start + int(fields[3]), ids))
    return found


def require_pointers(rows: NDArray[np.float32], text_bytes: int, vocabulary: int) -> None:
    """Raise StateError unless rows [lanes, d] that came from outside point into a text of so many bytes."""
    whole = rows[:, :LEAST_HIDDEN].reshape(-1, FIELDS)[:, 1:]
    if bool((whole != np.floor(whole)).any()) or bool((whole < 0).any()) or bool((whole >= _MOST).any()):
        raise StateError("the state's pointers are damaged: they hold what is no count")
    pointers = [pointer for row in rows for pointer in _checked(row)]
    if any(one.end > text_bytes or max(one.token_ids) >= vocabulary for one in pointers):
        raise StateError(f"the state points beyond its text of {text_bytes} bytes, or beyond the vocabulary")


def _checked(row: NDArray[np.float32]) -> Sequence[Pointer]:
    if bool((row[:LEAST_HIDDEN].reshape(KEPT, FIELDS)[:, _HEAD - 1] > MOST_ANSWER_TOKENS).any()):
        raise StateError("the state's pointers are damaged: an answer has too many tokens")
    return pointers_of(row)
