"""The digest of a stream: anybody can compute it from the text, whatever the cuts."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmt_model.digest import DIGEST_BLOCK_BYTES, StreamDigest


def from_the_text(data: bytes) -> str:
    """As the docstring says it."""
    chain, size = bytes(32), DIGEST_BLOCK_BYTES
    full = len(data) // size * size
    for start in range(0, full, size):
        chain = hashlib.sha256(chain + data[start : start + size]).digest()
    return hashlib.sha256(chain + data[full:]).hexdigest()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=5000), st.lists(st.integers(0, 5000), max_size=8))
def test_any_cut_gives_the_digest_of_the_text(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    digest = StreamDigest()
    for start, end in pairwise(places):
        digest.update(data[start:end])
        digest = StreamDigest(digest.chain, digest.rest)  # put down and taken up
        assert digest.hexdigest() == from_the_text(data[:end])
        assert len(digest.rest) < DIGEST_BLOCK_BYTES


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 2048, 1 << 16])
def test_sizes_around_a_block(size: int) -> None:
    digest = StreamDigest()
    digest.update(b"x" * size)
    assert digest.hexdigest() == from_the_text(b"x" * size)


def test_another_text_has_another_digest() -> None:
    found = {from_the_text(data) for data in (b"", b"\0", b"\0" * 1024, b"\0" * 1025, b"a" * 1024, b"b" * 1024)}
    assert len(found) == 6
