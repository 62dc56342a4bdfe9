"""Pointers: the best spans are those that a search of all finds, and a row keeps the best four, to the byte."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from rmt_model.errors import StateError
from rmt_model.pointers import (
    FIELDS,
    KEPT,
    LEAST_HIDDEN,
    MOST_ANSWER_TOKENS,
    Pointer,
    best_spans,
    merged,
    pointers_of,
    require_pointers,
)

HIDDEN = LEAST_HIDDEN + 6
LEAST = -5e8
"""Below this a score is none: there was no legal span."""
Span = tuple[float, int, int]


def by_search(start: list[float], end: list[float], begins: list[bool], ends: list[bool], count: int) -> list[Span]:
    """The best legal spans of a lane that do not overlap, found by trying all."""
    legal = [
        (start[1 + a] + end[1 + b] - start[0] - end[0], a, b)
        for a in range(len(begins))
        for b in range(a, min(len(begins), a + MOST_ANSWER_TOKENS))
        if begins[a] and ends[b]
    ]
    found: list[Span] = []
    for span in sorted(legal, reverse=True):
        if len(found) < count and all(span[2] < a or span[1] > b for _, a, b in found):
            found.append(span)
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 1 << 30), st.integers(1, 4), st.integers(1, 60), st.integers(1, 4), st.sampled_from([0.1, 0.6, 1.0])
)
def test_the_best_spans_are_those_that_a_search_of_all_finds(
    seed: int, lanes: int, length: int, count: int, share: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    start, end = (torch.randn(lanes, 1 + length, generator=generator) * 4 for _ in range(2))
    begins, ends = (torch.rand(lanes, length, generator=generator) < share for _ in range(2))
    score, first, last = best_spans(start, end, begins, ends, count)
    assert score.shape == first.shape == last.shape == (lanes, count)
    for lane in range(lanes):
        wanted = by_search(*(some[lane].tolist() for some in (start, end, begins, ends)), count)
        found = [
            (s, a, b)
            for s, a, b in zip(score[lane].tolist(), first[lane].tolist(), last[lane].tolist(), strict=True)
            if s > LEAST
        ]
        assert [span[1:] for span in found] == [span[1:] for span in wanted]
        assert [span[0] for span in found] == pytest.approx([span[0] for span in wanted], abs=1e-4)
        assert [span[0] for span in found] == sorted((span[0] for span in found), reverse=True)


def test_a_span_has_at_most_so_many_tokens() -> None:
    """The likeliest first and last tokens are too far apart: together they are no answer."""
    start, end = torch.full((1, 41), -5.0), torch.full((1, 41), -5.0)
    start[0, 1], end[0, 1 + MOST_ANSWER_TOKENS] = 9.0, 9.0
    every = torch.ones(1, 40, dtype=torch.bool)
    score, first, last = best_spans(start, end, every, every, 1)
    assert int(last - first) < MOST_ANSWER_TOKENS
    assert float(score) == 14.0
    end[0, MOST_ANSWER_TOKENS] = 9.0
    score, first, last = best_spans(start, end, every, every, 1)
    assert (float(score), int(first), int(last)) == (28.0, 0, MOST_ANSWER_TOKENS - 1)


# ---------------------------------------------------------------------------- rows


def blank(lanes: int = 1) -> Tensor:
    return torch.zeros(lanes, HIDDEN)


def taken_in(
    rows: Tensor,
    spans: list[list[Span]],
    *,
    start: int = 0,
    segment: Tensor | None = None,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    asked: list[bool] | None = None,
) -> Tensor:
    """Rows after a segment with these spans; by default of 40 tokens of 5 bytes, a byte apart, from token id 100 on."""
    lanes = len(rows)
    places = torch.arange(40).expand(lanes, -1)
    score, first, last = (torch.tensor([[span[i] for span in lane] for lane in spans]) for i in range(3))
    return merged(
        rows,
        (score.float(), first, last),
        100 + places if segment is None else segment,
        6 * places if starts is None else starts,
        6 * places + 5 if ends is None else ends,
        (torch.full((lanes,), start // (1 << 22)), torch.full((lanes,), start % (1 << 22))),
        torch.tensor([True] * lanes if asked is None else asked),
    )


def found(rows: Tensor, lane: int = 0) -> list[Pointer]:
    return pointers_of(rows[lane].numpy())


def test_a_span_becomes_a_pointer() -> None:
    rows = taken_in(blank(), [[(2.5, 3, 5), (-1.5, 10, 10)]], start=1000)
    assert found(rows) == [Pointer(2.5, 1018, 1035, (103, 104, 105)), Pointer(-1.5, 1060, 1065, (110,))]
    require_pointers(rows.numpy(), 1065, 111)
    assert not rows[:, LEAST_HIDDEN:].any()
    assert pointers_of(blank()[0].numpy()) == []


@pytest.mark.parametrize("start", [0, (1 << 22) - 1, 1 << 22, (1 << 32) - 7, (1 << 32) + 5, 123_456_789_012, (1 << 45)])
def test_places_are_exact_however_far_they_are(start: int) -> None:
    rows = taken_in(blank(), [[(0.25, 0, 0), (0.125, 39, 39)]], start=start)
    assert found(rows) == [Pointer(0.25, start, start + 5, (100,)), Pointer(0.125, start + 234, start + 239, (139,))]


def test_a_long_answer_keeps_all_of_its_tokens() -> None:
    rows = taken_in(blank(), [[(1.0, 4, 3 + MOST_ANSWER_TOKENS), (0.5, 39, 39)]])
    assert found(rows)[0].token_ids == tuple(range(104, 104 + MOST_ANSWER_TOKENS))
    assert found(rows)[1].token_ids == (139,)


def test_a_span_that_is_none_is_no_pointer() -> None:
    rows = taken_in(blank(), [[(1.0, 2, 2), (-1e9, 0, 0)]])
    assert [one.score for one in found(rows)] == [1.0]
    assert found(taken_in(blank(), [[(-1e9, 0, 0), (-2e9, 1, 1)]])) == []


def test_a_low_score_is_a_pointer_like_any_other() -> None:
    """It says how unlikely the place is; whether that is an answer is not decided here."""
    assert [one.score for one in found(taken_in(blank(), [[(-40.0, 1, 1), (-50.0, 3, 3)]]))] == [-40.0, -50.0]


SCORES = st.integers(-8, 8).map(float)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.tuples(SCORES, SCORES), st.tuples(SCORES, SCORES)), min_size=1, max_size=8))
def test_the_best_four_are_kept_the_first_found_before_equals(steps: list[Any]) -> None:
    rows, every = blank(2), ([], [])  # type: tuple[Tensor, tuple[list[Pointer], list[Pointer]]]
    for number, step in enumerate(steps):
        start = number * (1 << 30) + 17
        spans = [[(max(scores), 2 * lane, 2 * lane), (min(scores), 20, 22)] for lane, scores in enumerate(step)]
        rows = taken_in(rows, spans, start=start)
        for lane, some in enumerate(spans):
            every[lane].extend(
                Pointer(score, start + 6 * a, start + 6 * b + 5, tuple(range(100 + a, 101 + b))) for score, a, b in some
            )
    for lane, pointers in enumerate(every):
        assert found(rows, lane) == sorted(pointers, key=lambda one: -one.score)[:KEPT]
    require_pointers(rows.numpy(), 8 * (1 << 30) + 300, 200)


def test_lanes_without_a_question_stay_as_they_are() -> None:
    rows = taken_in(blank(3), [[(1.0, 1, 1), (0.5, 3, 3)]] * 3, start=9)
    after = taken_in(rows, [[(2.0, 5, 5), (1.5, 7, 7)]] * 3, start=500, asked=[False, True, False])
    np.testing.assert_array_equal(after[[0, 2]], rows[[0, 2]])
    assert [one.score for one in found(after, 1)] == [2.0, 1.5, 1.0, 0.5]
    odd = torch.full((1, HIDDEN), 0.5)
    np.testing.assert_array_equal(taken_in(odd, [[(1.0, 1, 1), (0.5, 3, 3)]], asked=[False]), odd)


def test_nothing_grows_where_scores_never_change() -> None:
    rows = blank()
    for number in range(20):
        rows = taken_in(rows, [[(1.0, 1, 1), (1.0, 3, 3)]], start=1000 * number)
    assert [one.start for one in found(rows)] == [6, 18, 1006, 1018]


# ---------------------------------------------------------------------------- rows that come from outside


def row(**changed: float) -> NDArray[np.float32]:
    """Rows with one pointer to bytes 1018 to 1035, of which some numbers are others: `f3=7.0` is the fourth one."""
    rows = taken_in(blank(2), [[(2.5, 3, 5), (-1e9, 0, 0)]] * 2, start=1000).numpy().copy()
    for name, value in changed.items():
        rows[1, int(name[1:])] = value
    return rows


def test_rows_that_point_into_the_text_pass() -> None:
    require_pointers(row(), 1035, 106)
    require_pointers(blank(3).numpy(), 0, 1)
    require_pointers(row(f0=-1e30), 1035, 106)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"f1": 1.0}, "beyond its text"),
        ({"f2": 1019.0}, "beyond its text"),
        ({"f3": 18.0}, "beyond its text"),
        ({"f5": 106.0}, "beyond the vocabulary"),
        ({"f7": 16_777_215.0}, "beyond the vocabulary"),
        ({"f4": 25.0}, "too many tokens"),
        ({"f4": 1e6}, "too many tokens"),
        ({"f1": -1.0}, "no count"),
        ({"f2": 0.5}, "no count"),
        ({"f3": float("nan")}, "no count"),
        ({"f4": -2.0}, "no count"),
        ({"f5": float("inf")}, "no count"),
        ({"f5": float(1 << 24)}, "no count"),
        ({"f36": -3.0}, "no count"),
        ({"f31": 0.25}, "no count"),
        ({"f36": 1.0, "f35": 2000.0}, "beyond its text"),
    ],
    ids=str,
)
def test_damage_is_refused(changed: dict[str, float], complaint: str) -> None:
    with pytest.raises(StateError, match=complaint):
        require_pointers(row(**changed), 1035, 106)


def test_a_row_holds_what_it_must() -> None:
    """All of an answer's tokens and its place, beside one another, in the least vector that is allowed."""
    assert 5 + MOST_ANSWER_TOKENS <= FIELDS
    assert KEPT * FIELDS == LEAST_HIDDEN
    for before, after in pairwise(range(0, LEAST_HIDDEN + 1, FIELDS)):
        assert after - before == FIELDS
