"""Metrics: those that are documented are those that are there, and they move with what they count."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.serving import TEXT_PLAIN, Server, ServerFactory, text, wait_for

from rmt_server.errors import problem_slugs
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.store import Store

BEHAVIOR = Path(__file__).parents[2] / "docs" / "server-behavior.md"


def families(server: Server) -> dict[str, Metric]:
    """What `/metrics` shows, by the names that the documentation uses."""
    shown = text_string_to_metric_families(server.http.get("/metrics").text)
    return {one.name + ("_total" if one.type == "counter" else ""): one for one in shown}


def value(server: Server, name: str, **labels: str) -> float:
    """One sample; 0 where the label has not been seen."""
    for family in families(server).values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


def documented() -> Iterator[tuple[str, str, set[str]]]:
    table = BEHAVIOR.read_text().partition("## Metrics\n")[2].partition("\n## ")[0]
    for name, kind, labels in re.findall(r"^\| `(rmt_\w+)` \| (\w+) \| ?(.*?) ?\| .+ \|$", table, re.MULTILINE):
        yield name, kind, set(re.findall(r"`(\w+)`", labels))


def test_the_documented_metrics_are_those_that_are_there(start_server: ServerFactory) -> None:
    server = start_server()
    server.ask(server.read(text(300)), "Where is Mary?")
    server.http.get("/v1/sessions/none")
    found = set()
    for name, family in families(server).items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found.add((name, family.type, frozenset(labels)))
        assert family.documentation
    assert found == {(name, kind, frozenset(labels)) for name, kind, labels in documented()}


def test_reading_and_asking_are_counted(start_server: ServerFactory) -> None:
    server = start_server()
    names = [name for name, kind, _ in documented() if kind == "counter"]
    assert [name for name in names if value(server, name)] == []
    sid = server.read(text(5000), focus=["Where is Mary?", "Where is John?"])
    session = server.look(sid)
    answer = server.ask(sid, "Where is Daniel?")
    assert value(server, "rmt_accepted_bytes_total") == 5000
    assert value(server, "rmt_tokens_read_total") == 32 * session["segments"]
    assert value(server, "rmt_lane_segments_total") == 2 * session["segments"]
    assert value(server, "rmt_step_seconds_count") == session["segments"] > 0
    assert value(server, "rmt_step_lanes_bucket", le="1.0") == 0
    assert value(server, "rmt_step_lanes_bucket", le="2.0") == session["segments"]
    assert value(server, "rmt_answers_total") == value(server, "rmt_answer_seconds_count") == 1
    assert value(server, "rmt_answer_tokens_total") == answer["usage"]["completion_tokens"] > 0
    commits = value(server, "rmt_commit_seconds_count")
    assert commits == value(server, "rmt_state_bytes_count") == session["revision"] > 0
    assert value(server, "rmt_state_bytes_sum") >= commits * session["state_bytes"] > 0
    assert value(server, "rmt_redis_seconds_count", call="commit") == commits
    assert value(server, "rmt_redis_seconds_count", call="create_session") == 1
    assert value(server, "rmt_redis_seconds_count", call="HGETALL") > 0
    assert value(server, "rmt_resumes_total") == value(server, "rmt_lost_leases_total") == 0


def test_queues_are_measured(start_server: ServerFactory) -> None:
    server = start_server(max_unread_bytes=1 << 30, max_readings=2)
    for seed in range(4):
        server.send(server.session(), text(200_000, seed))
    wait_for(lambda: value(server, "rmt_readings") == 2, what="two sessions to be read")
    wait_for(lambda: value(server, "rmt_ready_sessions") == 4, what="all sessions to be counted")
    assert 0 < value(server, "rmt_unread_bytes") <= 2 * 200_000


def test_an_idle_server_has_empty_queues(start_server: ServerFactory) -> None:
    server = start_server()
    server.read(text(3000))
    for name in ("rmt_readings", "rmt_ready_sessions", "rmt_unread_bytes", "rmt_waiting_questions"):
        wait_for(lambda name=name: value(server, name) == 0, 10, f"{name} to fall to 0")  # type: ignore[misc]


async def test_a_session_of_a_reader_that_died_is_a_resume(
    start_server: ServerFactory, own_redis: EmbeddedRedis
) -> None:
    first = start_server(max_unread_bytes=1 << 30)
    sid = first.session()
    first.send(sid, text(100_000))
    wait_for(lambda: first.look(sid)["revision"] > 0, what="a commit")
    first.scheduler.stop()  # it gives the session back
    second = start_server()
    second.wait_until_read(sid)
    assert value(second, "rmt_resumes_total") == 0
    second.scheduler.stop()
    wait_for(lambda: second.http.get("/readyz").status_code == 503, what="nobody to read")
    store = Store.connect(own_redis.url)
    await store.create_document("public", sid, "doc")
    await store.append("public", sid, "doc", offset=0, data=b"More.", complete=True, max_unread_bytes=1 << 20)
    lease = await store.lease("public", sid, "a reader that dies", 300)
    await store.close()
    assert lease is not None
    assert not lease.resumed
    heir = start_server()
    heir.wait_until_read(sid)
    assert value(heir, "rmt_resumes_total") == 1


def test_a_fenced_write_is_counted(start_server: ServerFactory, own_redis: EmbeddedRedis) -> None:
    server = start_server(max_unread_bytes=1 << 30)
    sid = server.session()
    server.send(sid, text(300_000))
    wait_for(lambda: server.look(sid)["revision"] > 0, what="a commit")
    with redis.Redis.from_url(own_redis.url) as bare:
        bare.hset(f"rmt:{{public:{sid}}}:session", "owner", "another")
    wait_for(lambda: value(server, "rmt_lost_leases_total") == 1, what="a refused write")
    wait_for(lambda: value(server, "rmt_resumes_total") == 1, what="the other's lease to end")


def test_errors_are_counted_by_kind(start_server: ServerFactory) -> None:
    server = start_server(max_document_bytes=1000)
    kinds = {sample.labels["kind"] for sample in families(server)["rmt_errors_total"].samples}
    assert kinds - {"http"} == set(problem_slugs())
    sid = server.session()
    server.http.get("/v1/sessions/none")
    server.http.post(f"/v1/sessions/{sid}/documents", content=text(1001), headers=TEXT_PLAIN)
    server.http.post(f"/v1/sessions/{sid}/answers", json={"question": " "})
    server.http.get("/nowhere")
    server.http.put("/v1/sessions")
    counted = {sample.labels["kind"]: sample.value for sample in families(server)["rmt_errors_total"].samples}
    seen = {kind: count for kind, count in counted.items() if count and not kind.startswith("_")}
    assert seen == {"session-not-found": 1, "too-large": 1, "empty-question": 1, "http": 2}


def test_the_time_of_a_silent_redis_is_measured(start_server: ServerFactory, own_redis: EmbeddedRedis) -> None:
    server = start_server()
    sid = server.session()
    quick = value(server, "rmt_redis_seconds_bucket", call="HGETALL", le="1.0")
    with redis.Redis.from_url(own_redis.url) as bare:
        bare.client_pause(4000)
        assert server.http.get(f"/v1/sessions/{sid}").status_code == 503  # it was given 2 s
    assert value(server, "rmt_redis_seconds_bucket", call="HGETALL", le="1.0") == quick
    assert value(server, "rmt_redis_seconds_count", call="HGETALL") == quick + 1
    assert value(server, "rmt_errors_total", kind="store-unavailable") == 1


@pytest.mark.parametrize("path", ["/v1/sessions/mine", "/nowhere", "/v1/documents?focus=mine"])
def test_no_label_is_of_the_callers_choice(start_server: ServerFactory, path: str) -> None:
    server = start_server()
    server.http.request("MINE", path)
    server.http.get(path)
    assert "mine" not in server.http.get("/metrics").text.lower()
