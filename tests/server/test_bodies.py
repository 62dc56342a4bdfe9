"""Bodies: coded, with a digest, or silent; on every route that streams one."""

import base64
import gzip
import hashlib
import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from backports import zstd
from tests.serving import TEXT_PLAIN, ProcessFactory, Server, ServerFactory, cut, text, wait_for

from rmt_model.digest import StreamDigest

DATA = text(20_000, seed=3)
CODE = {"gzip": gzip.compress, "zstd": zstd.compress}
PARTIAL = {"Content-Type": "application/partial-upload"}


def digest_of(data: bytes) -> str:
    digest = StreamDigest()
    digest.update(data)
    return digest.hexdigest()


def content_digest(data: bytes, algorithm: str = "sha-256") -> dict[str, str]:
    hashed = hashlib.new(algorithm.replace("-", ""), data).digest()
    return {"Content-Digest": f"{algorithm}=:{base64.b64encode(hashed).decode()}:"}


def slug(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


def sessions(server: Server) -> list[str]:
    return [one["id"] for one in server.http.get("/v1/sessions", params={"limit": 100}).json()["sessions"]]


@pytest.fixture(scope="module")
def form() -> tuple[bytes, dict[str, str]]:
    request = httpx.Request("POST", "http://x", files={"file": ("book.txt", DATA)})
    return request.read(), {"Content-Type": request.headers["Content-Type"]}


@pytest.mark.parametrize("coding", CODE)
@pytest.mark.parametrize("sizes", [(1 << 20,), (1, 7), (1000,)])
def test_a_coded_document_is_read_as_what_it_stands_for(server: Server, coding: str, sizes: tuple[int, ...]) -> None:
    sid = server.session()
    headers = TEXT_PLAIN | {"Content-Encoding": coding}
    url = f"/v1/sessions/{sid}/documents"
    answer = server.http.post(url, content=cut(CODE[coding](DATA), *sizes), headers=headers)
    assert (answer.status_code, answer.json()["offset"]) == (202, len(DATA))
    assert server.wait_until_read(sid)["digest"] == digest_of(DATA)


@pytest.mark.parametrize("coding", CODE)
def test_each_request_of_an_upload_is_a_coded_stream_and_offsets_count_text(server: Server, coding: str) -> None:
    sid = server.session()
    code, coded = CODE[coding], {"Content-Encoding": coding}
    document = server.open(sid)
    assert server.append(document, code(DATA[:7000]), 0, **coded).headers["Upload-Offset"] == "7000"
    assert server.append(document, DATA[7000:9000], 7000).headers["Upload-Offset"] == "9000"
    joined = code(DATA[9000:15_000]) + code(b"") + code(DATA[15_000:])
    last = server.append(document, joined, 9000, complete=True, **coded, **{"Upload-Length": str(len(DATA))})
    assert (last.status_code, last.headers["Upload-Offset"]) == (204, str(len(DATA)))
    assert server.wait_until_read(sid)["digest"] == digest_of(DATA)


@pytest.mark.parametrize("coding", CODE)
def test_one_call_may_be_coded_in_all_of_its_forms(
    server: Server, coding: str, form: tuple[bytes, dict[str, str]]
) -> None:
    for body, headers in (
        (DATA, TEXT_PLAIN),
        (json.dumps({"text": DATA.decode()}).encode(), {"Content-Type": "application/json"}),
        form,
    ):
        headers = headers | {"Content-Encoding": coding} | content_digest(CODE[coding](body))
        answer = server.http.post("/v1/documents?wait=true", content=CODE[coding](body), headers=headers)
        assert (answer.status_code, answer.json()["session"]["digest"]) == (200, digest_of(DATA))


@pytest.mark.parametrize("coding", CODE)
def test_a_snapshot_may_be_imported_coded(server: Server, coding: str) -> None:
    content = server.state(server.read(DATA))
    headers = {"Content-Type": "application/vnd.safetensors", "Content-Encoding": coding}
    coded = CODE[coding](content)
    imported = server.http.post("/v1/snapshots", content=coded, headers=headers | content_digest(coded))
    assert imported.status_code == 201
    assert server.content(imported.json()["id"]) == content


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, zstd", "gzip, gzip"])
def test_another_coding_is_refused_and_those_that_are_known_are_named(server: Server, coding: str) -> None:
    sid = server.session()
    document = server.open(sid)
    before = sessions(server)
    for answer in (
        server.http.post(f"/v1/sessions/{sid}/documents", content=b"x", headers={"Content-Encoding": coding}),
        server.append(document, b"x", 0, **{"Content-Encoding": coding}),
        server.http.post("/v1/documents", content=b"x", headers=TEXT_PLAIN | {"Content-Encoding": coding}),
        server.http.post(
            "/v1/snapshots",
            content=b"x",
            headers={"Content-Type": "application/vnd.safetensors", "Content-Encoding": coding},
        ),
    ):
        assert (answer.status_code, slug(answer)) == (415, "unsupported-content-coding")
        assert answer.headers["Accept-Encoding"] == "gzip, zstd"
    assert sessions(server) == before
    assert server.http.head(document).headers["Upload-Offset"] == "0"


def test_no_coding_has_several_names(server: Server) -> None:
    for coding in ("identity", "", "X-GZIP, identity"):
        body = gzip.compress(b"text") if "GZIP" in coding else b"text"
        answer = server.http.post("/v1/documents", content=body, headers=TEXT_PLAIN | {"Content-Encoding": coding})
        assert (answer.status_code, answer.json()["document"]["offset"]) == (202, 4)


@pytest.mark.parametrize("coding", CODE)
@pytest.mark.parametrize("harm", ["cut off", "garbled", "no code at all"])
def test_of_damaged_code_what_came_before_the_damage_stays(server: Server, coding: str, harm: str) -> None:
    sid = server.session()
    document, code = server.open(sid), CODE[coding]
    good = code(DATA[:5000])
    harmed = {"cut off": code(DATA[5000:])[:-5], "garbled": good[:3], "no code at all": b"plain text"}[harm]
    tail = b"" if harm == "cut off" else b"\xff" * 50
    refused = server.append(document, good + harmed + tail, 0, **{"Content-Encoding": coding})
    assert (refused.status_code, slug(refused)) == (400, "damaged-content")
    offset = int(refused.headers["Upload-Offset"])
    assert offset >= 5000
    assert refused.json()["expected-offset"] == offset
    assert server.append(document, DATA[offset:], offset, complete=True).status_code == 204
    assert server.wait_until_read(sid)["digest"] == digest_of(DATA)


def test_damaged_code_leaves_no_session_of_one_call(server: Server) -> None:
    before = sessions(server)
    for body in (gzip.compress(DATA)[:-1], gzip.compress(DATA)[:500] + b"\0" * 500):
        answer = server.http.post("/v1/documents", content=body, headers=TEXT_PLAIN | {"Content-Encoding": "gzip"})
        assert (answer.status_code, slug(answer)) == (400, "damaged-content")
    assert sessions(server) == before


@pytest.mark.parametrize("coding", CODE)
def test_limits_hold_for_what_code_stands_for(start_server: ServerFactory, coding: str) -> None:
    server = start_server(max_document_bytes=50_000, max_json_bytes=20_000)
    code, coded = CODE[coding], TEXT_PLAIN | {"Content-Encoding": coding}
    sid = server.session()
    url = f"/v1/sessions/{sid}/documents"
    assert server.http.post(url, content=code(b"x" * 50_000), headers=coded).status_code == 202
    for body in (code(b"x" * 50_001), code(b"x" * 5_000_000)):
        for target in (url, "/v1/documents"):
            refused = server.http.post(target, content=body, headers=coded)
            assert (refused.status_code, refused.headers["Upload-Limit"]) == (413, "max-size=50000")
    as_json = {"Content-Type": "application/json", "Content-Encoding": coding}
    for size, status in ((19_000, 202), (20_000, 413)):
        body = code(json.dumps({"text": "x" * size}).encode())
        assert server.http.post("/v1/documents", content=body, headers=as_json).status_code == status
    content = {"Content-Type": "application/vnd.safetensors", "Content-Encoding": coding}
    assert server.http.post("/v1/snapshots", content=code(b"\0" * 10_000_000), headers=content).status_code == 413


@pytest.mark.slow
def test_a_bomb_costs_little_memory(start_process: ProcessFactory) -> None:
    """A few hundred kilobytes that stand for 4 GB (zstd) and 1 GB (gzip) of text, as document, JSON and snapshot."""
    process = start_process(
        max_document_bytes=3 << 20, max_json_bytes=1 << 20, max_unread_bytes=16 << 20
    ).wait_until_ready()
    sid = process.session()
    process.send(sid, b"warm", wait=True)
    document = f"/v1/sessions/{sid}/documents"
    before = process.resident_bytes
    for coding, bomb in (("zstd", bomb_of("zstd", 4_000)), ("gzip", bomb_of("gzip", 1_000))):
        for target, kind in (
            (document, "text/plain"),
            ("/v1/documents", "application/json"),
            ("/v1/snapshots", "application/vnd.safetensors"),
        ):
            headers = {"Content-Type": kind, "Content-Encoding": coding}
            assert process.http.post(target, content=bomb, headers=headers).status_code == 413
    assert process.resident_bytes - before < 48 << 20


def bomb_of(coding: str, megabytes: int) -> bytes:
    packer = zstd.ZstdCompressor() if coding == "zstd" else zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * 1_000_000) for _ in range(megabytes)) + packer.flush()


def test_a_zstd_frame_that_wants_a_large_window_is_refused(server: Server) -> None:
    large = {zstd.CompressionParameter.window_log: 24}
    packer = zstd.ZstdCompressor(options=large)
    body = packer.compress(DATA) + packer.flush()
    answer = server.http.post("/v1/documents", content=body, headers=TEXT_PLAIN | {"Content-Encoding": "zstd"})
    assert (answer.status_code, slug(answer)) == (400, "damaged-content")


SENDERS: dict[str, Callable[[Server, str, bytes, dict[str, str]], httpx.Response]] = {
    "creation": lambda server, sid, body, headers: server.http.post(
        f"/v1/sessions/{sid}/documents", content=body, headers=TEXT_PLAIN | headers
    ),
    "piece": lambda server, sid, body, headers: server.append(server.open(sid), body, 0, complete=True, **headers),
    "one call": lambda server, sid, body, headers: server.http.post(
        "/v1/documents", content=body, headers=TEXT_PLAIN | headers
    ),
}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_content_is_checked_against_its_digest(server: Server, sender: str, algorithm: str) -> None:
    right = content_digest(DATA, algorithm)
    for body in (DATA, cut(DATA, 999)):
        assert SENDERS[sender](server, server.session(), body, right).is_success  # type: ignore[arg-type]


@pytest.mark.parametrize("sender", SENDERS)
def test_content_with_another_digest_changes_nothing(server: Server, sender: str) -> None:
    sid, before = server.session(), len(sessions(server))
    for digest in (content_digest(b"other"), {"Content-Digest": f"{_field(DATA)}, {_field(b'x', 'sha-512')}"}):
        refused = SENDERS[sender](server, server.session(), DATA, digest)
        assert (refused.status_code, slug(refused)) == (400, "digest-mismatch")
        assert refused.json()["algorithm"] in ("sha-256", "sha-512")
        assert refused.json()["provided-digest"] in digest["Content-Digest"]
    mine = server.session()
    document = server.open(mine, b"abc") if sender == "piece" else None
    if document:
        refused = server.append(document, DATA, 3, complete=True, **content_digest(b"other"))
        assert (refused.status_code, refused.headers["Upload-Offset"]) == (400, "3")
        found = server.http.get(document).json()
        assert (found["offset"], found["length"], found["complete"]) == (3, None, False)
    else:
        SENDERS[sender](server, mine, DATA, content_digest(b"other"))
        assert server.look(mine)["documents"] == 0
    assert server.look(sid)["documents"] == 0
    assert len(sessions(server)) == min(100, before + 3)


def _field(data: bytes, algorithm: str = "sha-256") -> str:
    return content_digest(data, algorithm)["Content-Digest"]


@pytest.mark.parametrize(
    "value",
    [
        "sha-256=47DEQpj8HBSa",
        "sha-256=:no base64!:",
        "sha-256=:AAAA:",
        "sha-512=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
        "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU:",
        "SHA-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
        "sha-256",
        "md5=:AAAA:, sha-256=?1",
    ],
)
def test_a_malformed_digest_is_refused(server: Server, value: str) -> None:
    document = server.open(server.session(), b"abc")
    refused = server.append(document, b"", 3, **{"Content-Digest": value})
    assert (refused.status_code, slug(refused), refused.headers["Upload-Offset"]) == (400, "bad-request", "3")


def test_digests_of_unknown_algorithms_are_ignored(server: Server) -> None:
    for value in ("md5=:AAAA:", "md5=:AAAA:;note=1, unixsum=:AA==:", "", f"md5=:AAAA:, {_field(DATA)};a=b"):
        assert SENDERS["creation"](server, server.session(), DATA, {"Content-Digest": value}).status_code == 202


def test_content_with_a_digest_is_held_only_up_to_a_limit(start_server: ServerFactory) -> None:
    server = start_server(max_json_bytes=10_000)
    for size, status in ((10_000, 202), (10_001, 413)):
        for body in (b"x" * size, cut(b"x" * size, 777)):
            sid = server.session()
            answer = SENDERS["creation"](server, sid, body, content_digest(b"x" * size))  # type: ignore[arg-type]
            assert answer.status_code == status
            if status == 413:
                assert answer.headers["Upload-Limit"] == "max-append-size=10000"
                assert server.look(sid)["documents"] == 0


@pytest.fixture
def impatient(start_server: ServerFactory) -> Server:
    return start_server(body_idle_s=0.3)


def stalled(server: Server, head: str, headers: dict[str, str], begun: bytes) -> bytes:
    """What is answered to a body of which no more comes, until the server closes the connection."""
    address, received = httpx.URL(server.url), b""
    with socket.create_connection((address.host, address.port or 80), timeout=30) as line:
        lines = [
            f"{head} HTTP/1.1",
            "Host: localhost",
            "Content-Length: 9999",
            *(f"{k}: {v}" for k, v in headers.items()),
        ]
        line.sendall("\r\n".join([*lines, "", ""]).encode() + begun)
        while piece := line.recv(65536):
            received += piece
    return received


def test_of_an_upload_that_stalls_what_came_stays(impatient: Server) -> None:
    sid = impatient.session()
    document = impatient.open(sid, b"abc")
    upload = PARTIAL | {"Upload-Offset": "3", "Upload-Complete": "?1"}
    answer = stalled(impatient, f"PATCH {document}", upload, DATA[:2000])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:rmt-server:problem:slow-body" in answer
    assert b"connection: close" in answer.lower()
    assert b"upload-offset: 2003" in answer.lower()
    assert impatient.http.head(document).headers["Upload-Offset"] == "2003"


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=b"])
def test_of_one_call_that_stalls_nothing_stays(impatient: Server, kind: str) -> None:
    begun = {"t": b"some text", "a": b'{"text": "', "m": b"--b\r\n"}[kind[0]]
    answer = stalled(impatient, "POST /v1/documents", {"Content-Type": kind}, begun)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert sessions(impatient) == []


def test_a_snapshot_and_a_body_with_a_digest_do_not_stall_for_ever(impatient: Server) -> None:
    sid = impatient.session()
    for head, headers in (
        ("POST /v1/snapshots", {"Content-Type": "application/vnd.safetensors"}),
        (f"POST /v1/sessions/{sid}/documents", TEXT_PLAIN | content_digest(b"x")),
    ):
        assert stalled(impatient, head, headers, b"abc").startswith(b"HTTP/1.1 408 ")
    assert impatient.look(sid)["documents"] == 0


def test_a_json_body_that_stalls_is_given_up(impatient: Server) -> None:
    answer = stalled(impatient, "POST /v1/sessions", {"Content-Type": "application/json"}, b'{"focus"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert sessions(impatient) == []


def test_a_slow_body_that_brings_something_goes_on(impatient: Server) -> None:
    def slowly() -> Iterator[bytes]:
        for _ in range(8):
            yield b"word "
            time.sleep(0.1)

    sid = impatient.session()
    assert impatient.send(sid, slowly(), wait=True)["offset"] == 40


def test_a_stop_is_noticed_while_a_body_is_silent(start_server: ServerFactory) -> None:
    server = start_server()
    sid = server.session()
    document = server.open(sid)
    address, upload = httpx.URL(server.url), PARTIAL | {"Upload-Offset": "0", "Upload-Complete": "?0"}
    with socket.create_connection((address.host, address.port or 80), timeout=30) as line:
        fields = [f"{name}: {value}" for name, value in upload.items()]
        line.sendall(
            "\r\n".join(
                [f"PATCH {document} HTTP/1.1", "Host: localhost", "Content-Length: 99", *fields, "", "a"]
            ).encode()
        )
        wait_for(lambda: server.look(sid)["accepted_bytes"] == 1, what="the first byte")
        server.scheduler.stop()
        assert line.recv(65536).startswith(b"HTTP/1.1 503 ")


def test_options_say_how_documents_are_uploaded(server: Server) -> None:
    sid = server.session(ttl_s=1000)
    answer = server.http.options(f"/v1/sessions/{sid}/documents")
    assert (answer.status_code, answer.headers["Accept-Patch"]) == (204, "application/partial-upload")
    assert answer.headers["Accept-Encoding"] == "gzip, zstd"
    limits = dict(part.split("=") for part in answer.headers["Upload-Limit"].split(", "))
    assert limits.keys() == {"max-size", "max-append-size", "max-age"}
    assert 900 < int(limits["max-age"]) <= 1000
    assert server.http.options("/v1/sessions/none/documents").status_code == 404


def test_a_piece_of_another_type_is_told_the_right_one(server: Server) -> None:
    refused = server.http.patch(server.open(server.session()), content=b"x", headers=TEXT_PLAIN)
    assert (refused.status_code, refused.headers["Accept-Patch"]) == (415, "application/partial-upload")


def test_structured_fields_may_have_parameters(server: Server) -> None:
    document = server.open(server.session(), b"abc")
    upload = PARTIAL | {"Upload-Offset": "3;a=1", "Upload-Complete": "?1 ;b", "Upload-Length": "5;c"}
    assert server.http.patch(document, content=b"de", headers=upload).status_code == 204
