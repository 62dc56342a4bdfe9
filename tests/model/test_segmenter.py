import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmt_model.segmenter import Segmenter

IDS = st.lists(st.integers(0, 9), max_size=60)


@given(chunks=st.lists(IDS), segment_tokens=st.integers(1, 20))
def test_segments_depend_on_the_ids_alone(chunks: list[list[int]], segment_tokens: int) -> None:
    segmenter = Segmenter(segment_tokens)
    segments = [segment for chunk in chunks for segment in segmenter.feed(chunk)]

    ids = tuple(token for chunk in chunks for token in chunk)
    whole = len(ids) // segment_tokens * segment_tokens
    assert segments == [ids[start : start + segment_tokens] for start in range(0, whole, segment_tokens)]
    assert segmenter.pending == ids[whole:]


@given(before=IDS, after=IDS)
def test_goes_on_from_pending_ids(before: list[int], after: list[int]) -> None:
    stopped, unbroken = Segmenter(7), Segmenter(7)
    stopped.feed(before)
    unbroken.feed(before)
    resumed = Segmenter(7, stopped.pending)

    assert resumed.feed(after) == unbroken.feed(after)
    assert resumed.pending == unbroken.pending


def test_pending_is_the_segmenters_own() -> None:
    pending = [1, 2]
    Segmenter(3, pending).feed([3, 4])
    assert pending == [1, 2]


@pytest.mark.parametrize(("segment_tokens", "pending"), [(0, ()), (-1, ()), (2, (1, 2))])
def test_refuses_what_is_no_remainder(segment_tokens: int, pending: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="segment"):
        Segmenter(segment_tokens, pending)
