"""Requests to any of the servers: repeated until one answers, or broken on purpose."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import httpx
from tests.faults.plan import Manner, Piece
from tests.faults.promise import Answered, LostError
from tests.faults.replica import Replica

_ANSWER_S = 3.0
_PATIENCE_S = 90.0
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Wire:
    """One sender's way to the servers: each request goes to one of them by chance.

    Attributes:
        unheard: How many requests may still be under way although nobody waits for them.
    """

    def __init__(self, replicas: list[Replica], seed: int) -> None:
        self.unheard = 0
        self._replicas = replicas
        self._source = random.Random(seed)
        one_request = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(timeout=_ANSWER_S, limits=one_request, verify=False)  # to load no certificates
        self._hung: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connections that were left hanging."""
        for connection in self._hung:
            connection.close()

    def call(self, method: str, path: str, **more: Any) -> Answered:
        """The first answer that is not "not now", of whichever server."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while (answered := self.once(method, path, **more)) is None:
            if time.monotonic() > deadline_s:
                raise AssertionError(f"no answer to {method} {path} within {_PATIENCE_S} s")
            time.sleep(self._source.uniform(0.02, 0.2))
        return answered

    def once(self, method: str, path: str, **more: Any) -> Answered | None:
        """One server's answer; None where there is none, or the answer is 503.

        Raises:
            LostError: A server failed.
        """
        began_s = time.monotonic()
        try:
            response = self._http.request(method, self._source.choice(self._replicas).url + path, **more)
        except httpx.ConnectError:
            return None
        except httpx.TransportError:
            self.unheard += method not in ("GET", "HEAD")
            return None
        if response.status_code == 503:
            if "Retry-After" not in response.headers:
                raise LostError(f"{method} {path}: a 503 without Retry-After: {response.text}")
            return None
        if response.status_code >= 500:
            raise LostError(f"{method} {path}: {response.status_code} {response.text}")
        return Answered(response, began_s, time.monotonic())

    def at_once(self, send: Callable[[], Answered | None]) -> list[Answered | None]:
        """The answers to a request that is sent two times at the same moment."""
        with ThreadPoolExecutor(2) as pool:
            return [sent.result() for sent in [pool.submit(send), pool.submit(send)]]

    def broken(self, path: str, headers: Mapping[str, str], data: bytes, piece: Piece) -> None:
        """A PATCH that stops in the middle of its body, or whose answer nobody waits for."""
        sent = data if piece.manner == Manner.UNHEARD else data[: int(piece.share * len(data))]
        port = self._source.choice(self._replicas).port
        lines = [f"PATCH {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(data)}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=1.0)
        except OSError:
            return
        self.unheard += 1
        with contextlib.suppress(OSError):
            connection.sendall(head.encode() + sent)
        if piece.manner == Manner.STALLED:
            self._hung.append(connection)
            return
        if piece.share < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        connection.close()
