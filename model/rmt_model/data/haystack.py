"""Hiding a story in other text, as BABILong does: statements in order, at random sentence gaps, the rest untouched."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from rmt_model.data.background import Background
from rmt_model.data.story import Story

__all__ = ["DoesNotFitError", "Hidden", "Layout", "cut_out", "hide"]


class DoesNotFitError(ValueError):
    """A story is longer than the document that it should be hidden in."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A document's token ids, and where the story stands in them.

    Attributes:
        ids: The document.
        spans: Tokens of each statement.
        cut_off: Statements that are not in it, or not wholly.
    """

    ids: list[int]
    spans: tuple[range, ...]
    cut_off: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where statements may stand.

    Attributes:
        length: Tokens of the document.
        reach: Statements begin before this token, where that can be; None: anywhere.
        segment_tokens: Statements that would lie on both sides of a multiple of this are moved behind it; 0: none are.
        moved_share: Share of those that are moved.
        own_lines: Share of the statements that stand on a line of their own.
    """

    length: int
    reach: int | None = None
    segment_tokens: int = 0
    moved_share: float = 0.0
    own_lines: float = 0.0


def hide(
    rng: Random, story: Story, background: Background, encode: Callable[[str], list[int]], layout: Layout
) -> Hidden:
    """A document of exactly `layout.length` tokens with the story's statements in it.

    Args:
        rng: Source of all that is random.
        story: What to hide; if it is not scattered, its statements stay together.
        background: Where the other text is from: one window, in order.
        encode: Text to token ids.
        layout: Where statements may stand.

    Raises:
        DoesNotFitError: The statements are longer than the document.
    """
    lined = [rng.random() < layout.own_lines for _ in story.statements]
    if story.scattered:
        planted = [
            encode(f"\n{one}\n" if line else f" {one}") for one, line in zip(story.statements, lined, strict=True)
        ]
    else:
        planted = [encode(f"{' ' if number else ''}{one}") for number, one in enumerate(story.statements)]
    room = layout.length - sum(map(len, planted))
    if room < 0:
        raise DoesNotFitError(f"statements of {layout.length - room} tokens do not fit into {layout.length}")
    text, is_gap = background.window(rng, layout.length)
    gaps = np.flatnonzero(is_gap).tolist()
    hiding = _Hiding(text.tolist(), gaps, room)
    for tokens, start in zip(planted, _starts(rng, story, layout), strict=True):
        if start is not None:
            hiding.skip_to(start)
            if layout.segment_tokens and story.scattered and rng.random() < layout.moved_share:
                hiding.skip_cut(len(tokens), layout.segment_tokens)
        hiding.put(tokens)
    return hiding.finish(layout.length)


def _starts(rng: Random, story: Story, layout: Layout) -> list[int | None]:
    """Where each statement should begin at the earliest; None: right behind the one before it."""
    together: list[int | None] = [None] * len(story.statements)
    if story.at_start or layout.length == 0:
        return together
    reach = min(layout.reach or layout.length, layout.length)
    if story.scattered:
        return [*sorted(rng.randrange(reach) for _ in story.statements)]
    return [rng.randrange(reach), *together[1:]]


def cut_out(rng: Random, story: Story, encode: Callable[[str], list[int]], length: int, reach: int) -> Hidden:
    """So many tokens in a row of a story without any other text; what is needed for the first question is in it.

    Args:
        rng: Source of all that is random.
        story: A long document.
        encode: Text to token ids.
        length: Tokens to cut out.
        reach: What is needed begins before this token, where that can be.

    Raises:
        DoesNotFitError: The story is shorter than that.
    """
    ids: list[int] = []
    spans: list[range] = []
    for number, statement in enumerate(story.statements):
        tokens = encode(f"{' ' if number else ''}{statement}")
        spans.append(range(len(ids), len(ids) + len(tokens)))
        ids += tokens
    last = len(ids) - length
    if last < 0:
        raise DoesNotFitError(f"{story.name or 'a document'} has {len(ids)} tokens, {length} are asked for")
    needed = [spans[kept.after] for kept in story.asked[0].kept or ()] or [range(rng.randrange(len(ids)), len(ids))]
    first = min(max(0, needed[-1].stop - length, needed[0].start - reach + 1), last)
    start = rng.randint(first, max(first, min(last, needed[0].start)))
    cut = (range(max(0, span.start - start), min(length, span.stop - start)) for span in spans)
    cut_off = (number for number, span in enumerate(spans) if span.start < start or span.stop > start + length)
    return Hidden(ids[start : start + length], tuple(cut), frozenset(cut_off))


class _Hiding:
    """A document while it is put together out of background and statements."""

    def __init__(self, text: Sequence[int], gaps: Sequence[int], room: int) -> None:
        self.text = text
        self.gaps = gaps
        self.room = room
        self.taken = 0
        self.ids: list[int] = []
        self.spans: list[range] = []

    def skip_to(self, start: int) -> None:
        """Background up to the sentence gap at or behind token `start`, as far as all statements still fit."""
        at = min(max(self.taken, self.taken + start - len(self.ids)), self.room)
        index = bisect_left(self.gaps, at)
        if index < len(self.gaps) and self.gaps[index] <= self.room:
            at = self.gaps[index]
        self._take(at)

    def skip_cut(self, tokens: int, segment_tokens: int) -> None:
        """Background up to the next segment, if so many tokens would be cut by its beginning."""
        left = -len(self.ids) % segment_tokens
        if 0 < left < tokens:
            self._take(min(self.taken + left, self.room))

    def put(self, tokens: Sequence[int]) -> None:
        self.spans.append(range(len(self.ids), len(self.ids) + len(tokens)))
        self.ids.extend(tokens)

    def finish(self, length: int) -> Hidden:
        self._take(self.taken + length - len(self.ids))
        return Hidden(self.ids, tuple(self.spans))

    def _take(self, at: int) -> None:
        self.ids.extend(self.text[self.taken : at])
        self.taken = at
