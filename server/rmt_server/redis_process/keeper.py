"""RedisKeeper: starts an embedded Redis again when it dies alone, so that nobody has to."""

import logging
import threading
from typing import Self

from rmt_server.errors import StartupError
from rmt_server.redis_process.server import EmbeddedRedis

__all__ = ["RedisKeeper"]

_log = logging.getLogger(__name__)
_LOOK_S = 0.2
_LONGEST_PAUSE_S = 10.0


class RedisKeeper:
    """Looks after a started `EmbeddedRedis`, from a thread of its own; a context manager.

    A Redis that keeps dying is started again after longer and longer pauses: meanwhile the service is not ready.
    """

    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="redis-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        pause_s = _LOOK_S
        while not self._done.wait(pause_s):
            if not self._redis.died:
                pause_s = _LOOK_S
                continue
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            _log.error("the embedded Redis died; it is started again")
            try:
                self._redis.restart()
            except (StartupError, OSError) as error:
                _log.error("the embedded Redis does not start; next try in %g s: %s", pause_s, error)
