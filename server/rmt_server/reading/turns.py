"""Turns: whose segment is read next. Tenants share the engine, and within a tenant its sessions do, by tokens."""

from collections import defaultdict
from collections.abc import Collection
from typing import Generic, TypeVar

from rmt_model.types import LaneSegment
from rmt_server.reading.desk import Desk

__all__ = ["Shares", "Turns"]

K = TypeVar("K")


class Turns:
    """Fair queueing: the tenant that has had the fewest tokens is next, with its session that has had the fewest.

    A session of many lanes has its turn less often, for each costs more; what a tenant gets does not depend on how many
    sessions it has. Nothing is held back while there is room in a step: who is alone gets everything.

    Who has just come need not share its first step with those who were there, if its tenant is next: a short document
    is read sooner by nearly that step. The step after one like this is for everybody.
    """

    def __init__(self) -> None:
        self._desks: list[Desk] = []
        self._new: set[Desk] = set()
        self._was_for_new = False
        self._tenants: Shares[str] = Shares()
        self._sessions: dict[str, Shares[Desk]] = defaultdict(Shares)

    def add(self, desk: Desk) -> None:
        """From now on it has its turn."""
        self._desks.append(desk)
        self._new.add(desk)

    def remove(self, desk: Desk) -> None:
        """It has none any more."""
        self._desks.remove(desk)
        self._new.discard(desk)
        tenant = desk.reading.key[0]
        self._sessions[tenant].forget(desk)
        if all(other.reading.key[0] != tenant for other in self._desks):
            del self._sessions[tenant]
            self._tenants.forget(tenant)

    @property
    def any_can_step(self) -> bool:
        """Whether there is anything to read now."""
        return any(desk.can_step for desk in self._desks)

    def choose(self, most_tokens: int, most_lanes: int) -> tuple[list[LaneSegment], int, list[Desk]]:
        """Lanes of the next step, their document tokens, and whose they are.

        The lanes of one session stay together, and the first always fit: a session that is next, and does not fit
        beside those before it, is the first of the next step.

        Args:
            most_tokens: Most tokens in the step, those of focuses and the vectors of memory included.
            most_lanes: Most lanes in it.
        """
        waiting = self._only_new(self._waiting())
        batch: list[LaneSegment] = []
        tokens, desks = 0, list[Desk]()
        while waiting:
            tenant = self._tenants.least_served(waiting)
            desk = self._sessions[tenant].least_served(waiting[tenant])
            cost, lanes = desk.reading.step_tokens, len(desk.reading.slots)
            if desks and (cost > most_tokens or len(batch) + lanes > most_lanes):
                break
            most_tokens -= cost
            self._tenants.serve(tenant, cost)
            self._sessions[tenant].serve(desk, cost)
            self._new.discard(desk)
            rows, length = desk.reading.next_segments()
            batch += rows
            tokens += length
            desks.append(desk)
            waiting[tenant].remove(desk)
            if not waiting[tenant]:
                del waiting[tenant]
        return batch, tokens, desks

    def _waiting(self) -> dict[str, list[Desk]]:
        """Who has something to read, by tenant."""
        waiting: dict[str, list[Desk]] = defaultdict(list)
        for desk in self._desks:
            if desk.can_step:
                waiting[desk.reading.key[0]].append(desk)
        self._tenants.admit(waiting)
        for tenant, desks in waiting.items():
            self._sessions[tenant].admit(desks)
        return waiting

    def _only_new(self, waiting: dict[str, list[Desk]]) -> dict[str, list[Desk]]:
        """Of those who wait, only who has just come, where the next step is for them."""
        new: list[Desk] = []
        if waiting and not self._was_for_new:
            tenant = self._tenants.least_served(waiting)
            new = [desk for desk in waiting[tenant] if desk in self._new]
        self._was_for_new = bool(new)
        return {tenant: new} if new else waiting


class Shares(Generic[K]):
    """How much each of some has been served.

    Who comes, or comes back, begins no lower than the least served of those who have been waiting: nobody saves up
    turns by being idle, and nobody who is new waits until an old one has been overtaken.
    """

    def __init__(self) -> None:
        self._served: dict[K, int] = {}
        self._waiting: frozenset[K] = frozenset()

    def admit(self, waiting: Collection[K]) -> None:
        """These wait now, and no others."""
        staying = [self._served[one] for one in waiting if one in self._waiting]
        level = min(staying, default=0)
        for one in waiting:
            if one not in self._waiting:
                self._served[one] = max(self._served.get(one, level), level)
        self._waiting = frozenset(waiting)

    def least_served(self, among: Collection[K]) -> K:
        """Who is next; of equals, who came first."""
        return min(among, key=self._served.__getitem__)

    def serve(self, one: K, amount: int) -> None:
        """It gets so much."""
        self._served[one] += amount

    def forget(self, one: K) -> None:
        """It is gone."""
        self._served.pop(one, None)
        self._waiting -= {one}
