"""Movements: columns are what a plain list of all segments would give, however many there are."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from rmt_model.errors import StateError
from rmt_model.movements import MOST_COLUMNS, Movements

LANES, M = 2, 3
DIGEST = "ab" * 32
FIRST_SEGMENT, FIRST_BYTE = 7, 7000


def moved(segments: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).gamma(0.5, size=(segments, LANES, M)).astype(np.float32)


def read(every: NDArray[np.float32]) -> Movements:
    movements = Movements(LANES, M, first_segment=FIRST_SEGMENT, first_byte=FIRST_BYTE)
    for number, one in enumerate(every, 1):
        movements.add(FIRST_BYTE + 1000 * number, one)
    return movements


KEPT = read(moved(3)).to_bytes(DIGEST)


@pytest.mark.parametrize(
    ("segments", "each"),
    [
        *((0, 1), (1, 1), (MOST_COLUMNS, 1), (MOST_COLUMNS + 1, 2), (2 * MOST_COLUMNS, 2)),
        *((2 * MOST_COLUMNS + 1, 4), (2 * MOST_COLUMNS + 7, 4), (9 * MOST_COLUMNS - 3, 16)),
    ],
)
def test_a_column_is_the_furthest_of_its_segments(segments: int, each: int) -> None:
    every = moved(segments)
    movements = read(every)
    columns = [every[start : start + each] for start in range(0, segments, each)]
    assert (movements.segments_each, movements.segments_read) == (each, FIRST_SEGMENT + segments)
    assert len(movements.moved) == len(movements.ends) == len(movements.segments) == len(columns) <= MOST_COLUMNS
    ends = np.cumsum([len(column) for column in columns], dtype=int)
    np.testing.assert_array_equal(movements.segments, FIRST_SEGMENT + ends)
    np.testing.assert_array_equal(movements.ends, FIRST_BYTE + 1000 * ends)
    for found, column in zip(movements.moved, columns, strict=True):
        np.testing.assert_array_equal(found, column.max(0).astype(np.float16))


@pytest.mark.parametrize("put_down_after", [0, 1, 300, MOST_COLUMNS, MOST_COLUMNS + 1, 1500])
def test_they_go_on_from_their_bytes(put_down_after: int) -> None:
    every = moved(1600)
    resumed = Movements.from_bytes(read(every[:put_down_after]).to_bytes(DIGEST), DIGEST)
    for number, one in enumerate(every[put_down_after:], put_down_after + 1):
        resumed.add(FIRST_BYTE + 1000 * number, one)
    assert resumed.to_bytes(DIGEST) == read(every).to_bytes(DIGEST)


def test_their_size_is_bounded() -> None:
    sizes = [len(read(moved(times * MOST_COLUMNS)).to_bytes(DIGEST)) for times in (1, 4, 16)]
    assert all(before == after for before, after in pairwise(sizes))
    assert sizes[0] <= MOST_COLUMNS * (8 + 2 * LANES * M) + 80


def test_most_bytes_stay_when_a_segment_is_added() -> None:
    """So that no more than the end has to be written."""
    for segments in (1, 100, MOST_COLUMNS - 1, MOST_COLUMNS + 1, 3 * MOST_COLUMNS):
        before, after = (read(moved(count)).to_bytes(DIGEST) for count in (segments, segments + 1))
        same = next(at for at in range(len(after)) if before[at : at + 1] != after[at : at + 1])
        assert len(after) - same <= 2 * (8 + 2 * LANES * M) + 80


def test_a_movement_without_measure_is_a_number_all_the_same() -> None:
    """A vector that was next to nothing moves by any multiple of that."""
    for moved_by in (1e30, np.inf, np.nan):
        movements = read(np.full((1, LANES, M), moved_by, np.float32))
        assert np.isfinite(movements.moved).all()


@pytest.mark.parametrize("data", [b"", b"nothing", KEPT[:-1], KEPT[1:]])
def test_what_is_damaged_is_said_to_be(data: bytes) -> None:
    with pytest.raises(StateError, match="movements"):
        Movements.from_bytes(data, DIGEST)


def test_those_of_another_text_are_refused() -> None:
    with pytest.raises(StateError, match="another text"):
        Movements.from_bytes(KEPT, "cd" * 32)
