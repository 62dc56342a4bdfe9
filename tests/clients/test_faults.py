"""Both clients through a proxy that cuts, loses, repeats and refuses: the bytes are the same."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest

from rmt_client import (
    Client,
    ConnectionLostError,
    GaveUpError,
    NotFoundError,
    Progress,
    RateLimitedError,
    Retry,
    ServerError,
    UnavailableError,
)

from .conftest import API_KEY
from .faulty_proxy import Cut, Damage, Delay, Fault, FaultyProxy, LoseAnswer, Refuse, Stall, Twice

BYTES = random.Random(7).randbytes(150_000).hex().encode()
FAULTS: dict[str, list[Fault | None]] = {
    "cut in the body": [Cut(1), None, Cut(20_000), Cut(0), Cut(32_768)],
    "lost answer": [LoseAnswer(), None, LoseAnswer(), LoseAnswer()],
    "sent twice": [Twice(), None, Twice()],
    "busy": [Refuse(503), Refuse(429), None, Refuse(502, ""), Refuse(504)],
    "delay": [Delay(0.05), None, Delay(0.2), Delay(0.05)],
    "damage": [Damage(), None, Damage(), Damage()],
    "stall": [Stall(), None, Stall(0), Stall(10_000)],
    "everything": [Cut(100), LoseAnswer(), Refuse(503), Twice(), Cut(32_000), LoseAnswer(), Refuse(429)],
}
IMPATIENT = Retry(give_up_s=20, first_pause_s=0.01, longest_pause_s=0.05, silence_s=0.5)


SMALL: dict[str, list[Fault | None]] = {
    "busy": [Refuse(503), Refuse(429), Refuse(502, "")],
    "lost answer": [LoseAnswer(), LoseAnswer()],
    "stall": [Stall()],
    "cut": [Cut(0)],
}


def any_faults(seed: int, number: int) -> list[Fault | None]:
    """A mix of all faults; the same seed gives the same."""
    source = random.Random(seed)
    kinds: list[Callable[[], Fault | None]] = [
        lambda: None,
        lambda: Cut(source.randrange(40_000)),
        LoseAnswer,
        Twice,
        lambda: Refuse(source.choice([429, 502, 503, 504])),
        lambda: Delay(source.random() * 0.1),
        Damage,
        lambda: Stall(source.choice([None, source.randrange(40_000)])),
    ]
    return [source.choice(kinds)() for _ in range(number)]


def pieces() -> Iterator[bytes]:
    return (BYTES[at : at + 10_007] for at in range(0, len(BYTES), 10_007))


def arrived(rmt: Client, session_id: str) -> tuple[int, str]:
    session = rmt.wait_until_read(session_id)
    return session.accepted_bytes, session.digest


@pytest.fixture(scope="module")
def whole(server_url: str) -> tuple[int, str]:
    """What a session says that was sent everything without any fault."""
    with Client(server_url, API_KEY) as rmt:
        session = rmt.create_session()
        rmt.read(session.id, BYTES)
        return arrived(rmt, session.id)


@pytest.mark.parametrize("source", ["bytes", "stream"])
@pytest.mark.parametrize("faults", FAULTS)
def test_faults_in_sending(
    rmt: Client,
    connect: Callable[..., Client],
    proxy: FaultyProxy,
    whole: tuple[int, str],
    faults: str,
    source: str,
) -> None:
    session = rmt.create_session()
    proxy.plan("PATCH", *FAULTS[faults])
    document = connect(proxy.url, retry=IMPATIENT, chunk_bytes=1 << 15).read(
        session.id, BYTES if source == "bytes" else pieces()
    )
    assert proxy.exhausted
    assert document.offset == len(BYTES)
    assert arrived(rmt, session.id) == whole


@pytest.mark.parametrize("seed", range(3))
def test_a_random_mix_of_all_faults(
    rmt: Client, connect: Callable[..., Client], proxy: FaultyProxy, whole: tuple[int, str], seed: int
) -> None:
    for number, method in enumerate(("POST", "PATCH", "HEAD", "GET")):
        proxy.plan(method, *any_faults(seed * 10 + number, 6 if method == "PATCH" else 2))
    session = rmt.create_session()
    client = connect(proxy.url, retry=IMPATIENT, chunk_bytes=1 << 15)
    assert client.read(session.id, pieces()).offset == len(BYTES)
    assert arrived(rmt, session.id) == whole


def test_a_server_that_falls_silent_is_noticed(connect: Callable[..., Client], proxy: FaultyProxy) -> None:
    client = connect(proxy.url, retry=IMPATIENT)
    session = client.create_session()
    proxy.plan("DELETE", Stall())
    with pytest.raises(ConnectionLostError, match="fell silent"):
        client.delete_session(session.id)
    with pytest.raises(NotFoundError):  # it has got there, but that could not be known
        client.get_session(session.id)


def test_the_last_answer_is_lost(rmt: Client, connect: Callable[..., Client], proxy: FaultyProxy) -> None:
    for fault in (LoseAnswer(), Twice(), Cut(3)):
        session = rmt.create_session()
        proxy.plan("PATCH", fault)
        assert connect(proxy.url).read(session.id, "short").offset == 5
        assert rmt.wait_until_read(session.id).accepted_bytes == 5


@pytest.mark.parametrize("fault", [LoseAnswer(), Twice(), Cut(0), Refuse(503)])
def test_faults_in_opening_open_one_document(rmt: Client, shaky: Client, proxy: FaultyProxy, fault: Fault) -> None:
    session = rmt.create_session()
    proxy.plan("POST", fault)
    shaky.read(session.id, "short")
    after = rmt.get_session(session.id)
    assert (after.documents, after.accepted_bytes) == (1, 5)


def test_faults_in_looking(shaky: Client, proxy: FaultyProxy) -> None:
    session = shaky.create_session()
    proxy.plan("PATCH", LoseAnswer())
    proxy.plan("HEAD", LoseAnswer(), Cut(0), Refuse(503))
    proxy.plan("GET", LoseAnswer(), Refuse(503), Cut(0))
    assert shaky.read(session.id, BYTES).read
    assert proxy.exhausted


def test_the_server_is_away_for_a_while(rmt: Client, shaky: Client, proxy: FaultyProxy, whole: tuple[int, str]) -> None:
    session = rmt.create_session()
    told: list[Progress] = []

    def listen(progress: Progress) -> None:
        told.append(progress)
        if progress.sent_bytes and len(told) < 1000 and not any(p.problem for p in told):
            proxy.down()
            told.append(Progress("", 0, None, 0, 0, problem="down"))
            threading.Timer(0.3, proxy.up).start()

    document = shaky.read(session.id, BYTES, on_progress=listen)
    assert document.read
    assert any("No server answers" in p.problem for p in told)
    assert arrived(rmt, session.id) == whole


def test_giving_up_says_why(connect: Callable[..., Client], proxy: FaultyProxy) -> None:
    rmt = connect(proxy.url, retry=Retry(give_up_s=0.3, first_pause_s=0.01, longest_pause_s=0.05))
    session = rmt.create_session()
    proxy.plan("PATCH", *[Refuse(503)] * 200)
    with pytest.raises(GaveUpError, match=r"Gave up after 0\.3 seconds of trying again") as given_up:
        rmt.read(session.id, "text")
    assert isinstance(given_up.value.__cause__, UnavailableError)
    assert not proxy.exhausted


def test_asking_again_after_a_cut(shaky: Client, proxy: FaultyProxy) -> None:
    session = shaky.create_session()
    proxy.plan("POST", LoseAnswer(), Refuse(503), Refuse(504, ""), Cut(0))
    assert shaky.ask(session.id, "Where?").question == "Where?"
    assert proxy.exhausted


def test_asking_is_given_up_when_the_server_only_refuses(connect: Callable[..., Client], proxy: FaultyProxy) -> None:
    rmt = connect(proxy.url, retry=Retry(give_up_s=0.3, first_pause_s=0.01, longest_pause_s=0.05))
    session = rmt.create_session()
    proxy.plan("POST", *[Refuse(503)] * 200)
    with pytest.raises(GaveUpError, match=r"Gave up after 0\.3 seconds of trying again"):
        rmt.ask(session.id, "Where?")
    assert not proxy.exhausted


def test_a_refusal_from_on_the_way_is_an_error_all_the_same(shaky: Client, proxy: FaultyProxy) -> None:
    proxy.plan("GET", Refuse(500, "X-Request-Id: r-7\r\n"))
    with pytest.raises(ServerError) as refused:
        shaky.get_session("s")
    assert (refused.value.status, refused.value.request_id) == (500, "r-7")
    proxy.plan("GET", Refuse(503))
    assert not shaky.status().ready


@pytest.mark.parametrize("faults", SMALL.values(), ids=list(SMALL))
def test_what_is_safe_is_tried_again(connect: Callable[..., Client], proxy: FaultyProxy, faults: list[Fault]) -> None:
    """Looking at things, and making them: once, though it was asked for twice."""
    rmt = connect(proxy.url, retry=IMPATIENT)
    before = sessions(rmt)
    proxy.plan("POST", *faults)
    session = rmt.create_session()
    assert sessions(rmt) - before == {session.id}
    proxy.plan("GET", *faults)
    assert rmt.get_session(session.id).id == session.id
    rmt.read(session.id, BYTES[:5000])
    snapshot = rmt.create_snapshot(session.id)
    proxy.plan("GET", *faults)
    assert rmt.export_snapshot(snapshot.id)


def sessions(rmt: Client) -> set[str]:
    found: set[str] = set()
    after = None
    while True:
        page = rmt.list_sessions(limit=100, after=after)
        found |= {one.id for one in page.items}
        if (after := page.next) is None:
            return found


def test_snapshots_are_made_though_the_server_is_busy(connect: Callable[..., Client], proxy: FaultyProxy) -> None:
    rmt = connect(proxy.url, retry=IMPATIENT)
    session = rmt.create_session()
    rmt.read(session.id, BYTES[:5000])
    proxy.plan("POST", *SMALL["busy"])
    snapshot = rmt.create_snapshot(session.id)
    assert [one.id for one in rmt.list_snapshots(session.id).items] == [snapshot.id]
    content = rmt.export_snapshot(snapshot.id)
    proxy.plan("POST", *SMALL["busy"])
    assert rmt.import_snapshot(content).id != snapshot.id


def test_what_is_not_safe_is_sent_once(connect: Callable[..., Client], proxy: FaultyProxy) -> None:
    rmt = connect(proxy.url, retry=IMPATIENT)
    session = rmt.create_session()
    proxy.plan("DELETE", Refuse(503))
    with pytest.raises(UnavailableError):
        rmt.delete_session(session.id)
    rmt.delete_session(session.id)


def test_calls_are_given_up_soon_and_at_once_where_that_is_asked_for(
    connect: Callable[..., Client], proxy: FaultyProxy
) -> None:
    rmt = connect(proxy.url, retry=Retry(first_pause_s=0.01, longest_pause_s=0.05, short_s=0.3))
    proxy.plan("GET", *[Refuse(503)] * 1000)
    with pytest.raises(GaveUpError, match=r"after 0\.3 seconds"):
        rmt.list_sessions()
    proxy.plans.clear()
    proxy.plan("GET", Refuse(429, "Retry-After: 3600\r\n"))
    with pytest.raises(RateLimitedError) as refused:
        rmt.list_sessions()
    assert refused.value.retry_after_s == 3600
