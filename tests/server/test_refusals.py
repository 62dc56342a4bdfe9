"""Bad input: each gets a problem that says what is wrong, and nothing is changed."""

import json
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis
from tests.model.test_state import DAMAGED
from tests.serving import TEXT_PLAIN, Server, ServerFactory, text, wait_for

from rmt_model.checkpoint import load_checkpoint
from rmt_model.engine import Engine
from rmt_server.redis_process.server import EmbeddedRedis

DATA = text(2000)
SAFETENSORS = {"Content-Type": "application/vnd.safetensors"}
JSON = {"Content-Type": "application/json"}
MIB = 1 << 20
LEASING = {b"owner", b"fence", b"life", b"lease_until_ms", b"expires_ms", b"compacted_blocks"}


@pytest.fixture(scope="module")
def redis_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """With few keys in it, so that all of them can be compared again and again."""
    with EmbeddedRedis(tmp_path_factory.mktemp("refusals")) as redis_server:
        yield redis_server


@pytest.fixture(scope="module")
def server(redis_of_its_own: EmbeddedRedis, make_engine: Any) -> Iterator[Server]:
    with Server(redis_of_its_own.url, make_engine(), {}) as server:
        yield server


@pytest.fixture(scope="module")
def small(redis_of_its_own: EmbeddedRedis, make_engine: Any) -> Iterator[Server]:
    """A server with small limits, beside the other one."""
    limits = {"max_document_bytes": 70_000, "max_json_bytes": 20_000}
    with Server(redis_of_its_own.url, make_engine(), limits) as server:
        yield server


@pytest.fixture(scope="module")
def read(server: Server) -> str:
    """A session that has read something, and that no refusal changes."""
    return server.read(DATA)


def problem(answer: httpx.Response, status: int, slug: str | None = None) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert found["request_id"] == answer.headers["X-Request-Id"]
    assert found["instance"] == answer.request.url.path
    assert found["title"]
    assert found["detail"]
    assert slug is None or found["type"].endswith(slug), found
    return dict(found)


@contextmanager
def nothing_changes(server: Server) -> Iterator[None]:
    """What happens inside leaves every key as it was; bookkeeping of who reads what is left out."""

    def content() -> dict[bytes, Any]:
        with redis.Redis.from_url(server.redis_url) as bare:
            wait_for(lambda: bare.zcard("rmt:ready") == 0, what="everything to be read")
            names, pipe = sorted(bare.keys("rmt:{*")), bare.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(name) if name.endswith(b":session") else pipe.dump(name)
            found: dict[bytes, Any] = dict(zip(names, pipe.execute(), strict=True))
        for name in names:
            if name.endswith(b":session"):
                found[name] = {field: value for field, value in found[name].items() if field not in LEASING}
        return found

    before = content()
    yield
    assert content() == before


# ---------------------------------------------------------------------------- text that is no text


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"\xff", 0),
        (b"good \xc0\x80 bad", 5),
        ("é".encode()[:1] + b"x", 0),
        (text(70_000) + b"\xed\xa0\x80", 70_000),  # half a surrogate pair, in the second piece
        (text(65_535) + "🐘".encode()[:2] + b"x", 65_535),  # torn where pieces meet
        (b"cut off \xf0\x9f\x90", 8),
    ],
    ids=["at once", "overlong", "torn", "surrogate", "at a seam", "at the end"],
)
def test_invalid_utf8_is_refused_with_its_offset(server: Server, data: bytes, offset: int) -> None:
    sid = server.session()
    sent = server.http.post(f"/v1/sessions/{sid}/documents", content=data, headers=TEXT_PLAIN)
    assert problem(sent, 422, "invalid-utf8")["byte-offset"] == offset
    session = server.wait_until_read(sid)
    assert offset <= session["accepted_bytes"] <= offset + 3  # what came before stays, and the session goes on
    assert server.send(sid, DATA, wait=True)["read"]
    with nothing_changes(server):
        one = server.http.post("/v1/documents", content=data, headers=TEXT_PLAIN)
        assert problem(one, 422, "invalid-utf8")["byte-offset"] == offset


def test_invalid_utf8_in_an_upload_leaves_it_open_before_the_bad_byte(server: Server) -> None:
    sid = server.session()
    document = server.open(sid, b"good ")
    refused = server.append(document, b"so far \xff and so on", 5)
    assert problem(refused, 422)["byte-offset"] == 12
    assert server.http.head(document).headers["Upload-Offset"] == "12"
    assert server.append(document, "né".encode()[:2], 12).headers["Upload-Offset"] == "14"
    torn = server.append(document, b"", 14, complete=True)
    assert problem(torn, 422)["byte-offset"] == 13
    assert server.append(document, "é".encode()[1:], 14, complete=True).status_code == 204
    assert server.wait_until_read(sid)["read_bytes"] == 15


@pytest.mark.parametrize(
    "odd",
    [
        b"before\x00after",
        "שלום, מרים. أين مريم؟ 👩‍👩‍👧‍👦🏳️‍🌈 \u202eabc\u202c \ufeff".encode(),
        b"x" * 20_000,
        "🐘".encode() * 3000,
        b"\n" * 5000,
        b"<|endoftext|></s>[INST]",
    ],
    ids=["a null byte", "right to left, emoji", "no spaces", "elephants", "newlines", "control tokens"],
)
def test_odd_text_is_text(server: Server, odd: bytes) -> None:
    session = server.look(server.read(odd))
    assert (session["read_bytes"], session["status"]) == (len(odd), "idle")


def test_half_characters_in_json_become_replacements(server: Server) -> None:
    half = {"text": "a \ud800 b", "metadata": {"k\udfff": "\ud800"}, "focus": ["Who \ud83d?"], "questions": ["\udc00?"]}
    answer = server.http.post("/v1/documents", content=json.dumps(half).encode(), headers=JSON, params={"wait": True})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["session"]["accepted_bytes"] == len("a \ufffd b".encode())
    assert found["session"]["metadata"] == {"k\ufffd": "\ufffd"}
    assert found["session"]["focus"] == ["Who \ufffd?"]
    sid = found["session"]["id"]
    asked = server.http.post(f"/v1/sessions/{sid}/answers", content=b'{"question": "\\ud800?"}', headers=JSON)
    assert asked.json()["answers"][0]["question"] == "\ufffd?"
    whole = server.http.post("/v1/documents", content=b'{"text": "\\ud83d\\udc18"}', headers=JSON)
    assert whole.json()["session"]["accepted_bytes"] == 4  # both halves are an elephant


# ---------------------------------------------------------------------------- uploads


@pytest.mark.parametrize("offset", [0, 99, 101, 10**14])
def test_another_offset_is_a_conflict(server: Server, offset: int) -> None:
    document = server.open(server.session(), DATA[:100])
    with nothing_changes(server):
        refused = server.append(document, b"more", offset)
        found = problem(refused, 409, "mismatching-upload-offset")
    assert (found["expected-offset"], found["provided-offset"]) == (100, offset)
    assert refused.headers["Upload-Offset"] == "100"


def tells_the_offset(refused: httpx.Response, offset: int, slug: str | None = None) -> None:
    """The answer is 400, and says where the document stands."""
    assert problem(refused, 400, slug)["expected-offset"] == offset
    assert refused.headers["Upload-Offset"] == str(offset)


@pytest.mark.parametrize("offset", ["-1", "", "1e2", "100.0", "1" * 16, "9" * 5000, "१००", "0x64", "+100", "100, 100"])
def test_an_offset_that_is_no_offset(server: Server, offset: str) -> None:
    document = server.open(server.session(), DATA[:100])
    with nothing_changes(server):
        headers = {b"Content-Type": b"application/partial-upload", b"Upload-Complete": b"?0"}
        refused = server.http.patch(document, content=b"x", headers=headers | {b"Upload-Offset": offset.encode()})
        tells_the_offset(refused, 100)


def test_an_upload_that_says_too_little(server: Server) -> None:
    document = server.open(server.session(), DATA[:100])
    partial = {"Content-Type": "application/partial-upload"}
    with nothing_changes(server):
        for headers, status in (
            (partial | {"Upload-Complete": "?0"}, 400),
            (partial | {"Upload-Offset": "100"}, 400),
            (partial | {"Upload-Offset": "100", "Upload-Complete": "yes"}, 400),
            (TEXT_PLAIN | {"Upload-Offset": "100", "Upload-Complete": "?0"}, 415),
            ({"Upload-Offset": "100", "Upload-Complete": "?0"}, 415),
        ):
            refused = server.http.patch(document, content=b"x", headers=headers)
            problem(refused, status)
            if status == 400:
                tells_the_offset(refused, 100)


def test_a_completed_upload_takes_no_more(server: Server) -> None:
    sid = server.session()
    document = f"/v1/sessions/{sid}/documents/{server.send(sid, DATA, wait=True)['id']}"
    with nothing_changes(server):
        tells_the_offset(server.append(document, b"more", len(DATA)), len(DATA), "inconsistent-upload-length")
        tells_the_offset(server.append(document, iter([b"more"]), 7), len(DATA), "inconsistent-upload-length")
        tells_the_offset(server.append(document, iter([b""]), 7), len(DATA), "completed-upload")
        tells_the_offset(server.append(document, b"", len(DATA), complete=True), len(DATA), "completed-upload")


def test_another_body_with_the_same_key_is_noticed(server: Server) -> None:
    sid = server.session()
    headers = TEXT_PLAIN | {"Idempotency-Key": "k"}
    url = f"/v1/sessions/{sid}/documents"
    assert server.http.post(url, content=DATA, headers=headers).status_code == 202
    server.wait_until_read(sid)
    with nothing_changes(server):
        for other in (DATA[:-1], DATA + b"x", b""):
            tells_the_offset(server.http.post(url, content=other, headers=headers), len(DATA), "completed-upload")


def test_of_a_repeated_body_no_more_is_read_than_tells_that_it_is_another(server: Server) -> None:
    sid = server.session()
    url = f"/v1/sessions/{sid}/documents"
    assert server.http.post(url, content=DATA, headers=TEXT_PLAIN | {"Idempotency-Key": "k"}).status_code == 202
    server.wait_until_read(sid)

    def body() -> Iterator[bytes]:
        yield b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(400):
            yield b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        yield b"0\r\n\r\n"

    with nothing_changes(server):
        answer, sent = early_answer(server, f"POST {url} HTTP/1.1\r\nIdempotency-Key: k", body())
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"completed-upload" in answer
        assert sent < 1_500_000


def test_a_contradicted_length(server: Server) -> None:
    sid = server.session()
    url = f"/v1/sessions/{sid}/documents"
    for size in ("3", "5"):
        refused = server.http.post(url, content=b"four", headers=TEXT_PLAIN | {"Upload-Length": size})
        problem(refused, 400, "inconsistent-upload-length")
    problem(server.http.post(url, content=b"x", headers=TEXT_PLAIN | {"Upload-Length": "-5"}), 400)
    assert server.send(sid, DATA, wait=True)["read"]


def test_a_length_that_an_upload_contradicts(server: Server) -> None:
    sid = server.session()
    headers = TEXT_PLAIN | {"Upload-Complete": "?0", "Upload-Length": "150"}
    document = server.http.post(f"/v1/sessions/{sid}/documents", content=DATA[:100], headers=headers)
    path = document.headers["Location"]
    tells_the_offset(server.append(path, DATA[100:151], 100), 100, "inconsistent-upload-length")
    tells_the_offset(server.append(path, DATA[100:110], 100, complete=True), 100, "inconsistent-upload-length")
    for length, size in (("149", 49), ("151", 50), ("99", 0)):
        refused = server.append(path, DATA[100 : 100 + size], 100, **{"Upload-Length": length})
        tells_the_offset(refused, 100, "inconsistent-upload-length")
    unannounced = server.append(path, iter([DATA[100:110]]), 100, complete=True)
    tells_the_offset(unannounced, 110, "inconsistent-upload-length")  # its bytes are accepted, its end is not
    assert server.append(path, DATA[110:150], 110, complete=True).status_code == 204


def test_one_upload_at_a_time(server: Server) -> None:
    sid = server.session()
    document = server.open(sid, b"x")
    with nothing_changes(server):
        refused = server.http.post(f"/v1/sessions/{sid}/documents", content=DATA, headers=TEXT_PLAIN)
        assert problem(refused, 409, "upload-open")["document-id"] == document.rpartition("/")[2]
        snapshot = {"snapshot": "snp_x"}
        problem(server.http.post(f"/v1/sessions/{sid}/restore", json=snapshot), 404)


# ---------------------------------------------------------------------------- too large


def early_answer(server: Server, head: str, body: Iterator[bytes]) -> tuple[bytes, int]:
    """What the server answers, and how much of the body it let itself be sent before."""
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80), timeout=20) as line:
        line.sendall(f"{head}\r\nHost: localhost\r\nContent-Type: text/plain\r\n".encode())
        sent = 0
        for piece in body:
            line.sendall(piece)
            sent += len(piece)
            line.settimeout(0.05)
            try:
                return line.recv(65536), sent
            except TimeoutError:
                line.settimeout(20)
        return line.recv(65536), sent


def test_a_body_over_the_limit_is_refused_while_it_streams(small: Server) -> None:
    """The sender means to go on for ever; it is answered soon after the limit, in the middle of its body."""
    sid = small.session()

    def body() -> Iterator[bytes]:
        yield b"Transfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

    for target in (f"/v1/sessions/{sid}/documents", "/v1/documents"):
        answer, sent = early_answer(small, f"POST {target} HTTP/1.1", body())
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"max-size=70000" in answer
        assert 70_000 < sent < 1_500_000
    assert small.look(sid)["accepted_bytes"] <= 70_000
    small.http.delete(f"/v1/sessions/{sid}")


@pytest.mark.parametrize("size", [70_001, 1 << 40])
def test_a_declared_size_over_the_limit_is_refused_at_once(small: Server, size: int) -> None:
    sid = small.session()
    document = small.open(small.session(), b"x" * 10)
    with nothing_changes(small):
        for head in (f"POST /v1/sessions/{sid}/documents", "POST /v1/documents"):
            answer, _ = early_answer(small, f"{head} HTTP/1.1", iter([b"Content-Length: %d\r\n\r\n" % size]))
            assert answer.startswith(b"HTTP/1.1 413 ")
        headers = f"Upload-Offset: 10\r\nUpload-Complete: ?0\r\nContent-Length: {size - 10}\r\n"
        partial = (
            f"PATCH {document} HTTP/1.1\r\nContent-Type: application/partial-upload\r\n{headers}Host: localhost\r\n\r\n"
        )
        address = httpx.URL(small.url)
        with socket.create_connection((address.host, address.port or 80), timeout=20) as line:
            line.sendall(partial.encode())
            assert line.recv(65536).startswith(b"HTTP/1.1 413 ")
        length = TEXT_PLAIN | {"Upload-Length": str(size), "Upload-Complete": "?0"}
        problem(small.http.post(f"/v1/sessions/{sid}/documents", content=b"x", headers=length), 413)


def test_exactly_the_limit_is_accepted(small: Server) -> None:
    sid = small.session()
    document = small.open(sid, b"x" * 69_999)
    refused = small.append(document, b"yz", 69_999)
    assert problem(refused, 413)["limit-bytes"] == 70_000
    assert refused.headers["Upload-Limit"] == "max-size=70000"
    assert small.append(document, b"y", 69_999, complete=True).status_code == 204
    small.http.delete(f"/v1/sessions/{sid}")


@pytest.mark.parametrize("chunked", [False, True])
def test_other_bodies_have_limits_too(small: Server, chunked: bool) -> None:
    sid, large = small.session(), b'{"question": "' + b"x" * 20_000 + b'"}'

    def body(data: bytes) -> Any:
        return iter([data[:10_000], data[10_000:]]) if chunked else data

    with nothing_changes(small):
        for path in ("/v1/sessions", f"/v1/sessions/{sid}/answers", "/v1/documents", f"/v1/sessions/{sid}/snapshots"):
            problem(small.http.post(path, content=body(large), headers=JSON), 413, "too-large")
        content = body(b"x" * 40 * MIB if not chunked else b"x" * 2 * MIB)
        problem(small.http.post("/v1/snapshots", content=content, headers=SAFETENSORS), 413, "too-large")


def test_a_json_document_at_its_limit(small: Server) -> None:
    fits = json.dumps({"text": "x" * (20_000 - 12)}).encode()
    assert len(fits) == 20_000
    assert small.http.post("/v1/documents", content=fits, headers=JSON).status_code == 202
    problem(small.http.post("/v1/documents", content=fits + b" ", headers=JSON), 413)


# ---------------------------------------------------------------------------- bodies of another form

ROUTES_WITH_JSON = [
    ("POST", "/v1/sessions"),
    ("PATCH", "/v1/sessions/{sid}"),
    ("POST", "/v1/sessions/{sid}/answers"),
    ("POST", "/v1/sessions/{sid}/snapshots"),
    ("POST", "/v1/sessions/{sid}/restore"),
    ("POST", "/v1/documents"),
]
NOT_JSON = {
    "nothing": b"",
    "cut off": b'{"metadata": ',
    "two": b"{} {}",
    "text": b"hello",
    "not UTF-8": b'{"question": "\xff"}',
    "deep": b"[" * 100_000,
    "a number too long": b"9" * 5000,
}


@pytest.mark.parametrize(("method", "path"), ROUTES_WITH_JSON)
@pytest.mark.parametrize("body", NOT_JSON)
def test_malformed_json(server: Server, read: str, method: str, path: str, body: str) -> None:
    with nothing_changes(server):
        answer = server.http.request(method, path.format(sid=read), content=NOT_JSON[body], headers=JSON)
        problem(answer, 422 if body == "nothing" and path != "/v1/documents" else 400)


@pytest.mark.parametrize(("method", "path"), ROUTES_WITH_JSON)
@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "7",
        '"text"',
        '{"surprise": 1}',
        '{"metadata": {"a": {"b": 1}}}',
        '{"metadata": [1]}',
        '{"a": ' * 900 + "1" + "}" * 900,
    ],
)
def test_json_of_another_form(server: Server, read: str, method: str, path: str, body: str) -> None:
    with nothing_changes(server):
        answer = server.http.request(method, path.format(sid=read), content=body, headers=JSON)
        assert problem(answer, 422)["errors"]


def test_thousands_of_errors_make_a_short_answer(server: Server) -> None:
    answer = server.http.post("/v1/sessions", json={"focus": [1] * 100_000, **{f"f{n}": n for n in range(10_000)}})
    assert len(problem(answer, 422)["errors"]) <= 10
    assert len(answer.content) < 5000


@pytest.mark.parametrize(("method", "path"), [*ROUTES_WITH_JSON[:-1]])
@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", None])
def test_another_content_type(server: Server, read: str, method: str, path: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    with nothing_changes(server):
        answer = server.http.request(method, path.format(sid=read), content=b"{}", headers=headers)
        problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type", ["application/pdf", "image/png", "text/plain; charset=latin-1", "text/plain; charset=utf-16"]
)
def test_documents_of_another_kind(server: Server, read: str, content_type: str) -> None:
    with nothing_changes(server):
        for path in ("/v1/documents", f"/v1/sessions/{read}/documents"):
            problem(server.http.post(path, content=DATA, headers={"Content-Type": content_type}), 415)
        problem(server.http.post("/v1/snapshots", content=DATA, headers={"Content-Type": content_type}), 415)


# ---------------------------------------------------------------------------- forms


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


FILE = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + DATA
FIELD = b'Content-Disposition: form-data; name="focus"\r\n\r\nWho?'
BAD_FORMS = {
    "nothing": (b"", 400),
    "no file": (form(FIELD), 400),
    "field behind the file": (form(FILE, FIELD), 400),
    "two files": (form(FILE, FILE), 400),
    "cut off in the file": (form(FILE, end=b"")[:-20], 400),
    "cut off in a field": (form(FIELD, end=b"")[:-4], 400),
    "no form": (b"hello", 400),
    "another boundary": (form(FILE).replace(b"--b", b"--c"), 400),
    "too many parts": (form(*[FIELD] * 100, FILE), 400),
    "file that is not UTF-8": (form(FILE + b"\xff"), 422),
    "empty focus": (form(FIELD[:-4], FILE), 422),
    "empty question": (form(FIELD[:-4].replace(b"focus", b"questions"), FILE), 422),
    "headers without end": (b"--b\r\n" + b"X: y\r\n" * 20_000, 400),
    "a header of a megabyte": (form(b"X: " + b"y" * MIB + b"\r\n" + FILE), 400),
}


@pytest.mark.parametrize("kind", BAD_FORMS)
@pytest.mark.parametrize("pieces", [1 << 20, 997])
def test_bad_forms(server: Server, kind: str, pieces: int) -> None:
    data, status = BAD_FORMS[kind]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with nothing_changes(server):
        content = (data[start : start + pieces] for start in range(0, len(data), pieces))
        answer = server.http.post("/v1/documents", content=content, headers=headers, params={"wait": True})
        problem(answer, status)


def test_a_form_without_boundary(server: Server) -> None:
    with nothing_changes(server):
        answer = server.http.post("/v1/documents", content=form(FILE), headers={"Content-Type": "multipart/form-data"})
        problem(answer, 400)


@pytest.mark.parametrize("pieces", [1, 7, 1 << 20])
def test_a_good_form_in_any_pieces(server: Server, pieces: int) -> None:
    data = form(FIELD, FIELD.replace(b"Who?", b"Why?"), FILE)
    headers = {"Content-Type": 'multipart/form-data; boundary="b"'}
    content = (data[start : start + pieces] for start in range(0, len(data), pieces))
    found = server.http.post("/v1/documents", content=content, headers=headers, params={"wait": True}).json()
    assert found["session"]["focus"] == ["Who?", "Why?"]
    assert found["session"]["accepted_bytes"] == len(DATA)


# ---------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("sid", ["ses_none", "x", "a b", "%00", "é", "a" * 300, "ses_x:state", "*", "{}"])
def test_unknown_sessions(server: Server, sid: str) -> None:
    path = f"/v1/sessions/{httpx.URL('/' + sid).raw_path.decode()[1:]}"
    with nothing_changes(server):
        for method, tail, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/answers", {"question": "Who?"}),
            ("POST", "/snapshots", {}),
            ("GET", "/snapshots", None),
            ("GET", "/documents/doc_x", None),
        ):
            answer = server.http.request(method, path + tail, json=body)
            problem(answer, 404)


def test_unknown_documents_snapshots_models_and_paths(server: Server, read: str) -> None:
    with nothing_changes(server):
        problem(server.http.get(f"/v1/sessions/{read}/documents/doc_x"), 404, "document-not-found")
        problem(server.http.delete(f"/v1/sessions/{read}/documents/doc_x"), 404, "document-not-found")
        problem(server.append(f"/v1/sessions/{read}/documents/doc_x", b"x", 0), 404, "document-not-found")
        assert server.http.head(f"/v1/sessions/{read}/documents/doc_x").status_code == 404
        for path in (
            "/v1/snapshots/snp_x",
            "/v1/snapshots/snp_x/content",
            "/v1/snapshots/a:b",
            f"/v1/snapshots/{read}",
        ):
            problem(server.http.get(path), 404, "snapshot-not-found")
        problem(server.http.delete("/v1/snapshots/snp_x"), 404, "snapshot-not-found")
        problem(server.http.post("/v1/sessions", json={"from_snapshot": "snp_x"}), 404, "snapshot-not-found")
        problem(server.http.post(f"/v1/sessions/{read}/restore", json={"snapshot": "snp_x"}), 404)
        asked = {"question": "Who?", "snapshot": "snp_x"}
        problem(server.http.post(f"/v1/sessions/{read}/answers", json=asked), 404, "snapshot-not-found")
        problem(server.http.post("/v1/sessions", json={"model": "gpt-5"}), 404, "model-not-found")
        problem(server.http.get("/nowhere"), 404)
        problem(server.http.get("/v1/sessions/a/b/c/d"), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v1/sessions"), ("DELETE", "/v1/documents"), ("POST", "/livez"), ("GET", "/v1/documents")],
)
def test_another_method(server: Server, method: str, path: str) -> None:
    answer = server.http.request(method, path)
    problem(answer, 405)
    assert answer.headers["Allow"]


# ---------------------------------------------------------------------------- questions, focuses and so on


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": None},
        {"questions": []},
        {"question": "Who?", "questions": ["Why?"]},
        {"question": ""},
        {"question": " \n\t\u3000"},
        {"questions": ["Who?", ""]},
        {"question": "word " * 40},
        {"question": "x" * 3_000_000},
        {"questions": ["Who?"] * 65},
        {"question": "Who?", "lane": 1},
        {"question": "Who?", "lane": -1},
        {"question": "Who?", "lane": 10**30},
        {"question": "Who?", "max_tokens": 0},
        {"question": "Who?", "max_tokens": 257},
        {"question": "Who?", "max_tokens": 10**30},
        {"question": "Who?", "mode": "guess"},
        {"question": 7},
        {"questions": "Who?"},
        {"question": "Who?", "wait": "perhaps"},
    ],
    ids=lambda body: str(body)[:50],
)
def test_questions_that_cannot_be_asked(server: Server, read: str, body: dict[str, Any]) -> None:
    with nothing_changes(server):
        problem(server.http.post(f"/v1/sessions/{read}/answers", json=body), 422)


def test_an_empty_question_and_a_long_one_have_names(server: Server, read: str) -> None:
    url = f"/v1/sessions/{read}/answers"
    problem(server.http.post(url, json={"question": " "}), 422, "empty-question")
    problem(server.http.post(url, json={"question": "word " * 40}), 422, "question-too-long")


@pytest.mark.parametrize("questions", [[""], ["word " * 40], ["Who?"] * 65])
def test_a_document_with_such_questions_is_not_begun(server: Server, questions: list[str]) -> None:
    with nothing_changes(server):
        body = {"text": "x", "questions": questions}
        problem(server.http.post("/v1/documents", json=body, params={"wait": True}), 422)


def test_questions_that_nobody_waits_for(server: Server) -> None:
    with nothing_changes(server):
        answer = server.http.post("/v1/documents", json={"text": "x", "questions": ["Who?"]})
        assert "wait=true" in problem(answer, 422)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"focus": ["Who?"] * 17},
        {"focus": [""]},
        {"focus": ["word " * 40]},
        {"focus": "Who?"},
        {"metadata": {"a": "x" * 4096}},
        {"metadata": {"a": "é" * 800}},
        {"metadata": {"a": 7}},
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": 10**12},
        {"ttl_s": 10**300},
        {"ttl_s": 1.5},
        {"keep_text": "maybe"},
        {"from_snapshot": "s", "focus": ["Who?"]},
    ],
    ids=lambda body: str(body)[:50],
)
def test_sessions_that_cannot_be_made(server: Server, body: dict[str, Any]) -> None:
    with nothing_changes(server):
        problem(server.http.post("/v1/sessions", json=body), 422)
        if "from_snapshot" not in body:
            problem(server.http.post("/v1/documents", json={"text": "x"} | body), 422)
        changes = {name: value for name, value in body.items() if name in ("metadata", "ttl_s")}
        if changes:
            sid = server.http.get("/v1/sessions", params={"limit": 1}).json()["sessions"][0]["id"]
            problem(server.http.patch(f"/v1/sessions/{sid}", json=changes), 422)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=-1", f"after={'x' * 201}"])
def test_pages_that_cannot_be_made(server: Server, query: str) -> None:
    for path in ("/v1/sessions", "/v1/snapshots"):
        problem(server.http.get(f"{path}?{query}"), 422)


@pytest.mark.parametrize("after", ["nonsense", "%00", "-", "[", "("])
def test_a_page_after_nothing_known_is_a_page(server: Server, after: str) -> None:
    assert server.http.get(f"/v1/sessions?after={after}").status_code == 200


def test_a_key_or_name_that_is_too_long(server: Server, read: str) -> None:
    with nothing_changes(server):
        problem(server.http.post("/v1/sessions", json={}, headers={"Idempotency-Key": "x" * 201}), 422)
        problem(server.http.post(f"/v1/sessions/{read}/snapshots", json={"name": "x" * 201}), 422)
        problem(server.http.post("/v1/snapshots?name=" + "x" * 201, content=b"x", headers=SAFETENSORS), 422)


# ---------------------------------------------------------------------------- snapshots


@pytest.mark.parametrize("damage", [*DAMAGED, "a pickle that would run code"])
def test_damaged_snapshots(server: Server, damage: str) -> None:
    content = DAMAGED[damage]() if damage in DAMAGED else pickle.dumps(print)
    with nothing_changes(server):
        answer = server.http.post("/v1/snapshots", content=content, headers=SAFETENSORS)
        problem(answer, 422, "damaged-snapshot")


def test_snapshots_that_lie_or_end_early(server: Server) -> None:
    content = server.state(server.read(DATA, focus=["Who?"]))
    fingerprint = server.scheduler.engine.checkpoint.fingerprint.encode()
    damaged = {
        "truncated": content[:-1],
        "half": content[: len(content) // 2],
        "longer": content + b"\0",
        "of two lanes": content.replace(b'"shape":[1,', b'"shape":[2,'),
        "of another width": content.replace(b"[1,4,32]", b"[1,8,16]"),
        "of another focus": content.replace(b"Who?", b"    "),
        "of tokens beyond the vocabulary": content[:-12288] + b"\xff\x7f\0\0" + content[-12284:],
    }
    with nothing_changes(server):
        for kind, data in damaged.items():
            if kind.startswith("of tokens"):
                data = data.replace(b'\\"pending\\": 0', b'\\"pending\\": 1')
            assert data != content, kind
            answer = server.http.post("/v1/snapshots", content=data, headers=SAFETENSORS)
            assert problem(answer, 422, "damaged-snapshot")["detail"], kind
        other = content.replace(fingerprint, b"0" * 32)
        found = problem(server.http.post("/v1/snapshots", content=other, headers=SAFETENSORS), 409, "wrong-checkpoint")
        assert (found["expected-checkpoint"], found["provided-checkpoint"]) == (fingerprint.decode(), "0" * 32)


def test_a_snapshot_holds_no_more_than_a_reader_leaves(server: Server) -> None:
    """Whoever asks it reads first what fills segments: that must not be hundreds of them."""
    fresh, segment_tokens = server.scheduler.engine.fresh_state(), 32
    most = 5 * segment_tokens + 16 * 1024 + 4 * 1024
    with nothing_changes(server):
        content = replace(fresh, pending=(7,) * (most + 1)).to_bytes()
        refused = problem(server.http.post("/v1/snapshots", content=content, headers=SAFETENSORS), 422)
        assert (refused["type"].rpartition(":")[2], str(most) in refused["detail"]) == ("damaged-snapshot", True)
    content = replace(fresh, pending=(7,) * most).to_bytes()
    assert server.http.post("/v1/snapshots", content=content, headers=SAFETENSORS).status_code == 201


@pytest.mark.parametrize("counter", ["bytes_read", "tokens_read", "segments_read", "documents_read"])
def test_a_snapshot_counts_no_further_than_redis(server: Server, counter: str) -> None:
    with nothing_changes(server):
        for most in (1 << 45, 1 << 46, 1 << 49):
            content = replace(server.scheduler.engine.fresh_state(), **{counter: most}).to_bytes()
            problem(server.http.post("/v1/snapshots", content=content, headers=SAFETENSORS), 422, "damaged-snapshot")


def test_a_memory_of_another_checkpoint_is_not_used(
    start_server: ServerFactory, own_redis: EmbeddedRedis, make_engine: Any, tiny_checkpoint: Any
) -> None:
    """A server was started with other weights on the same Redis."""
    with Server(own_redis.url, make_engine(), {}) as before:
        theirs = before.read(DATA)
        snapshot = before.snapshot(theirs)
    server = start_server(make_engine(tiny_checkpoint(base_layers=1, segment_tokens=32, seed=5)))
    own = server.read(DATA)
    own_snapshot, asked = server.snapshot(own), {"question": "Who?"}
    with nothing_changes(server):
        for path, body in (
            (f"/v1/sessions/{theirs}/answers", asked),
            (f"/v1/sessions/{own}/answers", asked | {"snapshot": snapshot}),
            ("/v1/sessions", {"from_snapshot": snapshot}),
            (f"/v1/sessions/{own}/restore", {"snapshot": snapshot}),
            (f"/v1/sessions/{theirs}/restore", {"snapshot": own_snapshot}),
        ):
            found = problem(server.http.post(path, json=body), 409, "wrong-checkpoint")
            assert found["expected-checkpoint"] == server.look(own)["model"], path
            assert found["provided-checkpoint"] == server.look(theirs)["model"], path


def test_a_snapshot_of_another_checkpoint(server: Server, tiny_checkpoint: Any) -> None:
    """A real one: other weights of the same shape."""
    other = Engine(load_checkpoint(tiny_checkpoint(seed=5)))
    with nothing_changes(server):
        content = other.fresh_state().to_bytes()
        problem(server.http.post("/v1/snapshots", content=content, headers=SAFETENSORS), 409, "wrong-checkpoint")


def test_a_snapshot_of_too_many_lanes(server: Server) -> None:
    state = server.scheduler.engine.fresh_state(["Who?"] * 17)
    with nothing_changes(server):
        problem(server.http.post("/v1/snapshots", content=state.to_bytes(), headers=SAFETENSORS), 422)


def test_restoring_what_does_not_belong_there(server: Server) -> None:
    read = server.read(DATA)
    focused = server.snapshot(server.read(DATA, focus=["Who?"]))
    plain = server.snapshot(read)
    server.open(read, b"x")
    server.wait_until_read(read)
    with nothing_changes(server):
        refused = server.http.post(f"/v1/sessions/{read}/restore", json={"snapshot": focused})
        assert "fork" in problem(refused, 422)["detail"]
        refused = server.http.post(f"/v1/sessions/{read}/restore", json={"snapshot": plain})
        problem(refused, 409, "upload-open")


# ---------------------------------------------------------------------------- nobody's fault


def test_what_nobody_expected_is_a_problem_that_tells_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(server.app.state.store, "get_session", fail)
    answer = server.http.get("/v1/sessions/ses_x", headers={"X-Request-Id": "r-1"})
    found = problem(answer, 500, "internal-error")
    assert found["request_id"] == "r-1"
    assert "secret" not in answer.text
    assert "Zero" not in answer.text
    counted = server.http.get("/metrics").text
    assert 'rmt_http_requests_total{method="GET",route="/v1/sessions/{sid}",status="500"} 1.0' in counted


def test_what_is_no_http_is_refused(server: Server) -> None:
    address = httpx.URL(server.url)
    for nonsense in (
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with socket.create_connection((address.host, address.port or 80), timeout=20) as line:
            line.sendall(nonsense)
            assert line.recv(1000).startswith(b"HTTP/1.1 400")
