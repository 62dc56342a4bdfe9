"""Two tenants on one server: to each, what belongs to the other is as if it had never been."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from tests.serving import TEXT_PLAIN, Api, Server, text, wait_for

from rmt_server.auth import new_key
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.routes.scopes import SCOPES

ANNA, BERT = new_key("anna", "admin"), new_key("bert", "admin")
NAMED = [call for call in SCOPES if "{" in call and not call.endswith("{model}")]
BODIES: dict[str, dict[str, Any]] = {
    "PATCH /v1/sessions/{sid}": {"json": {"ttl_s": 60}},
    "POST /v1/sessions/{sid}/restore": {"json": {"snapshot": "snp_none"}},
    "POST /v1/sessions/{sid}/documents": {"content": b"x", "headers": TEXT_PLAIN},
    "PATCH /v1/sessions/{sid}/documents/{did}": {
        "content": b"x",
        "headers": {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": "9",
            "Upload-Complete": "?1",
        },
    },
    "POST /v1/sessions/{sid}/answers": {"json": {"question": "Who?"}},
    "POST /v1/sessions/{sid}/search": {"json": {"query": "Who?"}},
    "POST /v1/sessions/{sid}/traces": {"json": {"question": "Who?"}},
    "POST /v1/sessions/{sid}/snapshots": {"json": {}},
}
NEVER = {"sid": "ses_never", "did": "doc_never", "snapshot_id": "snp_never"}


@dataclass
class Tenants:
    """Anna has a session with an open upload, and a snapshot of it; Bert has a session of his own."""

    anna: Api
    bert: Api
    redis_url: str
    ids: dict[str, str]
    berts: str

    def kept(self, tenant: str) -> dict[bytes, bytes]:
        """All that is kept for a tenant; records say when they expire."""
        with redis.Redis.from_url(self.redis_url) as bare:
            keys = [*bare.keys(f"rmt:{{{tenant}:*"), *bare.keys(f"rmt:{{{tenant}}}:*")]
            return {key: bare.dump(key) for key in keys}


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory, make_engine: Callable[..., Any]) -> Iterator[Tenants]:
    with (
        EmbeddedRedis(tmp_path_factory.mktemp("tenants")) as own,
        Server(own.url, make_engine(), {"api_keys": f"{ANNA[1]};{BERT[1]}"}) as server,
        Api(server.url, ANNA[0]) as anna,
        Api(server.url, BERT[0]) as bert,
    ):
        sid = anna.read(text(900))
        snapshot = anna.snapshot(sid)
        document = anna.open(sid, text(9)).rpartition("/")[2]
        wait_for(lambda: anna.look(sid)["read_bytes"] >= 0)
        ids = {"sid": sid, "did": document, "snapshot_id": snapshot}
        yield Tenants(anna, bert, own.url, ids, bert.read(text(500)))


@pytest.fixture(autouse=True)
def nothing_of_annas_changes(tenants: Tenants) -> Iterator[None]:
    before = tenants.kept("anna")
    assert len(before) > 5
    yield
    assert tenants.kept("anna") == before


def refused(caller: Api, call: str, ids: dict[str, str], **more: Any) -> Any:
    """What is answered about these ids, but for the ids and the request's own."""
    method, _, path = call.partition(" ")
    answer = caller.http.request(method, path.format(**ids), **(BODIES.get(call, {}) | more))
    assert answer.status_code == 404
    body, headers = answer.text, dict(answer.headers)
    for name in ids:
        body = body.replace(ids[name], f"<{name}>")
    body = body.replace(headers.pop("x-request-id"), "<request>")
    headers.pop("date"), headers.pop("content-length", None)
    return body, headers


def test_every_call_that_needs_a_body_has_one_here() -> None:
    assert BODIES.keys() <= set(NAMED)
    assert {call for call in NAMED if call.startswith(("POST", "PATCH"))} <= BODIES.keys()


@pytest.mark.parametrize("call", NAMED)
def test_anothers_ids_are_as_if_they_had_never_been(tenants: Tenants, call: str) -> None:
    assert refused(tenants.bert, call, tenants.ids) == refused(tenants.bert, call, NEVER)


@pytest.mark.parametrize("call", [call for call in NAMED if "{did}" in call])
def test_anothers_document_is_not_in_ones_own_session(tenants: Tenants, call: str) -> None:
    mixed = {**tenants.ids, "sid": tenants.berts}
    assert refused(tenants.bert, call, mixed) == refused(tenants.bert, call, {**NEVER, "sid": tenants.berts})


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("POST /v1/sessions", {"from_snapshot": "{}"}),
        ("POST /v1/sessions/{sid}/restore", {"snapshot": "{}"}),
        ("POST /v1/sessions/{sid}/answers", {"question": "Who?", "snapshot": "{}"}),
    ],
)
def test_anothers_snapshot_is_not_forked_restored_or_asked(tenants: Tenants, call: str, body: dict[str, str]) -> None:
    berts, answers = tenants.kept("bert"), []
    for snapshot in (tenants.ids["snapshot_id"], NEVER["snapshot_id"]):
        filled = {name: value.replace("{}", snapshot) for name, value in body.items()}
        ids = {"sid": tenants.berts, "snapshot_id": snapshot}
        answers.append(refused(tenants.bert, call, ids, json=filled))
    assert answers[0] == answers[1]
    assert tenants.kept("bert") == berts


def test_listings_show_ones_own_only(tenants: Tenants) -> None:
    mine = tenants.bert.http.get("/v1/sessions").json()
    assert [session["id"] for session in mine["sessions"]] == [tenants.berts]
    assert [one["session_id"] for one in tenants.bert.http.get("/v1/snapshots").json()["snapshots"]] == [tenants.berts]
    for after in (tenants.ids["sid"], tenants.ids["snapshot_id"]):
        for path in ("/v1/sessions", "/v1/snapshots"):
            page = tenants.bert.http.get(path, params={"after": after})
            assert page.status_code == 200
            assert tenants.ids["sid"] not in page.text
            assert tenants.ids["snapshot_id"] not in page.text


def test_names_that_look_like_anothers_keys_lead_nowhere(tenants: Tenants) -> None:
    for odd in (f"anna:{tenants.ids['sid']}", f"{{anna:{tenants.ids['sid']}}}", f"..%2Fanna%2F{tenants.ids['sid']}"):
        assert tenants.bert.http.get(f"/v1/sessions/{odd}").status_code == 404


def test_idempotency_keys_do_not_meet(start_server: Callable[..., Server]) -> None:
    server = start_server(api_keys=f"{ANNA[1]};{BERT[1]}")
    made: list[tuple[str, str]] = []
    for key, _ in (ANNA, BERT, ANNA, BERT):
        with Api(server.url, key) as caller:
            headers = {"Idempotency-Key": "same"}
            session = caller.http.post("/v1/sessions", json={}, headers=headers).json()["id"]
            document = caller.http.post(
                f"/v1/sessions/{session}/documents", content=b"x", headers=headers | TEXT_PLAIN
            ).json()["id"]
            made.append((session, document))
    assert made[:2] == made[2:]
    assert not set(made[0]) & set(made[1])
