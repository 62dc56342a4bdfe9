"""A proxy that goes wrong on demand: between any client and any HTTP server, one request a connection."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Cut:
    """Pass on only so many bytes of the body, then cut both connections."""

    body_bytes: int


@dataclass(frozen=True)
class LoseAnswer:
    """Let the server do it, but tell the client nothing."""


@dataclass(frozen=True)
class Twice:
    """Send the request to the server two times, and pass on the second answer."""


@dataclass(frozen=True)
class Refuse:
    """Answer in the server's place."""

    status: int = 503
    headers: str = "Retry-After: 0\r\n"


@dataclass(frozen=True)
class Delay:
    """Take so long before the server gets the request."""

    seconds: float


@dataclass(frozen=True)
class Damage:
    """Pass another byte on than the last of the body."""


@dataclass(frozen=True)
class Stall:
    """Take all of it, or so many bytes of the body, pass that on, and then keep still on both sides until the client
    has left."""

    body_bytes: int | None = None


Fault = Cut | Damage | LoseAnswer | Twice | Refuse | Delay | Stall


class FaultyProxy:
    """Listens on a port of its own; `plan` says what befalls the next requests of a method."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.plans: dict[str, deque[Fault | None]] = {}
        self.seen: list[str] = []
        self._listen(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def plan(self, method: str, *faults: Fault | None) -> None:
        self.plans.setdefault(method, deque()).extend(faults)

    def next_fault(self, method: str) -> Fault | None:
        self.seen.append(method)
        waiting = self.plans.get(method)
        return waiting.popleft() if waiting else None

    @property
    def exhausted(self) -> bool:
        return not any(self.plans.values())

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def up(self) -> None:
        self._listen(self.port)

    def _listen(self, port: int) -> None:
        self._server = Listener(("127.0.0.1", port), Exchange)
        self._server.proxy = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    proxy: FaultyProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are what this is for."""


class Exchange(socketserver.BaseRequestHandler):
    server: Listener

    def handle(self) -> None:
        client: socket.socket = self.request
        head, body = read_head(client)
        if not head:
            return
        fault = self.server.proxy.next_fault(head.split(b" ", 1)[0].decode())
        length = content_length(head)
        most = fault.body_bytes if isinstance(fault, Cut | Stall) else None
        wanted = length if most is None else min(length, most)
        while len(body) < wanted:
            body += client.recv(min(65536, wanted - len(body)))
        body = body[:wanted]
        if isinstance(fault, Refuse):
            # This connection ends here, and says so: a request sent on it meanwhile would be lost by chance.
            ending = "Connection: close\r\nContent-Length: 0\r\n\r\n"
            client.sendall(f"HTTP/1.1 {fault.status} No\r\n{fault.headers}{ending}".encode())
            return
        if isinstance(fault, Cut):
            self.forward(head, body, answer=False)
            return
        if isinstance(fault, Stall):
            self.stall(head, body)
            return
        if isinstance(fault, Delay):
            time.sleep(fault.seconds)
        if isinstance(fault, Damage):
            body = body[:-1] + bytes([body[-1] ^ 1]) if body else body
        if isinstance(fault, Twice):
            self.forward(head, body)
        answer = self.forward(head, body)
        if not isinstance(fault, LoseAnswer):
            client.sendall(answer)

    def stall(self, head: bytes, body: bytes) -> None:
        """The server has what came, and its connection stays open as long as the client's."""
        first, rest = head.split(b"\r\n", 1)
        with socket.create_connection(self.server.proxy.target) as server:
            server.sendall(first + b"\r\nConnection: close\r\n" + without_connection(rest) + body)
            while self.request.recv(65536):
                pass

    def forward(self, head: bytes, body: bytes, *, answer: bool = True) -> bytes:
        """Sends a request on, with a connection for itself, and returns the whole answer."""
        first, rest = head.split(b"\r\n", 1)
        answered = b""
        with socket.create_connection(self.server.proxy.target) as server:
            server.sendall(first + b"\r\nConnection: close\r\n" + without_connection(rest) + body)
            while answer and (piece := server.recv(65536)):
                answered += piece
        return answered


def read_head(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(65536)
        if not piece:
            return b"", b""
        received += piece
    head, body = received.split(b"\r\n\r\n", 1)
    return head + b"\r\n\r\n", body


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def without_connection(lines: bytes) -> bytes:
    return b"\r\n".join(line for line in lines.split(b"\r\n") if not line.lower().startswith(b"connection:"))
