"""A server that is killed in the middle of a document: the next one finishes it, as if nothing had happened."""

import signal

import pytest
from tests.serving import ProcessFactory, Server, ServerProcess, cut, text, wait_for

pytestmark = pytest.mark.faults

DOCUMENT = text(60_000, seed=7)
SIZES = (30_001, 13, 4096)


def _half_read(process: ServerProcess, sid: str) -> None:
    """Wait until some of the accepted text has been committed, and much has not."""

    def under_way() -> bool:
        session = process.look(sid)
        assert session["status"] == "reading", "the document was read before the server could be stopped"
        return int(session["segments"]) > 20

    wait_for(under_way, 60, "some of the text to be read")


@pytest.mark.parametrize(
    ("how", "focus"), [(signal.SIGKILL, ["Where is Mary?", "Where is the garden?"]), (signal.SIGTERM, [])]
)
def test_the_next_process_ends_with_the_same_memory(
    server: Server, start_process: ProcessFactory, how: signal.Signals, focus: list[str]
) -> None:
    other = server.read(DOCUMENT, focus=focus)
    undisturbed, moved = server.state(other), server.http.get(f"/v1/sessions/{other}/movements").json()

    first = start_process().wait_until_ready()
    sid = first.session(focus=focus)
    document = first.open(sid)
    sent = 0
    for piece in cut(DOCUMENT[:50_000], *SIZES):
        assert first.append(document, piece, sent).status_code == 204
        sent += len(piece)
    _half_read(first, sid)
    status = first.stop(how)

    second = start_process().wait_until_ready()
    where = second.http.head(document)
    assert int(where.headers["Upload-Offset"]) == sent, "an acknowledged byte was lost"
    assert second.append(document, DOCUMENT[sent:], sent, complete=True).status_code == 204
    session = second.wait_until_read(sid)

    assert status == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    assert session["accepted_bytes"] == session["read_bytes"] == len(DOCUMENT)
    assert second.state(sid) == undisturbed
    assert second.http.get(f"/v1/sessions/{sid}/movements").json() == moved
