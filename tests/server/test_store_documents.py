import asyncio
from dataclasses import replace

import pytest

from rmt_server.errors import (
    BackPressureError,
    CompletedUploadError,
    DocumentNotFoundError,
    InconsistentLengthError,
    KeyReusedError,
    OffsetMismatchError,
    SupersededError,
    UploadOpenError,
)
from rmt_server.store import FINISHED_DOCUMENTS, PENDING_DOCUMENTS, Boundary


@pytest.fixture
async def opened(bench):
    """A session with an open document ``d``."""
    await bench.session()
    await bench.store.create_document("t", "s", "d")
    return bench


async def test_a_document_grows_piece_by_piece(opened) -> None:
    first = await opened.append(b"gr\xc3", 0, utf8_tail=b"\xc3")
    assert (first.start, first.offset, first.length, first.complete) == (0, 3, None, False)
    assert first.utf8_tail == b"\xc3"
    last = await opened.append(b"\xbc\xc3\x9fe", 3, complete=True)
    assert (last.offset, last.complete, last.read, last.utf8_tail) == (7, True, False, b"")
    assert last == await opened.store.get_document("t", "s", "d")
    assert await opened.store.read_text("t", "s", 0, 99) == "grüße".encode()
    session = await opened.store.get_session("t", "s")
    assert (session.accepted_bytes, session.unread_bytes, session.documents) == (7, 7, 1)


async def test_documents_follow_one_another(bench) -> None:
    await bench.session()
    await bench.document(b"one", "d")
    second = await bench.document(b"second", "e")
    await bench.document(b"", "f")
    assert (second.start, second.offset) == (3, 6)
    lease = await bench.lease()
    assert await bench.store.boundaries(lease) == [Boundary(3, "d"), Boundary(9, "e"), Boundary(9, "f")]


async def test_one_upload_at_a_time(opened) -> None:
    async with opened.refusal(UploadOpenError) as caught:
        await opened.store.create_document("t", "s", "e")
    assert caught.value.document_id == "d"
    assert caught.value.problem()["document-id"] == "d"


async def test_beginning_it_again_changes_nothing_but_the_writer(opened) -> None:
    now = await opened.append(b"some", 0)
    again = await opened.store.create_document("t", "s", "d", length=4)
    assert again == replace(now, writer=2)
    done = await opened.append(b"", 4, complete=True, writer=2)
    before = opened.dump()
    assert await opened.store.create_document("t", "s", "d", length=9) == done
    assert opened.dump() == before


async def test_beginning_something_else_with_the_same_id_is_a_mistake(bench) -> None:
    await bench.session()
    await bench.store.create_document("t", "s", "d", length=4, asked="this")
    for error, length, asked in ((KeyReusedError, 4, "that"), (InconsistentLengthError, 5, "this")):
        async with bench.refusal(error):
            await bench.store.create_document("t", "s", "d", length, asked)


async def test_only_the_last_writer_writes(opened) -> None:
    await opened.append(b"one", 0)
    assert (await opened.store.take_over("t", "s", "d")).writer == 2
    third = await opened.store.take_over("t", "s", "d", offset=3, length=6, reached=6)
    assert (third.writer, third.offset, third.length) == (3, 3, None), "a length is kept with the first bytes"
    for writer in (1, 2, 4):
        async with opened.refusal(SupersededError) as caught:
            await opened.append(b"two", 3, writer=writer)
        assert caught.value.expected_bytes == 3
    last = await opened.append(b"two", 3, writer=3, length=6, complete=True)
    assert (last.offset, last.length, last.complete) == (6, 6, True)
    async with opened.refusal(SupersededError):
        await opened.append(b"more", 6, writer=1)
    before = opened.dump()
    assert await opened.store.take_over("t", "s", "d") == last, "a complete document has no writer"
    assert opened.dump() == before


async def test_of_many_who_take_over_one_is_left(opened) -> None:
    taken = await asyncio.gather(*(opened.store.take_over("t", "s", "d", offset=0) for _ in range(20)))
    assert sorted(document.writer for document in taken) == list(range(2, 22))
    tried = [opened.append(b"x", 0, writer=document.writer) for document in taken]
    results = await asyncio.gather(*tried, return_exceptions=True)
    assert [isinstance(result, SupersededError) for result in results] == [one.writer != 21 for one in taken]


async def test_who_takes_over_elsewhere_changes_nothing(opened) -> None:
    await opened.append(b"four", 0, length=10)
    for error, place in (
        (OffsetMismatchError, {"offset": 3}),
        (InconsistentLengthError, {"offset": 4, "length": 9}),
        (InconsistentLengthError, {"offset": 4, "reached": 11}),
        (InconsistentLengthError, {"length": 3}),
    ):
        async with opened.refusal(error):
            await opened.store.take_over("t", "s", "d", **place)


async def test_taking_over_does_not_prolong_a_session(opened) -> None:
    before = await opened.store.get_session("t", "s")
    await opened.store.take_over("t", "s", "d")
    assert (await opened.store.get_session("t", "s")).expires_at == before.expires_at
    assert 0 < opened.bare.pttl(opened.keys.documents) <= 60_000


async def test_unknown_documents(opened) -> None:
    for call in (
        opened.append(b"x", 0, "e"),
        opened.store.cancel_document("t", "s", "e"),
        opened.store.get_document("t", "s", "e"),
        opened.store.get_document("t", "other", "d"),
        opened.store.take_over("t", "s", "e"),
    ):
        async with opened.refusal(DocumentNotFoundError):
            await call


@pytest.mark.parametrize("offset", [0, 3, 5, 1 << 40])
async def test_a_wrong_offset(opened, offset) -> None:
    await opened.append(b"four", 0)
    async with opened.refusal(OffsetMismatchError) as caught:
        await opened.append(b"x", offset)
    assert (caught.value.expected_bytes, caught.value.provided_bytes) == (4, offset)


async def test_of_racing_pieces_one_wins(opened) -> None:
    pieces = [bytes([number]) * 1000 for number in range(20)]
    results = await asyncio.gather(*(opened.append(each, 0) for each in pieces), return_exceptions=True)
    (winner,) = [number for number, each in enumerate(results) if not isinstance(each, OffsetMismatchError)]
    assert await opened.store.read_text("t", "s", 0, 99_999) == pieces[winner]


async def test_a_complete_document_takes_nothing(opened) -> None:
    await opened.append(b"four", 0, complete=True)
    for data in (b"x", b""):
        async with opened.refusal(CompletedUploadError):
            await opened.append(data, 4)
    async with opened.refusal(OffsetMismatchError):
        await opened.append(b"four", 0, complete=True)


async def test_a_declared_length_is_kept(bench) -> None:
    await bench.session()
    document = await bench.store.create_document("t", "s", "d", length=4)
    assert document.length == 4
    for data, complete in ((b"fives", False), (b"fives", True), (b"two", True)):
        async with bench.refusal(InconsistentLengthError, "declared 4 bytes"):
            await bench.append(data, 0, complete=complete)
    await bench.append(b"fo", 0)
    async with bench.refusal(InconsistentLengthError):
        await bench.append(b"u", 2, complete=True)
    await bench.append(b"ur", 2)
    await bench.append(b"", 4, complete=True)


async def test_back_pressure_at_the_limit(opened) -> None:
    await opened.append(b"x" * 90, 0, max_unread_bytes=100)
    async with opened.refusal(BackPressureError, "90 of 100"):
        await opened.append(b"x" * 11, 90, max_unread_bytes=100)
    await opened.append(b"x" * 10, 90, max_unread_bytes=100)
    await opened.append(b"", 100, max_unread_bytes=50)
    await opened.read(await opened.lease(), 1)
    async with opened.refusal(BackPressureError, "99 of 100"):
        await opened.append(b"xx", 100, max_unread_bytes=100)
    await opened.append(b"x", 100, max_unread_bytes=100, complete=True)


async def test_cancel_ends_a_document_where_it_stands(opened) -> None:
    await opened.append(b"half", 0)
    closed = await opened.store.cancel_document("t", "s", "d")
    assert (closed.offset, closed.complete) == (4, True)
    async with opened.refusal(SupersededError):
        await opened.append(b" more", 4)
    assert await opened.store.boundaries(await opened.lease()) == [Boundary(4, "d")]
    before = opened.dump()
    assert await opened.store.cancel_document("t", "s", "d") == closed
    assert opened.dump() == before
    assert (await opened.document(b"next", "e")).start == 4


async def test_who_writes_no_more_ends_nothing(opened) -> None:
    await opened.store.take_over("t", "s", "d")
    assert not (await opened.store.cancel_document("t", "s", "d", writer=1)).complete
    assert (await opened.store.cancel_document("t", "s", "d", writer=2)).complete


async def test_waiting_documents_are_bounded(bench) -> None:
    await bench.session()
    for number in range(PENDING_DOCUMENTS):
        await bench.document(b"", f"d{number}")
    async with bench.refusal(BackPressureError, str(PENDING_DOCUMENTS)):
        await bench.store.create_document("t", "s", "e")

    lease = await bench.lease()
    names = [each.document_id for each in await bench.store.boundaries(lease)]
    lease = await bench.read(lease, 0, *names)
    assert (await bench.store.get_document("t", "s", "d0")).read
    await bench.document(b"", "e")
    await bench.read(lease, 0, "e")
    assert bench.bare.hlen("rmt:{t:s}:documents") == FINISHED_DOCUMENTS
    with pytest.raises(DocumentNotFoundError):
        await bench.store.get_document("t", "s", names[0])
    assert (await bench.store.get_document("t", "s", "e")).read
