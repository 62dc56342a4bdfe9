"""Waiting without a network: for a session that is read as long as it takes, for one that is not only so long."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from rmt_client import ConnectionLostError, GaveUpError, Progress, Retry, UnavailableError
from rmt_client.events import Following
from rmt_client.flow import Flow, Outcome, Pause, Read
from rmt_client.models import Answers
from rmt_client.patience import Patience
from rmt_client.waiting import until_answered, until_read
from rmt_client.watch import Watch
from rmt_client.wire import Call, Request, Response, reads

SIZE = 40
POSITION = {"bytes": SIZE, "tokens": 1, "segments": 1, "revision": 1, "digest": ""}
ASKING = Call(Request("POST", "/v1/sessions/s/answers"), reads(Answers.from_json, 200))


def session(read_bytes: int, segments: int = 0) -> dict[str, Any]:
    known: dict[str, Any] = {"id": "s", "model": "m", "created_at": "2026-01-01T00:00:00Z", "expires_at": None}
    known |= {"focus": [], "keep_text": True, "auto_snapshots": 0, "metadata": {}, "digest": "", "accepted_bytes": SIZE}
    known |= dict.fromkeys(("tokens", "state_bytes", "revision", "documents"), 0)
    return known | {
        "status": "idle" if read_bytes == SIZE else "reading",
        "read_bytes": read_bytes,
        "segments": segments,
    }


@dataclass
class World:
    """A clock that only pauses move, and a server whose session is `look(seconds)`; None is a Redis that is away.

    Questions are refused until all is read.
    """

    look: Callable[[float], dict[str, Any] | None]
    retry_after: dict[str, str] = field(default_factory=lambda: {"retry-after": "5"})
    now_s: float = 0.0
    pauses_s: list[float] = field(default_factory=list)
    told: list[Progress] = field(default_factory=list)

    def run(self, flow: Flow[Any]) -> Any:
        try:
            action = next(flow)
            while True:
                action = flow.send(self.perform(action))
        except StopIteration as stop:
            return stop.value

    def perform(self, action: Request | Pause | Read) -> Outcome:
        assert not isinstance(action, Read)
        if isinstance(action, Pause):
            self.pauses_s.append(action.seconds)
            self.now_s += action.seconds
            assert self.now_s < 100_000, "it waits forever"
            return None
        return self.answer(action)

    def answer(self, request: Request) -> Response:
        found = self.look(self.now_s)
        if request.method == "GET" and found:
            return Response(200, content=json.dumps(found).encode())
        if not found or found["status"] == "reading":
            return Response(503, self.retry_after, b'{"detail": "Not now."}')
        return Response(200, content=json.dumps({"answers": [], "position": POSITION}).encode())

    def ask(self, **retry: float) -> Any:
        patience = self.patience(**retry)
        return self.run(until_answered(lambda left_s: ASKING, Watch("s", patience.clock), patience))

    def wait(self, **retry: float) -> Any:
        patience = self.patience(**retry)
        return self.run(until_read(Watch("s", patience.clock, self.told.append), patience))

    def patience(self, **retry: float) -> Patience:
        return Patience(Retry(**retry), clock=lambda: self.now_s, jitter=lambda: 1.0)


def reading(seconds_a_byte: float) -> Callable[[float], dict[str, Any]]:
    return lambda now_s: session(min(SIZE, int(now_s / seconds_a_byte)))


def nobody_reads(now_s: float) -> dict[str, Any]:
    return session(10)


def redis_is_away(now_s: float) -> None:
    return None


@pytest.mark.parametrize("look", [nobody_reads, redis_is_away])
@pytest.mark.parametrize("retry_after", [{"retry-after": "5"}, {}])
def test_asking_is_given_up_where_nobody_reads(look: Any, retry_after: dict[str, str]) -> None:
    world = World(look, retry_after)
    with pytest.raises(GaveUpError, match=r"Gave up after 300 seconds of trying again: Not now\.") as given_up:
        world.ask()
    assert isinstance(given_up.value.__cause__, UnavailableError)
    assert world.now_s == pytest.approx(300)
    *pauses_s, _ = world.pauses_s
    assert pauses_s == sorted(pauses_s)
    assert (pauses_s[0], pauses_s[-1]) == (5.0 if retry_after else 0.2, 10.0)


@pytest.mark.parametrize("retry_after", [{"retry-after": "5"}, {}])
def test_asking_waits_for_a_session_that_is_read_slowly(retry_after: dict[str, str]) -> None:
    world = World(reading(seconds_a_byte=250), retry_after)
    assert world.ask().position.bytes == SIZE
    assert 250 * SIZE <= world.now_s <= 250 * SIZE + 10


def test_waiting_is_given_up_where_nobody_reads() -> None:
    world = World(nobody_reads)
    with pytest.raises(GaveUpError, match=r"Gave up after 300 seconds .* Session s stands still at byte 10\."):
        world.wait()
    assert 330 <= world.now_s <= 342
    assert [told.problem for told in world.told][-1] == "Session s stands still at byte 10."
    changes = [told.problem for before, told in zip(world.told, world.told[1:], strict=False) if before != told]
    assert len(changes) == 1, "the listener is told once"


def test_waiting_goes_on_while_a_session_is_read_slowly() -> None:
    world = World(reading(seconds_a_byte=250))
    assert world.wait().read_bytes == SIZE
    assert 250 * SIZE <= world.now_s <= 250 * SIZE + 10
    assert world.told[-1].problem == ""


def test_segments_are_progress_too() -> None:
    """The last bytes have become tokens, and are read into the memory segment by segment."""

    def look(now_s: float) -> dict[str, Any]:
        segments = int(now_s / 200)
        return session(SIZE, segments) | {"status": "idle" if segments == 5 else "reading"}

    assert World(look).wait().segments == 5


def test_a_rest_between_two_looks_is_no_failure() -> None:
    """Who wants no second try after a failure waits for a reader all the same."""
    assert World(reading(seconds_a_byte=20)).wait(give_up_s=0).read_bytes == SIZE


def test_a_sign_of_life_ends_a_series_of_failures_and_an_error_does_not() -> None:
    """Of a session that is followed: a quiet one is not given up at its second cut, a Redis that is away is."""
    world, lost = World(redis_is_away), ConnectionLostError("Cut.")
    patience = world.patience(give_up_s=10)
    following = Following("s", "1-0", patience)
    world.run(patience.after(lost))
    world.now_s += 100
    assert following.line(": ping") is None
    world.run(patience.after(lost))
    world.now_s += 100
    for line in ("event: error", "id: 2-0", 'data: {"status": 503, "detail": "Not now."}'):
        assert following.line(line) is None
    with pytest.raises(UnavailableError):
        following.line("")
    with pytest.raises(GaveUpError):
        world.run(patience.after(lost))
