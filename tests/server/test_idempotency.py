"""A creation that comes again finds what the first one made; one that asks for something else is told so."""

import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.serving import TEXT_PLAIN, Server, text, wait_for

DATA = text(9_000, seed=4)
SAFETENSORS = {"Content-Type": "application/vnd.safetensors"}
Create = Callable[[Server, str, str, int], httpx.Response]


def keyed(key: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **more}


CREATIONS: dict[str, Create] = {
    "session": lambda server, sid, key, other: server.http.post(
        "/v1/sessions", json={"ttl_s": 1000 + other}, headers=keyed(key)
    ),
    "document": lambda server, sid, key, other: server.http.post(
        f"/v1/sessions/{sid}/documents", headers=keyed(key, **{"Upload-Complete": f"?{other}"})
    ),
    "one call": lambda server, sid, key, other: server.http.post(
        "/v1/documents", params={"focus": ["Who?", "Where?"][other]}, content=DATA, headers=TEXT_PLAIN | keyed(key)
    ),
    "one call as JSON": lambda server, sid, key, other: server.http.post(
        "/v1/documents", json={"text": DATA.decode(), "ttl_s": 1000 + other}, headers=keyed(key)
    ),
    "snapshot": lambda server, sid, key, other: server.http.post(
        f"/v1/sessions/{sid}/snapshots", json={"name": f"n{other}"}, headers=keyed(key)
    ),
    "import": lambda server, sid, key, other: server.http.post(
        f"/v1/snapshots?name=n{other}", content=server.content(server.snapshot(sid)), headers=SAFETENSORS | keyed(key)
    ),
}


def identity(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    body = answer.json()
    return (body["session"]["id"], body["document"]["id"]) if "session" in body else body["id"]


@pytest.mark.parametrize("creation", CREATIONS)
def test_the_same_key_finds_what_the_first_made(server: Server, creation: str) -> None:
    create, sid = CREATIONS[creation], server.session()
    first, again = create(server, sid, f"{creation} {sid}", 0), create(server, sid, f"{creation} {sid}", 0)
    assert identity(first) == identity(again)
    assert first.headers["Location"] == again.headers["Location"]
    other = server.session() if creation == "document" else sid
    assert identity(create(server, other, f"another {creation} {sid}", 0)) != identity(first)


@pytest.mark.parametrize("creation", CREATIONS)
def test_the_same_key_with_something_else_is_a_mistake(server: Server, creation: str) -> None:
    create, sid = CREATIONS[creation], server.session()
    first = create(server, sid, f"once {creation} {sid}", 0)
    refused = create(server, sid, f"once {creation} {sid}", 1)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:rmt-server:problem:idempotency-key-reused"
    assert identity(create(server, sid, f"once {creation} {sid}", 0)) == identity(first)


def test_keys_of_documents_and_snapshots_belong_to_their_session(server: Server) -> None:
    one, other = server.session(), server.session()
    for creation in ("document", "snapshot"):
        made = [identity(CREATIONS[creation](server, sid, "shared", 1)) for sid in (one, other)]
        assert made[0] != made[1]


def test_a_session_is_not_mistaken_for_one_call(server: Server) -> None:
    key = f"both {server.session()}"
    assert server.http.post("/v1/sessions", json={}, headers=keyed(key)).status_code == 201
    assert server.http.post("/v1/documents", content=b"x", headers=TEXT_PLAIN | keyed(key)).status_code == 422


def test_one_call_that_broke_off_goes_on_where_it_stood(server: Server) -> None:
    key, before = f"broken {server.session()}", server.http.get("/v1/sessions").json()["sessions"]
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80)) as line:
        lines = ["POST /v1/documents HTTP/1.1", "Host: localhost", f"Content-Length: {len(DATA)}"]
        lines += [f"{name}: {value}" for name, value in (TEXT_PLAIN | keyed(key)).items()]
        line.sendall("\r\n".join([*lines, "", ""]).encode() + DATA[:4000])

        def begun() -> dict[str, Any] | None:
            newest = server.http.get("/v1/sessions").json()["sessions"][0]
            return newest if newest["id"] != before[0]["id"] and newest["accepted_bytes"] == 4000 else None

        sid = wait_for(begun, what="the session of the broken call")["id"]
    answer = server.http.post("/v1/documents?wait=true", content=DATA, headers=TEXT_PLAIN | keyed(key))
    assert (answer.json()["session"]["id"], answer.json()["document"]["offset"]) == (sid, len(DATA))
    assert server.look(sid)["digest"] == server.look(server.read(DATA))["digest"]
    assert server.look(sid)["documents"] == 1


def test_one_call_whose_text_is_refused_leaves_nothing_and_its_key_free(server: Server) -> None:
    key = f"refused {server.session()}"
    refused = server.http.post("/v1/documents", content=DATA + b"\xff", headers=TEXT_PLAIN | keyed(key))
    assert refused.status_code == 422
    good = server.http.post("/v1/documents", content=DATA, headers=TEXT_PLAIN | keyed(key))
    assert (good.status_code, good.json()["document"]["offset"]) == (202, len(DATA))
    longer = server.http.post("/v1/documents", content=DATA + b"x", headers=TEXT_PLAIN | keyed(key))
    assert (longer.status_code, longer.json()["type"].rpartition("#")[2]) == (400, "completed-upload")
    assert server.look(good.json()["session"]["id"])["accepted_bytes"] == len(DATA)
