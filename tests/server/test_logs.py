"""Logs of real processes: what each line is about, and what no line shows."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from tests.serving import TEXT_PLAIN, ProcessFactory, ServerProcess, text, wait_for

from rmt_server.auth import new_key
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.redis_process.url import check_redis_url, shown_redis_url
from rmt_server.settings import Settings

PASSWORD = "Correct-Horse-Battery"
JSON = {"Content-Type": "application/json"}
SECRETS = ("secret-document", "secret-question", "secret-focus", "secret-metadata", "secret-key", "secret-header")


def lines_of(process: ServerProcess) -> list[dict[str, Any]]:
    """Every line of the log, each an object by itself."""
    return [json.loads(line) for line in process.log.read_text().splitlines()]


def access_line(process: ServerProcess, request_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [line for line in lines_of(process) if line.get("request_id") == request_id]

    lines = [line for line in wait_for(found, 10, "the line of a request") if line["logger"] == "rmt_server.access"]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def locked_redis(own_redis: EmbeddedRedis) -> Iterator[str]:
    """The URL, with its password, of a Redis that asks for one."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("requirepass", PASSWORD)
    url = own_redis.url.replace("unix://", f"unix://:{PASSWORD}@")
    yield url
    with redis.Redis.from_url(url) as client:
        client.config_set("requirepass", "")


def test_a_request_leaves_one_line_that_names_it_its_tenant_and_its_session(start_process: ProcessFactory) -> None:
    process = start_process(log_format="json").wait_until_ready()
    sid = process.session()
    body = text(500)
    path = f"/v1/sessions/{sid}/documents"
    process.http.post(path, content=body, headers=TEXT_PLAIN | {"X-Request-Id": "mine-1"}, params={"wait": True})
    line = access_line(process, "mine-1")
    assert line.pop("duration_s") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", line.pop("timestamp"))
    assert line.pop("message").startswith("POST /v1/sessions/{sid}/documents 200 in ")
    assert line == {
        "level": "INFO",
        "logger": "rmt_server.access",
        "request_id": "mine-1",
        "tenant": "public",
        "session_id": sid,
        "method": "POST",
        "route": "/v1/sessions/{sid}/documents",
        "status": 200,
        "received_bytes": len(body),
    }
    made = process.http.post("/v1/sessions", json={})
    line = access_line(process, made.headers["X-Request-Id"])
    assert (line["session_id"], line["status"]) == (made.json()["id"], 201)
    probe = process.http.get("/livez").headers["X-Request-Id"]
    nowhere = process.http.get("/no/such/path").headers["X-Request-Id"]
    assert access_line(process, nowhere)["route"] == "unknown"
    process.stop(signal.SIGTERM)
    lines = lines_of(process)
    assert not [line for line in lines if line.get("request_id") == probe]
    assert {line["logger"] for line in lines} >= {"uvicorn.error", "rmt_server.serve", "rmt_server.access"}


def test_a_line_of_the_scheduler_names_the_session(start_process: ProcessFactory, own_redis: EmbeddedRedis) -> None:
    process = start_process(log_format="json").wait_until_ready()
    sid = process.session()
    with redis.Redis.from_url(own_redis.url) as bare:
        bare.hset(f"rmt:{{public:{sid}}}:session", "model", "another")
    process.send(sid, text(500))

    def warned() -> list[dict[str, Any]]:
        return [line for line in lines_of(process) if "left unread" in line["message"]]

    line = wait_for(warned, 10, "the warning")[0]
    assert (line["level"], line["tenant"], line["session_id"]) == ("WARNING", "public", sid)


def test_no_level_shows_a_secret_or_content(start_process: ProcessFactory, locked_redis: str) -> None:
    key, listed = new_key("acme", "write")
    settings = {"log_format": "json", "log_level": "DEBUG", "redis_url": locked_redis, "api_keys": listed}
    process = start_process(**settings).wait_until_ready()
    http, strange = process.http, {"Authorization": "Bearer secret-key", "X-Other": "secret-header"}
    http.headers["Authorization"] = f"Bearer {key}"
    sid = process.session(focus=["secret-focus?"], metadata={"note": "secret-metadata"})
    process.send(sid, b"The secret-document is here. " * 40, wait=True)
    process.ask(sid, "Where is the secret-question?")
    questions = f"/v1/sessions/{sid}/answers"
    statuses = [
        http.post(questions, json={"question": "secret-question " * 200}).status_code,
        http.post(questions, content=b'{"question": secret-question', headers=JSON).status_code,
        http.post(questions, json={"question": ["secret-question"]}).status_code,
        http.post("/v1/documents", json={"text": 1, "focus": "secret-focus"}).status_code,
        http.post("/v1/documents", files={"file": b"secret-document"}, data={"focus": "secret-focus"}).status_code,
        http.post("/v1/documents", content=b"secret-document \xff", headers=TEXT_PLAIN).status_code,
        http.post("/v1/snapshots", content=b"secret-document").status_code,
        http.get("/v1/sessions?after=secret-metadata", headers=strange).status_code,
        http.get("/secret-document?key=secret-key", headers=strange).status_code,
    ]
    assert 500 not in statuses
    assert statuses.count(401) == 2
    with redis.Redis.from_url(locked_redis) as bare:
        bare.config_set("requirepass", "another")
        bare.client_kill_filter(_type="normal", skipme=True)
        wait_for(lambda: "cannot look for work" in process.log.read_text(), 20, "a warning about Redis")
        bare.config_set("requirepass", PASSWORD)
    wait_for(lambda: http.get("/readyz").status_code == 200, 20, "Redis to take the password again")
    process.stop(signal.SIGTERM)
    shown = process.log.read_text()
    assert "GET /livez" not in shown
    assert "GET /readyz 200" in shown  # the level is debug
    assert '"tenant": "acme"' in shown
    key_hash = re.search(r"sha256:(\w+)", listed)
    assert key_hash is not None
    assert [secret for secret in (PASSWORD, key, key_hash[1], *SECRETS) if secret in shown] == []


def test_text_is_for_people(start_process: ProcessFactory) -> None:
    process = start_process(log_format="text").wait_until_ready()
    process.http.get("/v1/sessions", headers={"X-Request-Id": "mine-2"})
    pattern = r"INFO rmt_server.access: GET /v1/sessions 200 in \d\.\d{3} s \[request_id=mine-2 tenant=public\]\n"
    wait_for(lambda: re.search(pattern, process.log.read_text()), 10, "the line of a request")


@pytest.mark.parametrize("on_terminal", [True, False])
def test_auto_is_text_on_a_terminal_and_json_elsewhere(on_terminal: bool) -> None:
    code = (
        "import logging, rmt_server.logs as l; l.configure('auto', 'info'); logging.getLogger('rmt_server').info('x')"
    )
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 1000).decode()
    os.close(ours)
    assert said.startswith("{") is not on_terminal
    assert "x" in said


SHOWN = [
    ("redis://user:pass@host:6379/2?ssl=1", "redis://host:6379/2"),
    ("rediss://:pass@host", "rediss://host"),
    ("unix://:pass@/run/redis.sock?db=1&password=pass", "unix:///run/redis.sock"),
    ("redis+cluster://:p%40ss@[::1]:7000", "redis+cluster://[::1]:7000"),
]


@pytest.mark.parametrize(("url", "shown"), SHOWN)
def test_a_redis_is_shown_without_its_password(url: str, shown: str) -> None:
    check_redis_url(url)
    assert shown_redis_url(url) == shown
    settings = Settings(redis_url=url)
    assert "pass" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "http://:xyzzy@host",
        "host:6379/xyzzy",
        "redis://:xyzzy",
        "redis://:xy/zzy@host:6379",
        "redis://:xy@zzy/word@host:6379/0",
        "redis://:xyzzy@host:0",
        "redis://:xyzzy@host:99999",
        "redis://:xyzzy@/0",
        "redis://:xyzzy@[host:6379",
    ],
)
def test_a_wrong_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="redis_url") as caught:
        Settings(redis_url=url)
    assert not re.search("xy|zzy", str(caught.value))


def test_the_levels_are_as_documented() -> None:
    assert Settings(log_level="WARNING").log_level == "warning"
    with pytest.raises(ValueError, match="log_level"):
        Settings(log_level="trace")
    with pytest.raises(ValueError, match="log_format"):
        Settings(log_format="xml")
