"""Every route's success, over HTTP."""

from tests.serving import Server, text


def test_a_document_is_read(server: Server) -> None:
    sid = server.read(text(3000))
    session = server.look(sid)
    assert session["read_bytes"] == session["accepted_bytes"] == 3000
    assert server.ask(sid, "Where is Mary?")["mode"] == "recall"
