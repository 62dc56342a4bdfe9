"""Searching: passages of a session's text for a query, from all text that was accepted."""

from collections.abc import Sequence

from rmt_server.search.indexes import Found, Indexes
from rmt_server.service.asking import Asking, require_text
from rmt_server.service.listening import NOBODY, Listener
from rmt_server.store import Store

__all__ = ["Searching"]


class Searching:
    """Searches kept text. It needs no model, and changes nothing."""

    def __init__(self, store: Store, asking: Asking, indexes: Indexes) -> None:
        self._store = store
        self._asking = asking
        self._indexes = indexes

    async def search(
        self,
        tenant: str,
        sid: str,
        query: str,
        limit: int,
        documents: Sequence[str] | None = None,
        *,
        wait: bool = False,
        listener: Listener = NOBODY,
    ) -> Found:
        """The passages that match best, the best first; for errors see also `Indexes.find`.

        With ``wait``, first all that was accepted is read into the memory.

        Raises:
            QuestionTooLongError: The query is longer than a question may be.
        """
        self._asking.require_short(query)
        session = await self._store.get_session(tenant, sid)
        require_text(session)
        if wait:
            session = await self._asking.wait_until_read(tenant, sid, listener)
        return await self._indexes.find(session, query, limit, documents)
