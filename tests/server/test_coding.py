"""The coding layer alone: any text, in any pieces, decodes to itself, and nothing decodes to much at once."""

import gzip
import tracemalloc
from itertools import islice

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from rmt_server.errors import DamagedContentError
from rmt_server.intake.coding import CODINGS, STEP_BYTES, Decoder, named_coding

CODE = {"gzip": gzip.compress, "zstd": zstd.compress}
CUTS = st.lists(st.integers(1, 300), min_size=1, max_size=5)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    found, start, turn = [], 0, 0
    while start < len(data):
        found.append(data[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    return found


def decode(coding: str, parts: list[bytes]) -> bytes:
    decoder, text = Decoder(coding), bytearray()
    for part in parts:
        for step in decoder.decode(part):
            assert len(step) <= STEP_BYTES
            text += step
    decoder.finish()
    return bytes(text)


@pytest.mark.parametrize("coding", CODINGS)
@given(members=st.lists(st.binary(max_size=2000), min_size=1, max_size=4), cuts=CUTS, times=st.sampled_from([1, 200]))
def test_any_cut_decodes_to_the_whole(coding: str, members: list[bytes], cuts: list[int], times: int) -> None:
    whole = [member * times for member in members]
    assert decode(coding, pieces(b"".join(map(CODE[coding], whole)), cuts)) == b"".join(whole)


@pytest.mark.parametrize("coding", CODINGS)
@given(text=st.binary(min_size=1, max_size=2000), data=st.data(), cuts=CUTS)
def test_a_cut_off_end_is_noticed_and_what_came_is_a_beginning(
    coding: str, text: bytes, data: st.DataObject, cuts: list[int]
) -> None:
    coded = CODE[coding](text)
    kept = coded[: data.draw(st.integers(1, len(coded) - 1))]
    decoder, found = Decoder(coding), bytearray()
    for part in pieces(kept, cuts):
        for step in decoder.decode(part):
            found += step
    with pytest.raises(DamagedContentError):
        decoder.finish()
    assert text.startswith(found)


@pytest.mark.parametrize("coding", CODINGS)
@given(noise=st.binary(max_size=500), cuts=CUTS, after=st.booleans())
def test_noise_is_decoded_or_refused_and_nothing_else(coding: str, noise: bytes, cuts: list[int], after: bool) -> None:
    stream = CODE[coding](b"text") + noise if after else noise
    try:
        text = decode(coding, pieces(stream, cuts))
    except DamagedContentError:
        return
    assert text.startswith(b"text") or not after


def test_nothing_is_a_stream_of_no_members() -> None:
    assert {decode(coding, []) for coding in CODINGS} == {b""}


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_decoded_a_step_at_a_time(coding: str) -> None:
    bomb = CODE[coding](b"\0" * 200_000_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        steps = [len(step) for step in islice(Decoder(coding).decode(bomb), 500)]
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert sum(steps) > 400 * STEP_BYTES
    assert peak < len(bomb) * 2 + 20 * STEP_BYTES


@pytest.mark.parametrize(
    ("fields", "coding"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["GZIP "], "gzip"),
        (["x-gzip"], "gzip"),
        (["identity", "zstd"], "zstd"),
    ],
)
def test_names_of_codings(fields: list[str], coding: str | None) -> None:
    assert named_coding(fields) == coding
