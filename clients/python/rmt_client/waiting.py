"""Operations that wait for the server: until it has read, until it answers."""

from __future__ import annotations

from collections.abc import Callable

from rmt_client import protocol
from rmt_client.errors import RmtError, TransportError
from rmt_client.flow import Flow
from rmt_client.models import Answers, Document, Session
from rmt_client.patience import Patience
from rmt_client.upload import Upload
from rmt_client.watch import Watch
from rmt_client.wire import BUSY, Call

FIRST_LOOK_S = 0.05
LAST_LOOK_S = 1.0
STILL_S = 30.0
"""A reader may rest so long, until its turn comes or the lease of a dead one ends, before that counts as a failure."""
STILL_HINT = "`rmt status` tells whether the server is ready; its log says more."


def read_document(upload: Upload, *, wait: bool) -> Flow[Document]:
    """Sends a document, and with `wait` stays until it is read."""
    document = yield from upload.run()
    if not wait or document.read:
        return document
    yield from until_read(upload.watch, upload.patience, document.start + document.offset)
    call = protocol.get_document(document.session_id, document.id)
    return call.parse((yield from upload.patience.persist(call.request)))


def until_read(watch: Watch, patience: Patience, end_bytes: int | None = None) -> Flow[Session]:
    """Waits until the session has read up to `end_bytes`, or all that is accepted as this begins.

    The last bytes count as read when they have become tokens; they are in the memory when the session is idle.
    A session that reads on is waited for; one that stands still is given up like a server that only fails.
    """
    call, look_s, moved_s = protocol.get_session(watch.session_id), FIRST_LOOK_S, patience.clock()
    while True:
        session = call.parse((yield from patience.persist(call.request)))
        watch.saw(session)
        if watch.has_read_on():
            patience.moved()
            moved_s = patience.clock()
        if end_bytes is None:
            end_bytes = watch.sent_bytes = watch.total_bytes = session.accepted_bytes
        done = session.read_bytes > end_bytes or (session.read_bytes == end_bytes and session.status == "idle")
        still = not done and patience.clock() - moved_s >= STILL_S
        problem = f"Session {session.id} stands still at byte {session.read_bytes}." if still else ""
        watch.tell(problem)
        if done:
            return session
        yield from patience.after(RmtError(problem, STILL_HINT)) if still else patience.rest(look_s)
        look_s = min(LAST_LOOK_S, look_s * 1.5)


def until_answered(make: Callable[[float | None], Call[Answers]], watch: Watch, patience: Patience) -> Flow[Answers]:
    """Asks until there is an answer; while the session reads on, a refusal means "still reading, ask again".

    Asking changes nothing in the session, so it may be repeated after a cut connection, too.

    Args:
        make: Builds the question for the time that is left, in seconds.
        watch: Tells whether the session reads on.
        patience: The deadline and the policy after failures.
    """
    while True:
        call = make(patience.left_s)
        try:
            response = yield from patience.send(call.request)
        except TransportError as error:
            yield from patience.after(error)
            continue
        if response.status not in BUSY:
            return call.parse(response)
        yield from watch.look()
        if watch.has_read_on():
            patience.moved()
        yield from patience.after(response.problem())
