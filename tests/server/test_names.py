"""Names of documents: from every way in, cleaned and bounded, and given back wherever a document is described.

python -m pytest tests/server/test_names.py
"""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving import TEXT_PLAIN, Server

from rmt_server.errors import UnprocessableError
from rmt_server.service.idempotency import Creation
from rmt_server.store import Store
from rmt_server.wire.names import document_name, filename_in

TEXT = b"The red key is in the green drawer. The cat sleeps on the warm stove. "
LONGEST = "n" * 200


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("book.txt", "book.txt"),
        ("  Zoë's 本.txt ", "Zoë's 本.txt"),
        ("/home/zoe/../book.txt", "book.txt"),
        ("C:\\Users\\zoe\\book.txt", "book.txt"),
        ("a/b\\c", "c"),
        ("bo\x00o\x1b[31mk\n.txt", "boo[31mk.txt"),
        ("book\u202etxt.exe", "booktxt.exe"),
        ("\u200fone\u200e\u061ctwo", "onetwo"),
        ("one\u2028two", "onetwo"),
        ("👩\u200d🚀.txt", "👩\u200d🚀.txt"),
        (LONGEST, LONGEST),
        ("/far/away/" + LONGEST, LONGEST),
        ("...", "..."),
    ],
)
def test_names_are_cleaned(sent: str, name: str) -> None:
    assert document_name(sent, "file.txt") == document_name(None, sent) == name


UNNAMED = ["", " ", "/", "folder/", "..", "a/..", "\\.", "\x01\x02", "\u200b", "\u2060 ", "..\u200b"]


@pytest.mark.parametrize("sent", UNNAMED)
def test_what_leaves_no_name_is_refused_where_it_was_wanted(sent: str) -> None:
    with pytest.raises(UnprocessableError, match="name is empty"):
        document_name(sent, "file.txt")
    assert document_name(None, sent) is None


def test_a_name_has_200_characters_at_most() -> None:
    for wanted, filename in ((LONGEST + "n", None), (None, LONGEST + "n")):
        with pytest.raises(UnprocessableError, match="has 201 characters; the limit is 200"):
            document_name(wanted, filename)
    assert document_name("本" * 200, None) == "本" * 200
    assert document_name(None, "folder/" * 500 + "a.txt") == "a.txt"
    with pytest.raises(UnprocessableError, match="has 4202 characters; the limit is 200"):
        document_name("\x01" * 4200 + "/a", None)


@given(st.text(max_size=300), st.text(max_size=300) | st.none())
def test_no_name_can_be_a_path_or_control_a_terminal(wanted: str, filename: str | None) -> None:
    try:
        name = document_name(wanted, filename)
    except UnprocessableError:
        return
    assert name is not None
    assert 0 < len(name) <= 200
    assert not set(name) & {"/", "\\", "\x00", "\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e"}
    assert name not in (".", "..")


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=plain.txt", "plain.txt"),
        ('form-data; name="file"; filename="本.txt"', "本.txt"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
        ("attachment; filename=\"EURO.txt\"; filename*=utf-8'en'%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=UTF-8''%ff.txt", "\ufffd.txt"),
        ('attachment; filename=""', ""),
        ("attachment", None),
        ("", None),
    ],
)
def test_file_names_are_found_in_headers(disposition: str, filename: str | None) -> None:
    assert filename_in(disposition.encode()) == filename


@given(st.binary(max_size=200))
def test_no_header_is_too_strange(disposition: bytes) -> None:
    found = filename_in(disposition)
    assert found is None or isinstance(found, str)


def disposition(filename: str) -> dict[str, Any]:
    return {"headers": TEXT_PLAIN | {"Content-Disposition": f'attachment; filename="{filename}"'.encode()}}


ONE_CALLS = {
    "query": {"params": {"name": "x/本.txt"}, "content": TEXT, "headers": TEXT_PLAIN},
    "header": {"content": TEXT, **disposition("x/本.txt")},
    "query before header": {"params": {"name": "本.txt"}, "content": TEXT, **disposition("other.txt")},
    "form": {"files": {"file": ("x/本.txt", TEXT, "text/plain")}},
    "query before form": {"params": {"name": "本.txt"}, "files": {"file": ("other.txt", TEXT, "text/plain")}},
    "json": {"json": {"text": TEXT.decode(), "name": "x/本.txt"}},
    "query before json": {"params": {"name": "本.txt"}, "json": {"text": TEXT.decode(), "name": "other.txt"}},
}


@pytest.mark.parametrize("request_", ONE_CALLS.values(), ids=ONE_CALLS)
def test_a_document_in_one_call_has_its_name(server: Server, request_: dict[str, Any]) -> None:
    answer = server.http.post("/v1/documents", **request_)
    assert answer.status_code == 202, answer.text
    found = answer.json()["document"]
    assert found["name"] == "本.txt"
    path = f"/v1/sessions/{found['session_id']}/documents/{found['id']}"
    assert server.http.get(path).json()["name"] == "本.txt"


def test_documents_without_a_name_have_none(server: Server) -> None:
    sid = server.session()
    assert server.send(sid, TEXT)["name"] is None
    assert server.http.post("/v1/documents", json={"text": "some"}).json()["document"]["name"] is None
    assert server.http.post(f"/v1/sessions/{sid}/documents", content=TEXT, **disposition("")).json()["name"] is None


def test_streamed_and_resumed_documents_have_their_names(server: Server) -> None:
    sid = server.session()
    assert server.send(sid, iter([TEXT, TEXT]), name="streamed.txt")["name"] == "streamed.txt"
    answer = server.http.post(
        f"/v1/sessions/{sid}/documents", headers=disposition("resumed.txt")["headers"] | {"Upload-Complete": "?0"}
    )
    assert (answer.status_code, answer.json()["name"]) == (201, "resumed.txt")
    path = answer.headers["Location"]
    assert server.append(path, TEXT, 0).status_code == 204
    assert server.append(path, TEXT, len(TEXT), complete=True).status_code == 204
    found = server.http.get(path).json()
    assert (found["name"], found["complete"]) == ("resumed.txt", True)
    server.wait_until_read(sid)
    assert server.http.get(path).json()["name"] == "resumed.txt"


@pytest.mark.parametrize("name", ["n" * 201, "folder/", ""])
def test_bad_names_are_refused_and_leave_nothing(server: Server, name: str) -> None:
    sid = server.session()
    requests = [
        server.http.post(f"/v1/sessions/{sid}/documents", content=TEXT, headers=TEXT_PLAIN, params={"name": name}),
        server.http.post("/v1/documents", content=TEXT, headers=TEXT_PLAIN, params={"name": name}),
        server.http.post("/v1/documents", json={"text": "some", "name": name}),
    ]
    for answer in requests:
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:rmt-server:problem:unprocessable"
        assert "name" in answer.json()["detail"]
    assert server.look(sid)["documents"] == 0


def test_a_repeated_creation_has_the_same_name(server: Server) -> None:
    sid = server.session()

    def create(name: str) -> httpx.Response:
        headers = TEXT_PLAIN | {"Idempotency-Key": "names", "Upload-Complete": "?0"}
        return server.http.post(f"/v1/sessions/{sid}/documents", headers=headers, params={"name": name})

    first, again, other = create("one.txt"), create("one.txt"), create("two.txt")
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["name"] == "one.txt"
    assert other.json()["type"] == "urn:rmt-server:problem:idempotency-key-reused"


async def test_a_creation_without_a_name_is_the_one_that_servers_without_names_made(server: Server) -> None:
    """During a rolling upgrade an old server may have begun what a new one is asked for again."""
    sid, key = server.session(), "begun before"
    before = Creation.of(key, None, False)
    store = Store.connect(server.redis_url)
    did = before.new_id("doc", "public", sid)
    await store.create_document("public", sid, did, None, before.asked)
    await store.close()
    headers = TEXT_PLAIN | {"Idempotency-Key": key, "Upload-Complete": "?0"}
    again = server.http.post(f"/v1/sessions/{sid}/documents", headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, did)


def test_citations_and_passages_say_the_name(pointing: Server) -> None:
    sid = pointing.session(focus=["Where is the key?"])
    named = pointing.send(sid, TEXT, name="keys.txt")["id"]
    plain = pointing.send(sid, b"The blue key is in the white drawer.")["id"]
    names = {named: "keys.txt", plain: None}
    for body in ({"mode": "search"}, {"mode": "reread"}, {}):
        cited = pointing.ask(sid, "Where is the key?", **body)["citations"]
        assert cited
        assert {one["document_id"] for one in cited} <= names.keys()
        assert all(one["document"] == names[one["document_id"]] for one in cited)
        assert all((one["page"], one["section"]) == (None, None) for one in cited)
    assert "keys.txt" in [one["document"] for one in pointing.ask(sid, "Which cat?", documents=[named])["citations"]]
    passages = pointing.http.post(f"/v1/sessions/{sid}/search", json={"query": "key"}).json()["passages"]
    assert {one["document_id"]: one["document"] for one in passages} == names


def test_openai_annotations_have_a_file_name(pointing: Server) -> None:
    """The document's name, or its id where it has none."""
    sid = pointing.session()
    named = pointing.send(sid, TEXT, name="keys.txt")["id"]
    plain = pointing.send(sid, b"The blue key is in the white drawer.")["id"]
    model = pointing.http.get("/v1/models").json()["data"][0]["id"]
    body = {"model": model, "session_id": sid, "messages": [{"role": "user", "content": "Where is the key?"}]}
    answer = pointing.http.post("/v1/chat/completions", json=body).json()
    annotations = answer["choices"][0]["message"]["annotations"]
    assert annotations
    assert all(one["filename"] == {named: "keys.txt", plain: plain}[one["file_id"]] for one in annotations)
    assert [one["document"] for one in answer["rmt"]["citations"]] == [
        {named: "keys.txt", plain: None}[one["file_id"]] for one in annotations
    ]
