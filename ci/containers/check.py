"""What the running containers are asked; `ci/containers.sh` builds them and calls this.

    python -m ci.containers.check --key KEY -- COMPOSE...

KEY is the one that docker/make-secrets.sh showed; COMPOSE is the compose command. The current folder is the project.
"""

import argparse
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from rmt_client import Answer, Client, RmtError, Session

_FACT, _QUESTION, _SAID = (
    "Margaret Holloway has owned the boathouse since 1987.",
    "Who owns the boathouse?",
    "Margaret Holloway",
)
_FIRST, _PROXY, _PROMETHEUS = "http://127.0.0.1:8080", "http://127.0.0.1:8000", "http://127.0.0.1:9090"
_LONG_BYTES = 160_000
_PATIENCE_S = 180.0
_SECURE = {"COMPOSE_FILE": "docker-compose.yml:docker/secure.yml"}


class Stack:
    """The services, by the compose command."""

    def __init__(self, compose: list[str], docker: str) -> None:
        self._compose, self._docker = compose, docker
        self.environment: dict[str, str] = {}

    def compose(self, *arguments: str) -> str:
        """Run it for all services; what it printed."""
        return self._run([*self._compose, "--profile", "*", *arguments])

    def up(self, *services: str) -> None:
        """Start services, or those without a profile, and wait until they are healthy."""
        patience = ("--wait", "--wait-timeout", str(int(_PATIENCE_S)))
        self._run([*self._compose, "up", "--detach", "--no-build", *patience, *services])

    def containers(self, *services: str) -> list[str]:
        """The ids of the running containers of services."""
        return self.compose("ps", "--quiet", *services).split()

    def docker(self, *arguments: str) -> str:
        """Run the docker command; what it printed."""
        return self._run([self._docker, *arguments])

    def metrics(self, container: str) -> dict[str, float]:
        """A server's metrics without labels, asked for inside its container."""
        code = "import urllib.request as http; print(http.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
        lines = self.docker("exec", container, "python", "-c", code).splitlines()
        found = (line.split(" ") for line in lines if line and line[0] != "#" and "{" not in line)
        return {name: float(value) for name, value in found}

    def reader(self) -> str:
        """The container of the server that reads at the moment."""
        return next(one for one in self.containers("server", "replica") if self.metrics(one)["rmt_readings"])

    def _run(self, command: list[str]) -> str:
        known = os.environ | self.environment
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


def main() -> None:
    """Check everything, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", required=True)
    parser.add_argument("--docker", default="docker")
    parser.add_argument("compose", nargs="+")
    options = parser.parse_args()
    stack, text = Stack(options.compose, options.docker), _long_text()

    with _told("redis and a server start, ready and locked up"):
        stack.up()
        _is_locked_up(stack)
    with _told("a document is read and asked about"), Client(_FIRST) as rmt:
        undisturbed, answer = _read(rmt, text)
        assert _SAID in answer.answer, answer

    def like_undisturbed(rmt: Client, meanwhile: Callable[[str], None]) -> None:
        session, found = _read(rmt, text, meanwhile)
        for name in ("digest", "tokens", "segments", "read_bytes"):
            assert getattr(session, name) == getattr(undisturbed, name), (name, session, undisturbed)
        assert found.answer == answer.answer, (found, answer)

    with _told("three servers behind the proxy, which holds nothing back"), Client(_PROXY) as rmt:
        stack.up("proxy", "prometheus")
        assert len(stack.containers("server", "replica")) == 3
        like_undisturbed(rmt, lambda sid: _events_come_while_it_reads(rmt, sid))
        _text_arrives_before_its_request_ends(rmt)
    with _told("one of them is killed while it reads"), Client(_PROXY) as rmt:
        like_undisturbed(rmt, lambda _: stack.docker("kill", stack.reader()) and None)
        assert len(stack.containers("server", "replica")) in (2, 3)
        stack.up("proxy")
    with _told("Redis is restarted while one reads"), Client(_PROXY) as rmt:
        like_undisturbed(rmt, lambda _: stack.compose("restart", "redis") and None)
    with _told("Prometheus sees every server"):
        _until(lambda: _prometheus('sum(up{job="rmt"})') == 3)
        assert _prometheus("sum(rmt_tokens_read_total)") > 0
    with _told("they stop without an error, and what was read is there again"), Client(_FIRST) as rmt:
        servers = stack.containers("server", "replica")
        stack.compose("stop")
        ended = [stack.docker("inspect", "--format", "{{.State.ExitCode}}", one).strip() for one in servers]
        assert ended == ["0"] * 3, ended
        stack.up()
        assert rmt.get_session(undisturbed.id).digest == undisturbed.digest
        assert rmt.ask(undisturbed.id, _QUESTION).answer == answer.answer
    with _told("with keys and a password for Redis"):
        stack.compose("down", "--volumes")
        stack.environment = _SECURE
        stack.up("server", "prometheus")
        _asks_for_a_key(options.key)
        _forgets_a_revoked_key(options.key)
        _until(lambda: _prometheus('sum(up{job="rmt"})') == 1)
    stack.compose("down", "--volumes")


def _read(rmt: Client, text: str, meanwhile: Callable[[str], None] = lambda _: None) -> tuple[Session, Answer]:
    """Send a text into a session, do something while it is read, and ask."""
    session = rmt.create_session(focus=[_QUESTION])

    def disturb() -> None:
        _until(lambda: rmt.get_session(session.id).segments > 2)
        assert rmt.get_session(session.id).status == "reading", "it is over already: take a longer text"
        meanwhile(session.id)

    with ThreadPoolExecutor(1) as pool:
        disturbed = pool.submit(disturb)
        rmt.read(session.id, text)
        disturbed.result()
    return rmt.get_session(session.id), rmt.ask(session.id, _QUESTION)


def _events_come_while_it_reads(rmt: Client, sid: str) -> None:
    events = rmt.events(sid)
    read = [next(events).data["read_bytes"] for _ in range(3)]
    assert read == sorted(read), read
    assert rmt.get_session(sid).status == "reading", "the events came when all was read"


def _text_arrives_before_its_request_ends(rmt: Client) -> None:
    """Each piece is accepted before the next one is sent, within one request."""
    session = rmt.create_session()
    piece = _FACT.encode()

    def pieces() -> Iterator[bytes]:
        for sent in range(len(piece), 4 * len(piece), len(piece)):
            yield piece
            _until(lambda sent=sent: rmt.get_session(session.id).accepted_bytes == sent)  # type: ignore[misc]

    url = f"{_PROXY}/v1/sessions/{session.id}/documents"
    headers = {"Content-Type": "text/plain", "Upload-Complete": "?1"}
    httpx.post(url, content=pieces(), headers=headers, timeout=_PATIENCE_S).raise_for_status()


def _is_locked_up(stack: Stack) -> None:
    """Not root, no capabilities, nothing to write to but /tmp."""
    [server] = stack.containers("server")
    code = (
        "import os, pathlib, tempfile; assert os.getuid() == 10001; tempfile.TemporaryFile()\n"
        "assert 'CapEff:\\t0000000000000000' in pathlib.Path('/proc/self/status').read_text()\n"
        "for place in ('/', '/opt/rmt', '/home'):\n"
        "    try: pathlib.Path(place, 'x').touch()\n"
        "    except OSError: continue\n"
        "    raise AssertionError(place)\n"
    )
    stack.docker("exec", server, "python", "-c", code)
    health = stack.docker("inspect", "--format", "{{.State.Health.Status}}", server).strip()
    assert health == "healthy", health


def _asks_for_a_key(key: str) -> None:
    answer = httpx.post(f"{_FIRST}/v1/sessions", json={})
    assert answer.status_code == 401, answer
    with Client(_FIRST, api_key=key) as rmt:
        session = rmt.create_session(focus=[_QUESTION])
        rmt.read(session.id, _FACT)
        found = rmt.ask(session.id, _QUESTION)
        assert _SAID in found.answer, found


def _forgets_a_revoked_key(key: str) -> None:
    """Without a restart, also where a new file takes the place of the old one."""
    keys = Path("docker/secrets/server/api_keys")
    others = [line for line in keys.read_text().splitlines() if not line.startswith("main ")]
    new = keys.with_name("new")
    new.write_text("\n".join(others))
    new.rename(keys)
    headers = {"Authorization": f"Bearer {key}"}
    _until(lambda: httpx.get(f"{_FIRST}/v1/sessions", headers=headers).status_code == 401)


def _prometheus(query: str) -> float:
    answer = httpx.get(f"{_PROMETHEUS}/api/v1/query", params={"query": query}).raise_for_status()
    found = answer.json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if condition():
                return
        except (httpx.HTTPError, RmtError):
            pass
        assert time.monotonic() < deadline_s, "it did not come to that"
        time.sleep(0.2)


def _long_text() -> str:
    """Pages of this project's own, with a fact in the middle."""
    pages = "\n\n".join(path.read_text() for path in sorted(Path("docs").glob("*.md")))[: _LONG_BYTES // 2]
    return f"{pages}\n\n{_FACT}\n\n{pages}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    started_s = time.monotonic()
    yield
    print(f"  {what}: {time.monotonic() - started_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
