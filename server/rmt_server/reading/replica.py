"""Replica: this process as one of several on the same Redis, none of which knows the others but by their number."""

import asyncio
import logging
import math
import secrets
from collections.abc import Callable

from rmt_server.errors import StoreUnavailableError
from rmt_server.settings import Settings
from rmt_server.store import Store

__all__ = ["Replica"]

_log = logging.getLogger(__name__)
_SWEEP_S = 120.0
_STORE_PAUSE_S = 1.0
_BEATS_PER_LEASE = 3


class Replica:
    """Says that this process is there, knows its share of the work, and looks for work that was forgotten.

    Attributes:
        owner: What this process signs its leases with.
        beat_s: How often it says that it is there, and renews its leases.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.owner = secrets.token_hex(8)
        self.beat_s = settings.lease_s / _BEATS_PER_LEASE
        self._store = store
        self._settings = settings
        self._replicas = 1

    def share(self, unread_sessions: int) -> int:
        """How many of the sessions that have something to read are for this process: as many as for any other."""
        return min(self._settings.max_readings, max(1, math.ceil(unread_sessions / self._replicas)))

    async def stay(self) -> None:
        """Say again and again that this process is there; one that is silent for a lease's time does not count."""
        while True:
            try:
                self._replicas = await self._store.stay(self.owner, self._settings.lease_s)
            except StoreUnavailableError as error:
                _log.warning("cannot say that this process is there: %s", error)
            await asyncio.sleep(self.beat_s)

    async def leave(self) -> None:
        """Leave the work to the others at once."""
        try:
            await self._store.leave(self.owner)
        except StoreUnavailableError as error:
            _log.warning("this process counts as a replica for another lease's time: %s", error)

    async def sweep(self, found: Callable[[], None]) -> None:
        """Look for forgotten sessions at start, and then now and then, one replica for all.

        It walks over all sessions that there are, so it goes on beside everything else. `found` is called when there
        is something to read.
        """
        due = True
        while True:
            pause_s = _SWEEP_S
            try:
                if due or await self._store.is_my_sweep(self.owner, _SWEEP_S):
                    if await self._store.sweep():
                        found()
                    due = False
            except StoreUnavailableError as error:
                _log.warning("cannot look for forgotten sessions: %s", error)
                pause_s = _STORE_PAUSE_S
            await asyncio.sleep(pause_s)
