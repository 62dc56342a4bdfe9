"""The processes of one run: servers on one Redis, what befalls them, and what Redis lost by it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.faults.plan import Blow, Fault, RunPlan
from tests.faults.replica import Replica
from tests.serving import wait_for

from rmt_server.redis_process.server import EmbeddedRedis

SETTINGS = {
    "device": "cpu",
    "threads": 1,
    "max_batch_lanes": 1,  # a forward pass has one lane, whoever else is read: equal means equal bits
    "lease_s": 1.5,
    "commit_interval_s": 0.05,
    "poll_s": 0.02,
    "turn_s": 0.2,
    "read_wait_s": 20.0,
    "drain_s": 2.0,
    "log_format": "text",
    "log_level": "warning",
}
_WITNESS = "campaign:witness"
_WITNESS_PAUSE_S = 0.02
_LOST_S = 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Redis was killed: what it answered after `kept_s` and before `back_s` may be gone."""

    kept_s: float
    back_s: float


class World:
    """Servers, a Redis, and a thread for each of them that does to it what the plan says.

    A witness writes the time into Redis over and over. What it reads after a kill proves that everything
    acknowledged before that time is still there: Redis keeps a prefix of its log.
    """

    def __init__(self, plan: RunPlan, directory: Path, checkpoint: Path, binary: Path | None, tally: Counter[str]):
        self._plan = plan
        self._tally = tally
        self.redis = EmbeddedRedis(directory / "redis", append_fsync=plan.fsync, binary=binary)
        self._settings = SETTINGS | {"checkpoint": checkpoint}
        self._directory = directory
        self.replicas: list[Replica] = []
        self.problems: list[str] = []
        self._losses: list[Loss] = []
        self._log_sizes: list[tuple[float, int]] = []
        self._redis_is_up = threading.Event()
        self._witnessing = threading.Lock()
        self._calm = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.redis.start()
        self._redis_is_up.set()
        for index in range(self._plan.servers):
            log = self._directory / f"server-{index}.log"
            self.replicas.append(Replica(self._settings | {"redis_url": self.redis.url}, log))
            self.replicas[-1].start()
        self._witness = threading.Thread(target=self._bear_witness, daemon=True)
        self._witness.start()
        for replica in self.replicas:
            wait_for(lambda replica=replica: _answers(replica, "readyz"), 60, "a server to be ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        self._over.set()
        self._witness.join()
        for replica in self.replicas:
            with suppress(AssertionError, OSError):
                replica.end(signal.SIGKILL)
        self.redis.__exit__()

    def losses(self) -> tuple[Loss, ...]:
        """What Redis may have lost so far; waits while it is being started again."""
        self._redis_is_up.wait()
        return tuple(self._losses)

    # ------------------------------------------------------------------ trouble

    def trouble(self) -> None:
        """Begin with what the plan says, beside the senders."""
        blows = [self._befall_server(replica) for replica in self.replicas] + [self._befall_redis]
        for faults, befall in zip(self._plan.faults, blows, strict=True):
            thread = threading.Thread(target=self._go_through, args=(faults, befall), daemon=True)
            self._threads.append(thread)
            thread.start()

    def calm(self) -> None:
        """End it: everything runs again."""
        self._calm.set()
        for thread in self._threads:
            thread.join()

    def stop_servers(self) -> None:
        """Stop every server as a supervisor does."""
        for replica in self.replicas:
            self._wait_until_up(replica)
            replica.signal(signal.SIGTERM)
        for replica in self.replicas:
            self._expect_clean(replica, replica.wait("SIGTERM"))

    def keys_of(self, sid: str) -> list[str]:
        """Every key of a session, and its entry in the queue."""
        with self._client() as client:
            hint = [key for key in client.zrange("rmt:ready", 0, -1) if sid in key.decode()]
            return [key.decode() for key in [*client.keys(f"*{sid}*"), *hint]]

    def _go_through(self, faults: tuple[Fault, ...], befall: Callable[[Fault], None]) -> None:
        for fault in faults:
            if self._calm.wait(fault.after_s):
                return
            try:
                befall(fault)
            except Exception as error:  # the run has failed, and says so at its end
                self.problems.append(f"{fault.blow}: {error!r}")
            self._tally[fault.blow] += 1

    def _befall_server(self, replica: Replica) -> Callable[[Fault], None]:
        def befall(fault: Fault) -> None:
            if fault.blow == Blow.PAUSE_SERVER:
                replica.signal(signal.SIGSTOP)
                time.sleep(fault.lasts_s)
                replica.signal(signal.SIGCONT)
                return
            try:
                if fault.blow == Blow.KILL_SERVER:
                    replica.end(signal.SIGKILL)
                else:
                    self._stop(replica)
                time.sleep(fault.lasts_s)
            finally:
                replica.start()

        return befall

    def _stop(self, replica: Replica) -> None:
        self._wait_until_up(replica)
        self._expect_clean(replica, replica.end(signal.SIGTERM))

    def _wait_until_up(self, replica: Replica) -> None:
        """A server that is still starting ends by SIGTERM as any process does, with another status."""
        wait_for(lambda: _answers(replica, "livez"), 60, "a server to serve before it is stopped")

    def _expect_clean(self, replica: Replica, status: int) -> None:
        if status != 0:
            self.problems.append(f"a server ended with {status} after SIGTERM: {replica.log}")

    def _befall_redis(self, fault: Fault) -> None:
        match fault.blow:
            case Blow.KILL_REDIS:
                self._kill_redis(fault)
            case Blow.RESTART_REDIS:
                self.redis.stop()
                time.sleep(fault.lasts_s)
                self.redis.start()
            case Blow.PAUSE_REDIS:
                os.kill(self.redis.pid, signal.SIGSTOP)
                time.sleep(fault.lasts_s)
                os.kill(self.redis.pid, signal.SIGCONT)
            case Blow.FLUSH_SCRIPTS:
                with self._client() as client:
                    client.script_flush()

    # ------------------------------------------------------------------ Redis dies

    def _kill_redis(self, fault: Fault) -> None:
        self._redis_is_up.clear()
        with self._witnessing:  # nothing is written between the kill and the look at what was kept
            self._lose_and_start(fault)
        self._redis_is_up.set()

    def _lose_and_start(self, fault: Fault) -> None:
        os.kill(self.redis.pid, signal.SIGKILL)
        self.redis.stop()
        if self._plan.fsync == "everysec":
            self._lose_some(fault.share)
        time.sleep(fault.lasts_s)
        self.redis.start()
        with self._client() as client:
            kept_s = float(client.get(_WITNESS) or 0.0)
        if self._plan.fsync == "everysec":
            self._losses.append(Loss(kept_s, time.monotonic()))

    def _lose_some(self, share: float) -> None:
        """Cut off what a power cut may cost: some of what was written in the last second."""
        sizes = dict(self._log_sizes)
        now_s, size = time.monotonic(), self._log_path().stat().st_size
        old = [sizes[at_s] for at_s in sizes if at_s <= now_s - _LOST_S] or [size]
        os.truncate(self._log_path(), size - int(share * max(0, size - old[-1])))
        self._log_sizes.clear()

    def _log_path(self) -> Path:
        """The append-only file: of Redis 7 and later the last one in a directory."""
        found = sorted(self.redis.data_dir.glob("appendonlydir/*.incr.aof"))
        return found[-1] if found else self.redis.data_dir / "appendonly.aof"

    def _bear_witness(self) -> None:
        while not self._over.wait(_WITNESS_PAUSE_S):
            with self._witnessing, suppress(redis.RedisError, OSError), self._client() as client:
                client.set(_WITNESS, time.monotonic())
                self._log_sizes.append((time.monotonic(), self._log_path().stat().st_size))

    def _client(self) -> redis.Redis:
        """Never repeats a command by itself: the witness would speak of a time before Redis was killed."""
        return redis.Redis.from_url(self.redis.url, socket_timeout=2.0, retry=Retry(NoBackoff(), 0))


def _answers(replica: Replica, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", replica.port, timeout=2.0)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
