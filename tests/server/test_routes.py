"""Every route's success over HTTP, and what headers promise."""

import json
import re
from typing import Any

import httpx
import pytest
from tests.serving import TEXT_PLAIN, Server, text

from rmt_client import Client
from rmt_model.digest import StreamDigest

DATA = text(2000)


def digest_of(data: bytes) -> str:
    digest = StreamDigest()
    digest.update(data)
    return digest.hexdigest()


# ---------------------------------------------------------------------------- sessions


def test_a_session_is_made_looked_at_and_deleted(server: Server) -> None:
    body = {"focus": ["Where is Mary?"], "keep_text": False, "ttl_s": 600, "metadata": {"name": "Ω 🐘"}}
    made = server.http.post("/v1/sessions", json=body)
    assert made.status_code == 201
    session = made.json()
    path = f"/v1/sessions/{session['id']}"
    assert made.headers["Location"] == path
    assert made.headers["ETag"] == '"0-0"'
    assert session["status"] == "idle"
    assert {name: session[name] for name in ("focus", "keep_text", "metadata")} == {
        "focus": ["Where is Mary?"],
        "keep_text": False,
        "metadata": {"name": "Ω 🐘"},
    }
    assert session["model"] == server.scheduler.engine.checkpoint.fingerprint
    assert re.fullmatch(r"ses_[\w-]{22}", session["id"])
    assert server.look(session["id"]) == session
    assert server.http.delete(path).status_code == 204
    assert server.http.get(path).status_code == 404
    assert server.http.delete(path).status_code == 404


@pytest.mark.parametrize("name", ["its name", "its fingerprint"])
def test_the_served_model_may_be_named(server: Server, name: str) -> None:
    checkpoint = server.scheduler.engine.checkpoint
    assert server.session(model=checkpoint.name if name == "its name" else checkpoint.fingerprint)


def test_sessions_are_listed_by_pages(server: Server) -> None:
    made = [server.session() for _ in range(5)]
    found: list[str] = []
    after: str | None = None
    while len(found) < 5:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = server.http.get("/v1/sessions", params=params).json()
        assert len(page["sessions"]) == 2
        found += [session["id"] for session in page["sessions"]]
        after = page["next"]
    assert found[:5] == made[::-1]


def test_a_change_needs_the_current_version_when_it_names_one(server: Server) -> None:
    sid = server.session(metadata={"a": "1"})
    path = f"/v1/sessions/{sid}"
    etag = server.http.get(path).headers["ETag"]
    changed = server.http.patch(path, json={"metadata": {"a": "2"}}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"a": "2"})
    assert changed.headers["ETag"] == server.http.get(path).headers["ETag"] != etag
    for stale in (etag, '"7-0"', '"7"', '""', "nonsense"):
        refused = server.http.patch(path, json={"metadata": {}}, headers={"If-Match": stale})
        assert (refused.status_code, refused.json()["etag"]) == (412, changed.headers["ETag"].strip('"'))
    assert server.look(sid)["metadata"] == {"a": "2"}


@pytest.mark.parametrize("form", ['"{etag}"', "{etag}", '"{revision}"', "{revision}", "*"])
def test_the_current_version_may_be_named_in_several_forms(server: Server, form: str) -> None:
    """An ETag grows old with any change, a revision with what is read; `*` never does."""
    sid = server.read(DATA)
    path = f"/v1/sessions/{sid}"

    def change(if_match: str) -> int:
        return server.http.patch(path, json={"ttl_s": 60}, headers={"If-Match": if_match}).status_code

    def current() -> str:
        found = server.http.get(path)
        return form.format(etag=found.headers["ETag"].strip('"'), revision=found.json()["revision"])

    before = current()
    assert change(before) == 200
    assert change(before) == (412 if "etag" in form else 200)
    server.send(sid, DATA, wait=True)
    assert change(before) == (200 if form == "*" else 412)
    assert change(current()) == 200


def test_a_shorter_life_is_a_nearer_end(server: Server) -> None:
    sid = server.session(ttl_s=1000)
    before = server.look(sid)["expires_at"]
    after = server.http.patch(f"/v1/sessions/{sid}", json={"ttl_s": 10}).json()["expires_at"]
    assert after < before


def test_an_idempotency_key_makes_one_session(server: Server) -> None:
    headers = {"Idempotency-Key": "once-1"}
    first = server.http.post("/v1/sessions", json={"metadata": {"n": "1"}}, headers=headers)
    again = server.http.post("/v1/sessions", json={"metadata": {"n": "1"}}, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    other = server.http.post("/v1/sessions", json={}, headers={"Idempotency-Key": "once-2"})
    assert other.json()["id"] != first.json()["id"]


# ---------------------------------------------------------------------------- documents


def test_a_document_in_a_session(server: Server) -> None:
    sid = server.session()
    sent = server.http.post(f"/v1/sessions/{sid}/documents", content=DATA, headers=TEXT_PLAIN)
    assert sent.status_code == 202
    document = sent.json()
    assert sent.headers["Location"] == f"/v1/sessions/{sid}/documents/{document['id']}"
    assert (document["start"], document["offset"], document["complete"]) == (0, len(DATA), True)
    assert server.wait_until_read(sid)["digest"] == digest_of(DATA)
    assert server.http.get(sent.headers["Location"]).json() == document | {"read": True, "length": len(DATA)}


def test_waiting_for_a_document(server: Server) -> None:
    sid = server.session()
    url = f"/v1/sessions/{sid}/documents"
    sent = server.http.post(url, content=DATA, headers=TEXT_PLAIN, params={"wait": True})
    assert (sent.status_code, sent.json()["read"]) == (200, True)
    assert server.look(sid)["status"] == "idle"


def test_documents_follow_one_another(server: Server) -> None:
    sid = server.session()
    documents = [server.send(sid, data) for data in (DATA, b"", DATA)]
    assert [document["start"] for document in documents] == [0, len(DATA), len(DATA)]
    session = server.wait_until_read(sid)
    assert (session["documents"], session["digest"]) == (3, digest_of(DATA + DATA))


def test_an_upload_in_pieces(server: Server) -> None:
    sid = server.session()
    document = server.open(sid, DATA[:100])
    assert server.append(document, DATA[100:777], 100).status_code == 204
    head = server.http.head(document)
    assert head.status_code == 204
    assert head.headers["Upload-Offset"] == "777"
    assert head.headers["Upload-Complete"] == "?0"
    assert head.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"max-size=\d+, max-append-size=65536, max-age=\d+", head.headers["Upload-Limit"])
    assert "Upload-Length" not in head.headers
    last = server.append(document, DATA[777:], 777, complete=True)
    assert (last.headers["Upload-Offset"], last.headers["Upload-Complete"]) == (str(len(DATA)), "?1")
    assert server.http.head(document).headers["Upload-Length"] == str(len(DATA))
    assert server.wait_until_read(sid)["digest"] == digest_of(DATA)


def test_the_size_of_a_request_is_advised_and_not_demanded(server: Server) -> None:
    """The Python client takes the advice; whoever sends more at once is not refused."""
    data = text(200_000)
    patched = re.compile(r'rmt_http_requests_total\{method="PATCH",.*,status="204"\} (\d+)')

    def requests() -> int:
        return sum(map(int, patched.findall(server.http.get("/metrics").text)))

    sid, other, before = server.session(), server.session(), requests()
    with Client(server.url) as client:
        assert client.read(sid, data, wait=False).offset == len(data)
    assert requests() - before == 4
    assert server.append(server.open(other), data, 0, complete=True).headers["Upload-Offset"] == str(len(data))
    for one in (sid, other):
        server.http.delete(f"/v1/sessions/{one}")


def test_a_declared_length_is_told(server: Server) -> None:
    sid = server.session()
    headers = TEXT_PLAIN | {"Upload-Complete": "?0", "Upload-Length": "5000"}
    opened = server.http.post(f"/v1/sessions/{sid}/documents", content=b"x", headers=headers)
    assert opened.headers["Upload-Length"] == "5000"
    assert server.http.head(opened.headers["Location"]).headers["Upload-Length"] == "5000"


def test_a_cancelled_upload_stays_as_far_as_it_came(server: Server) -> None:
    sid = server.session()
    document = server.open(sid, DATA)
    assert server.http.delete(document).status_code == 204
    assert server.http.get(document).json()["complete"]
    assert server.wait_until_read(sid)["read_bytes"] == len(DATA)
    assert server.send(sid, DATA, wait=True)["start"] == len(DATA)


def test_an_idempotency_key_makes_one_document(server: Server) -> None:
    sid = server.session()
    url, headers = f"/v1/sessions/{sid}/documents", TEXT_PLAIN | {"Idempotency-Key": "doc-1"}
    sent = [server.http.post(url, content=DATA, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in sent} == {202}
    assert len({answer.json()["id"] for answer in sent}) == 1
    session = server.wait_until_read(sid)
    assert (session["documents"], session["read_bytes"]) == (1, len(DATA))


def test_an_upload_is_opened_once(server: Server) -> None:
    """The answer to opening was lost: sent again, only what is missing of the first piece is appended."""
    sid = server.session()
    headers = TEXT_PLAIN | {"Idempotency-Key": "up-1", "Upload-Complete": "?0"}
    opened = [
        server.http.post(f"/v1/sessions/{sid}/documents", content=data, headers=headers)
        for data in (DATA[:10], DATA[:300], DATA[:300])
    ]
    assert {answer.status_code for answer in opened} == {201}
    assert [answer.headers["Upload-Offset"] for answer in opened] == ["10", "300", "300"]
    document = opened[0].headers["Location"]
    assert server.append(document, DATA[300:], 300, complete=True).status_code == 204
    again = server.http.post(f"/v1/sessions/{sid}/documents", content=DATA[:300], headers=headers)
    assert (again.status_code, again.headers["Upload-Complete"]) == (201, "?1")
    assert server.wait_until_read(sid)["digest"] == digest_of(DATA)


# ---------------------------------------------------------------------------- one call


def one_call(server: Server, expected: int = 200, **request: Any) -> dict[str, Any]:
    answer = server.http.post("/v1/documents", **({"params": {"wait": True}} | request))
    assert answer.status_code == expected, answer.text
    found = dict(answer.json())
    assert answer.headers["Location"] == f"/v1/sessions/{found['session']['id']}"
    return found


def test_one_call_with_text(server: Server) -> None:
    params = {"wait": True, "focus": ["Where is Mary?", "Who?"]}
    found = one_call(server, content=DATA, headers=TEXT_PLAIN, params=params)
    assert (found["session"]["digest"], found["session"]["status"]) == (digest_of(DATA), "idle")
    assert found["session"]["focus"] == params["focus"]
    assert found["document"]["read"]


def test_one_call_does_not_wait_unless_asked(server: Server) -> None:
    found = one_call(server, 202, content=DATA, headers=TEXT_PLAIN, params={})
    assert server.wait_until_read(found["session"]["id"])["digest"] == digest_of(DATA)


@pytest.mark.parametrize(
    "content_type", [None, "application/octet-stream", "text/markdown", "text/plain;charset=UTF-8"]
)
def test_one_call_with_other_kinds_of_text(server: Server, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert one_call(server, content=DATA, headers=headers)["session"]["digest"] == digest_of(DATA)


def test_one_call_with_json(server: Server) -> None:
    body = {
        "text": DATA.decode(),
        "focus": ["Where is Mary?"],
        "questions": ["Where is Mary?", "Who?"],
        "metadata": {"a": "b"},
        "keep_text": False,
    }
    found = one_call(server, json=body)
    assert found["session"]["metadata"] == {"a": "b"}
    assert not found["session"]["keep_text"]
    assert [one["question"] for one in found["answers"]["answers"]] == body["questions"]
    assert found["answers"]["position"]["bytes"] == len(DATA)
    assert found["answers"]["answers"][0]["answer"] == server.ask(found["session"]["id"], "Where is Mary?")["answer"]


def test_one_call_with_a_form(server: Server) -> None:
    fields = {"focus": ["Where is Mary?", "Who?"], "questions": ["Who?"], "unknown": "x"}
    found = one_call(server, data=fields, files={"file": ("book.txt", DATA, "text/plain")})
    assert found["session"]["digest"] == digest_of(DATA)
    assert found["session"]["focus"] == fields["focus"]
    assert found["answers"]["answers"][0]["lane"] == 1


# ---------------------------------------------------------------------------- answers


def test_questions_one_and_many(server: Server) -> None:
    sid = server.read(DATA, focus=["Where is Mary?", "Who?"])
    one = server.ask(sid, "Who?")
    assert (one["mode"], one["lane"], one["question"]) == ("focus", 1, "Who?")
    assert 0 < one["confidence"] <= 1
    assert one["finish_reason"] in ("stop", "length")
    session = server.look(sid)
    assert one["position"] == {name: session[name] for name in ("tokens", "segments", "revision", "digest")} | {
        "bytes": len(DATA)
    }
    body = {"questions": ["Who?", "Why?"], "lane": 0, "max_tokens": 2}
    many = server.http.post(f"/v1/sessions/{sid}/answers", json=body).json()["answers"]
    assert [(each["question"], each["lane"]) for each in many] == [("Who?", 0), ("Why?", 0)]
    assert all(each["usage"]["completion_tokens"] <= 2 for each in many)


def test_a_snapshot_is_asked_instead_of_the_live_memory(server: Server) -> None:
    sid = server.read(DATA)
    snapshot = server.snapshot(sid)
    before = server.ask(sid, "Who?")
    server.send(sid, text(2000, seed=5), wait=True)
    found = server.ask(sid, "Who?", snapshot=snapshot)
    assert found["position"] == before["position"] | {"revision": None}
    assert {**found, "position": None} == {**before, "position": None}


# ---------------------------------------------------------------------------- snapshots


def test_a_snapshot_from_its_making_to_its_end(server: Server) -> None:
    sid = server.read(DATA, focus=["Who?"], auto_snapshots=0)
    made = server.http.post(f"/v1/sessions/{sid}/snapshots", json={"name": "one", "metadata": {"a": "b"}})
    snapshot = made.json()
    path = f"/v1/snapshots/{snapshot['id']}"
    assert made.headers["Location"] == path
    session = server.look(sid)
    assert (snapshot["name"], snapshot["metadata"], snapshot["session_id"]) == ("one", {"a": "b"}, sid)
    assert (snapshot["bytes"], snapshot["digest"], snapshot["focus"]) == (len(DATA), session["digest"], ["Who?"])
    assert server.http.get(path).json() == snapshot
    listed = server.http.get(f"/v1/sessions/{sid}/snapshots").json()
    assert listed == {"snapshots": [snapshot], "next": None}
    assert snapshot in server.http.get("/v1/snapshots", params={"limit": 100}).json()["snapshots"]
    content = server.http.get(f"{path}/content")
    assert content.headers["Content-Type"] == "application/vnd.safetensors"
    assert len(content.content) == snapshot["size_bytes"] == session["state_bytes"]
    assert server.http.delete(path).status_code == 204
    assert server.http.get(path).status_code == server.http.get(f"{path}/content").status_code == 404
    assert server.http.get(f"/v1/sessions/{sid}/snapshots").json()["snapshots"] == []


def test_a_snapshot_outlives_its_session(server: Server) -> None:
    sid = server.read(DATA)
    snapshot = server.snapshot(sid)
    server.http.delete(f"/v1/sessions/{sid}")
    assert server.http.get(f"/v1/snapshots/{snapshot}").json()["digest"] == digest_of(DATA)
    assert server.look(server.session(from_snapshot=snapshot))["read_bytes"] == len(DATA)


def test_an_import_is_what_was_exported(server: Server) -> None:
    content = server.state(server.read(DATA))
    headers = {"Content-Type": "application/vnd.safetensors"}
    made = server.http.post("/v1/snapshots", content=content, headers=headers, params={"name": "back"})
    assert made.status_code == 201
    snapshot = made.json()
    assert (snapshot["name"], snapshot["session_id"], snapshot["bytes"]) == ("back", None, len(DATA))
    assert server.content(snapshot["id"]) == content


def test_a_restore_that_arrives_late_forgets_nothing(server: Server) -> None:
    sid = server.read(DATA)
    snapshot, path = server.snapshot(sid), f"/v1/sessions/{sid}"
    etag = server.http.get(path).headers["ETag"]

    def restore(if_match: str) -> httpx.Response:
        return server.http.post(f"{path}/restore", json={"snapshot": snapshot}, headers={"If-Match": if_match})

    assert restore(etag).status_code == 200
    server.send(sid, DATA, wait=True)
    refused = restore(etag)
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (412, "precondition-failed")
    session = server.look(sid)
    assert session["read_bytes"] == 2 * len(DATA)
    assert restore(str(session["revision"])).status_code == 200
    assert server.look(sid)["read_bytes"] == len(DATA)


def test_a_session_is_restored(server: Server) -> None:
    sid = server.read(DATA)
    snapshot, before = server.snapshot(sid), server.look(sid)
    server.send(sid, text(999, seed=3), wait=True)
    restored = server.http.post(f"/v1/sessions/{sid}/restore", json={"snapshot": snapshot})
    assert restored.status_code == 200
    assert restored.headers["ETag"].strip('"').startswith(str(restored.json()["revision"]))
    assert {name: restored.json()[name] for name in ("read_bytes", "tokens", "digest")} == {
        name: before[name] for name in ("read_bytes", "tokens", "digest")
    }
    assert server.state(sid) == server.content(snapshot)


# ---------------------------------------------------------------------------- operation


def test_health_and_metrics(server: Server) -> None:
    assert server.http.get("/livez").json() == {"status": "alive", "detail": None}
    assert server.http.get("/readyz").json() == {"status": "ready", "detail": None}
    before = server.metric("rmt_tokens_read_total")
    server.read(DATA)
    assert server.metric("rmt_tokens_read_total") > before
    shown = server.http.get("/metrics").text
    assert 'rmt_http_requests_total{method="POST",route="/v1/sessions/{sid}/documents",status="200"}' in shown


def test_metrics_have_no_label_of_the_callers_choice(server: Server) -> None:
    assert server.http.request("PROPFIND", "/v1/some/path").status_code == 404
    shown = server.http.get("/metrics").text
    assert "PROPFIND" not in shown
    assert "some/path" not in shown


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_contract_is_served(server: Server, path: str) -> None:
    assert server.http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/v1/sessions/none", "/nowhere", "/v1/sessions?limit=x"])
def test_request_ids_are_echoed(server: Server, path: str) -> None:
    given = server.http.get(path, headers={"X-Request-Id": "my-id.7"})
    assert given.headers["X-Request-Id"] == "my-id.7"
    if given.is_error:
        assert given.json()["request_id"] == "my-id.7"
    for odd in ("", "a b", "x" * 65, "é"):
        made = server.http.get(path, headers={b"X-Request-Id": odd.encode()})
        assert re.fullmatch(r"[0-9a-f]{16}", made.headers["X-Request-Id"])
    ids = {server.http.get(path).headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


def test_answers_are_json_in_utf8(server: Server) -> None:
    answer = server.http.post("/v1/sessions", json={"metadata": {"мэри": "🐘"}})
    assert json.loads(answer.content.decode())["metadata"] == {"мэри": "🐘"}
    assert "мэри" in answer.content.decode()
