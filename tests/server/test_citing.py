"""Where citations stand in large texts: exact for any UTF-8 and any cut, and found without reading what is before.

python -m pytest tests/server/test_citing.py
"""

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import StoreBench, stored_state

from rmt_model.pointers import Pointer
from rmt_server.service.citations import Citer
from rmt_server.store import BLOCK_BYTES, DocumentPlace
from rmt_server.store.text import count_chars

ON_A_REAL_REDIS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LETTERS = ("a", " ", ".", "\n", "ß", "я", "熊", "。", "\u200d", "🐻", "\U0010ffff")
ENDS = st.sampled_from((0, 1, 2, 3, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 7))


def mixed(chars: int, seed: int) -> str:
    """A text of characters of one to four bytes."""
    return "".join(random.Random(seed).choices(LETTERS, k=chars))


async def send(bench: StoreBench, did: str, data: bytes, cuts: list[int]) -> None:
    """A whole document in pieces that end anywhere."""
    await bench.store.create_document("t", "s", did)
    for start, stop in pairwise(sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})):
        await bench.append(data[start:stop], start, did)
    await bench.append(b"", len(data), did, complete=True)


async def place_of(bench: StoreBench, did: str) -> DocumentPlace:
    return next(one for one in await bench.store.document_places("t", "s") if one.id == did)


@given(st.text())
def test_characters_are_counted_by_their_first_bytes(text: str) -> None:
    assert count_chars(text.encode(errors="replace")) == len(text)


@ON_A_REAL_REDIS
@given(
    origin=st.sampled_from((0, 5, 1 << 40)),
    texts=st.lists(st.tuples(st.integers(0, 90_000), st.lists(st.integers(0, 300_000) | ENDS, max_size=8)), max_size=3),
    data=st.data(),
)
async def test_any_character_of_any_document_has_its_number(
    bench: StoreBench, origin: int, texts: list[tuple[int, list[int]]], data: Any
) -> None:
    """Whatever the cuts, and whatever the documents before."""
    bench.bare.flushall()
    await bench.session(state=stored_state(origin))
    sent = {}
    for number, (chars, cuts) in enumerate(texts):
        sent[f"d{number}"] = mixed(chars, number)
        await send(bench, f"d{number}", sent[f"d{number}"].encode(), cuts)
    for did, text in sent.items():
        place = await place_of(bench, did)
        for _ in range(4):
            char = data.draw(st.integers(0, len(text)))
            byte = place.start + len(text[:char].encode())
            assert await bench.store.char_at("t", "s", place, byte) == char


async def test_an_upload_that_ended_within_a_character_moves_none_of_the_next(bench: StoreBench) -> None:
    await bench.session()
    await bench.store.create_document("t", "s", "torn")
    await bench.append("熊".encode()[:2], 0, "torn", utf8_tail="熊".encode()[:2])
    await bench.store.cancel_document("t", "s", "torn")
    text = mixed(100_000, 1)
    await send(bench, "d", text.encode(), [BLOCK_BYTES + 1])
    place = await place_of(bench, "d")
    for char in (0, 1, 50_000, 99_999):
        assert await bench.store.char_at("t", "s", place, place.start + len(text[:char].encode())) == char


async def test_a_restored_session_counts_anew(bench: StoreBench) -> None:
    await bench.session()
    await bench.document(mixed(100_000, 1).encode())
    size = (await bench.store.get_session("t", "s")).accepted_bytes
    await bench.store.release(await bench.read(await bench.lease(), size, "d"))
    await bench.store.restore("t", "s", stored_state(100))
    text = mixed(100_000, 2)
    await send(bench, "e", text.encode(), [BLOCK_BYTES - 1])
    place = await place_of(bench, "e")
    assert place.start == 100
    assert await bench.store.char_at("t", "s", place, 100 + len(text[:90_000].encode())) == 90_000


COUNTED = ("counted_chars", "counted_bytes")


async def test_sessions_of_older_servers_are_counted_from_the_document_on(bench: StoreBench) -> None:
    await bench.session()
    bench.bare.hdel(bench.keys.session, *COUNTED)
    text = mixed(300_000, 1)
    await bench.document(text.encode())
    place = await place_of(bench, "d")
    assert place.chars_before is None
    assert await bench.store.char_at("t", "s", place, len(text[:299_000].encode())) == 299_000


async def test_an_older_server_that_appends_meanwhile_spoils_no_number(bench: StoreBench) -> None:
    """While servers are replaced one after another, some count and some do not."""
    await bench.session()
    await bench.store.create_document("t", "s", "d")
    pieces, key, offset = [mixed(60_000, seed) for seed in range(6)], bench.keys.session, 0
    for number, piece in enumerate(pieces):
        counted, marks = bench.bare.hmget(key, *COUNTED), bench.bare.hkeys("rmt:{t:s}:text")
        await bench.append(piece.encode(), offset)
        offset += len(piece.encode())
        if number in (1, 3):  # what the older version would have left
            bench.bare.hset(key, mapping=dict(zip(COUNTED, counted, strict=True)))
            new = [name for name in bench.bare.hkeys("rmt:{t:s}:text") if name[:1] == b"c" and name not in marks]
            for name in new:
                bench.bare.hdel("rmt:{t:s}:text", name)
    await bench.append(b"", offset, complete=True)
    text, place = "".join(pieces), await place_of(bench, "d")
    for char in range(0, len(text), 17_001):
        assert await bench.store.char_at("t", "s", place, len(text[:char].encode())) == char
    await bench.document(text.encode(), "e")
    place = await place_of(bench, "e")
    assert place.chars_before is None
    assert await bench.store.char_at("t", "s", place, place.start + len(text[:200_000].encode())) == 200_000


@pytest.fixture
def read_bytes(bench: StoreBench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much text each call reads."""
    read_text, sizes = bench.store.read_text, []

    async def counted(tenant: str, sid: str, start: int, stop: int) -> bytes:
        sizes.append(stop - start)
        return await read_text(tenant, sid, start, stop)

    monkeypatch.setattr(bench.store, "read_text", counted)
    return sizes


async def test_citing_the_end_reads_no_more_of_a_long_document_than_of_a_short_one(
    bench: StoreBench, read_bytes: list[int]
) -> None:
    await bench.session()
    sentence = "Die Bärin wohnt im Grünen – 熊. "
    text = sentence * 100_000
    cuts = list(range(0, len(text.encode()), BLOCK_BYTES))
    await send(bench, "d", text.encode(), cuts)
    session = await bench.store.get_session("t", "s")
    for share in (0.2, 0.5, 0.999):
        char = int(share * 100_000) * len(sentence) + sentence.index("Grünen")
        start = len(text[:char].encode())
        pointer = Pointer(1.0, start, start + len("Grünen".encode()), ())
        read_bytes.clear()
        (one,) = await Citer(bench.store, session).cite([pointer])
        assert text[one.start_char : one.end_char] == one.quote == sentence.strip()
        assert sum(read_bytes) <= 2 * BLOCK_BYTES + 5000


async def test_a_call_looks_once_where_documents_lie_and_again_when_the_text_has_grown(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, document_places = [], bench.store.document_places

    async def counted(tenant: str, sid: str) -> Any:
        looks.append(sid)
        return await document_places(tenant, sid)

    monkeypatch.setattr(bench.store, "document_places", counted)
    await bench.session()
    for did in ("a", "empty", "b"):
        await bench.document(b"" if did == "empty" else b"One key. ", did)
    citer = Citer(bench.store, await bench.store.get_session("t", "s"))
    found = await asyncio.gather(*(citer.cite([Pointer(1.0, at, at + 3, ())]) for at in (0, 9, 4, 13)))
    assert [[one.document_id for one in some] for some in found] == [["a"], ["b"], ["a"], ["b"]]
    assert len(looks) == 1
    await bench.document(b"Two keys.", "c")
    assert [one.document_id for one in await citer.cite([Pointer(1.0, 22, 26, ())])] == ["c"]
    assert len(looks) == 2
