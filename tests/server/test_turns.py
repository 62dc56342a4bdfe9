"""Turns: tenants share by tokens, and so do the sessions of each; whoever comes is not behind, and nobody saves up."""

from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tests.server.obstacles import Throttle
from tests.serving import ServerFactory, text, wait_for

from rmt_model.engine import Engine
from rmt_model.types import LaneSegment
from rmt_server.reading.turns import Turns

SEGMENT = 100


class Text:
    """What turns see of a desk: an endless text in some lanes."""

    _slots: Iterator[int] = iter(range(10**9))

    def __init__(self, tenant: str, lanes: int = 1) -> None:
        self.can_step = True
        self.reading: Any = SimpleNamespace(
            key=(tenant, str(id(self))),
            slots=[next(self._slots) for _ in range(lanes)],
            step_tokens=lanes * SEGMENT,
            next_segments=lambda: ([LaneSegment(slot, []) for slot in self.reading.slots], SEGMENT),
        )


def turns_of(*texts: Any) -> Turns:
    turns = Turns()
    for one in texts:
        turns.add(one)
    return turns


def tokens_served(turns: Turns, steps: int, tokens: int, lanes: int = 1000) -> Counter[Any]:
    """What each text has got after so many steps."""
    served: Counter[Any] = Counter()
    for _ in range(steps):
        for desk in turns.choose(tokens, lanes)[2]:
            served[desk] += desk.reading.step_tokens
    return served


def assert_shares(served: Counter[Any], shares: Sequence[tuple[Sequence[Any], float]], of: float = 1.0) -> None:
    total = sum(served.values())
    for texts, share in shares:
        assert sum(served[one] for one in texts) == pytest.approx(share * of * total, rel=0.05)


def test_a_step_takes_all_that_fit_and_each_once() -> None:
    texts = [Text("a", lanes) for lanes in (1, 3, 2, 1)]
    batch, tokens, desks = turns_of(*texts).choose(7 * SEGMENT, 100)
    assert [row.slot for row in batch] == [slot for one in texts for slot in one.reading.slots]
    assert (desks, tokens) == (texts, 4 * SEGMENT)


@pytest.mark.parametrize(("tokens", "lanes"), [(4 * SEGMENT, 100), (100 * SEGMENT, 4)])
def test_what_does_not_fit_is_the_first_of_the_next_step(tokens: int, lanes: int) -> None:
    first, wide, last = Text("a", 2), Text("a", 3), Text("a", 1)
    turns = turns_of(first, wide, last)
    assert turns.choose(tokens, lanes)[2] == [first]
    assert turns.choose(tokens, lanes)[2] == [wide, last]


def test_the_first_always_fits() -> None:
    wide = Text("a", 16)
    assert turns_of(wide).choose(SEGMENT, 1)[2] == [wide]


@pytest.mark.parametrize("tokens", [SEGMENT, 2 * SEGMENT, 5 * SEGMENT])
def test_sessions_share_by_tokens_however_many_lanes_they_have(tokens: int) -> None:
    narrow, wide = [Text("a"), Text("a")], Text("a", 8)
    served = tokens_served(turns_of(*narrow, wide), 2000, tokens)
    # In a step that several share, a narrow one gets a segment at most: what it cannot use goes to the wide one.
    assert served[narrow[0]] == pytest.approx(served[narrow[1]], rel=0.02)
    if tokens == SEGMENT:
        assert_shares(served, [([one], 1 / 3) for one in (*narrow, wide)])


def test_tenants_share_however_many_sessions_they_have() -> None:
    alone, many = Text("a"), [Text("b") for _ in range(9)]
    assert_shares(tokens_served(turns_of(*many, alone), 2000, SEGMENT), [([alone], 1 / 2), (many, 1 / 2)])
    served = tokens_served(turns_of(*many, alone), 2000, SEGMENT)
    assert max(served[one] for one in many) - min(served[one] for one in many) <= SEGMENT


def test_who_comes_is_served_at_once_and_does_not_displace_the_others() -> None:
    old = [Text("a"), Text("a")]
    turns = turns_of(*old)
    tokens_served(turns, 1000, SEGMENT)
    new = Text("a")
    turns.add(new)  # type: ignore[arg-type]
    assert new in tokens_served(turns, 3, SEGMENT)
    assert_shares(tokens_served(turns, 999, SEGMENT), [([one], 1 / 3) for one in (*old, new)])


def test_who_has_just_come_has_its_first_step_alone_and_the_next_is_for_everybody() -> None:
    old, news = [Text("a"), Text("a")], [Text("a") for _ in range(3)]
    turns = turns_of(*old)
    tokens_served(turns, 10, 10 * SEGMENT)
    for new in news[:2]:
        turns.add(new)  # type: ignore[arg-type]
    assert turns.choose(10 * SEGMENT, 100)[2] == news[:2]
    turns.add(news[2])  # type: ignore[arg-type]
    assert set(turns.choose(10 * SEGMENT, 100)[2]) == {*old, *news}
    assert set(turns.choose(10 * SEGMENT, 100)[2]) == {*old, *news}


def test_newcomers_of_a_tenant_that_has_had_more_wait_with_the_others() -> None:
    greedy, modest = [Text("a", 4), Text("a")], Text("b")
    turns = turns_of(greedy[0], modest)
    for _ in range(3):
        turns.choose(10 * SEGMENT, 100)
    turns.add(greedy[1])  # type: ignore[arg-type]
    assert set(turns.choose(10 * SEGMENT, 100)[2]) == {*greedy, modest}


def test_nobody_saves_up_turns_and_nobody_forgets_a_debt_by_pausing() -> None:
    busy, idle, wide = Text("a"), Text("a"), Text("b", 4)
    turns = turns_of(busy, idle, wide)
    idle.can_step = False
    tokens_served(turns, 1000, SEGMENT)
    idle.can_step = True
    assert_shares(tokens_served(turns, 1000, SEGMENT), [([busy], 1 / 4), ([idle], 1 / 4), ([wide], 1 / 2)])
    served: Counter[Any] = Counter()
    for step in range(3000):  # after every step of its own the wide one has nothing for a moment
        served += tokens_served(turns, 1, SEGMENT)
        wide.can_step = step % 3 > 0
    assert served[wide] <= 0.55 * sum(served.values())


def test_one_that_is_gone_is_forgotten() -> None:
    gone, staying = Text("a"), Text("b")
    turns = turns_of(gone, staying)
    tokens_served(turns, 10, 10 * SEGMENT)
    turns.remove(gone)  # type: ignore[arg-type]
    assert set(tokens_served(turns, 10, 10 * SEGMENT)) == {staying}
    turns.remove(staying)  # type: ignore[arg-type]
    assert not turns.any_can_step
    assert turns.choose(SEGMENT, 1) == ([], 0, [])


def test_a_step_reads_as_many_tokens_as_allowed(
    start_server: ServerFactory, engine: Engine, throttle: Throttle
) -> None:
    room = 3 * engine.checkpoint.config.segment_positions
    server = start_server(engine, max_batch_tokens=room, max_unread_bytes=1 << 30)
    throttle.open.clear()
    sids = [server.session() for _ in range(5)]
    for sid in sids:
        server.send(sid, text(50_000))
    throttle.open.set()
    for sid in sids:
        wait_for(lambda sid=sid: server.look(sid)["segments"] > 3, what="some segments to be read")  # type: ignore[misc]
    assert max(throttle.lanes_read) == 3
