"""Following a session with both clients, against the real server: every event once, whatever happens to connections."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.relay import Relay
from tests.serving import Server, ServerFactory, text

from rmt_client import Event, NotFoundError

from .conftest import Blocking, Connect


def follow(client: Any, sid: str, after: str | None = None) -> Iterator[Event]:
    """Events of either client, one by one."""
    if not isinstance(client, Blocking):
        yield from client.events(sid, after=after)
        return
    events: AsyncIterator[Event] = client._client.events(sid, after=after)

    async def following() -> Event:
        return await anext(events)

    while True:
        yield client._runner.run(following())


def port_of(server: Server) -> int:
    port = httpx.URL(server.url).port
    assert port is not None
    return port


def test_a_session_is_followed(connect: Connect, server: Server) -> None:
    sid, rmt = server.session(), connect(server.url)
    events = follow(rmt, sid)
    first = next(events)
    document = server.send(sid, text(3000))
    seen = list(itertools.takewhile(lambda event: event.kind != "done", events))
    again = follow(rmt, sid, first.id)
    assert [next(again) for _ in seen] == seen
    done = next(again)
    assert (done.kind, done.data["documents"]) == ("done", [document["id"]])


def test_over_cut_connections_every_event_comes_once(connect: Connect, server: Server) -> None:
    sid = server.session()
    with Relay(port_of(server)) as relay:
        events = follow(connect(f"http://127.0.0.1:{relay.port}"), sid)
        seen = [next(events)]
        for size in (0, 300, 0, 3000):
            server.send(sid, text(size), wait=True)
            seen.append(next(events))
            relay.cut()
        seen += itertools.islice(events, 4)
        replayed = follow(connect(server.url), sid, "0-0")
        assert list(itertools.islice(replayed, len(seen))) == seen


def test_a_server_that_stops_hands_its_streams_to_another(connect: Connect, start_server: ServerFactory) -> None:
    first, second = start_server(), start_server()
    sid = first.session()
    with Relay(port_of(first)) as relay:
        events = follow(connect(f"http://127.0.0.1:{relay.port}"), sid)
        seen = [next(events)]
        relay.target = port_of(second)
        first.scheduler.stop()
        relay.cut()
        second.send(sid, text(3000), wait=True)
        seen += itertools.islice(events, 2)
        assert list(itertools.islice(follow(connect(second.url), sid, "0-0"), 3)) == seen


def test_a_session_that_goes_ends_it(connect: Connect, server: Server) -> None:
    sid, rmt = server.session(), connect(server.url)
    events = follow(rmt, sid)
    next(events)
    server.http.delete(f"/v1/sessions/{sid}")
    with pytest.raises(NotFoundError):
        next(events)
    with pytest.raises(NotFoundError):
        next(follow(rmt, sid))


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
def test_the_command_line_follows_until_it_is_interrupted(server: Server, form: list[str]) -> None:
    """Each line comes as soon as it has happened, through a pipe too."""
    sid = server.session()
    command = [sys.executable, "-m", "rmt_client", "sessions", "events", sid, "--url", server.url, *form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert following.stderr
        lines = [following.stdout.readline()]
        document = server.send(sid, text(500))["id"]
        while "done" not in lines[-1]:
            lines.append(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        said = following.stderr.read()
    assert (following.returncode, said) == (130, "")
    if form:
        assert json.loads(lines[-1])["data"]["documents"] == [document]
    else:
        _, kind, *told = lines[-1].rstrip("\n").split("\t")
        assert (kind, told[1], told[-1]) == ("done", "read_bytes 500", f"documents ['{document}']")
