"""`rmt` as people use it at a terminal, at a real server: talking, watching, remembering, completing."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server, text

QUESTION = "Where is Mary?"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings."""
    for name in ("RMT_URL", "RMT_API_KEY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def start(*args: object, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rmt_client", *map(str, args)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, text=True, **pipes)


def run(*args: object, typed: str = "") -> tuple[int, str, str]:
    with start(*args) as command:
        out, err = command.communicate(typed, timeout=60)
    return command.returncode, out, err


# ---------------------------------------------------------------------------- talking


def test_a_person_is_asked_for_questions(server: Server, home: Path) -> None:
    sid = server.read(text(3000), focus=[QUESTION])
    ours, theirs = pty.openpty()
    with start("ask", "--session", sid, "--url", server.url, "--max-tokens", 4, stdin=theirs) as command:
        assert command.stdout is not None
        os.write(ours, f"{QUESTION}\n".encode())
        answer = server.ask(sid, QUESTION, max_tokens=4)
        wanted = answer["answer"] if answer["answer"] is not None else "(not found)"
        said = ""
        while wanted not in said:
            piece = command.stdout.read(1)
            assert piece, said
            said += piece
        os.write(ours, b"\n \n")  # nothing is asked
        os.write(ours, ("?" * 50_000 + "\n").encode()[:4000] + b"\n\x04")
        _, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
    os.close(theirs)
    os.close(ours)
    assert "Ctrl-D ends it" in err


def test_questions_come_from_a_pipe(server: Server, home: Path) -> None:
    sid = server.read(text(3000))
    code, out, err = run("ask", "--session", sid, "--url", server.url, typed=f"{QUESTION}\n\nWho went?\n")
    assert code == 0, err
    assert [line.split("\t")[0] for line in out.splitlines() if "\t" in line] == [QUESTION, "Who went?"]
    code, _, err = run("ask", "--session", sid, "--url", server.url)
    assert (code, "There is no question" in err) == (2, True)


# ---------------------------------------------------------------------------- watching


def test_a_growing_file_is_watched(server: Server, home: Path) -> None:
    log = home / "service.log"
    log.write_bytes(text(2000) + b"\nhalf a line")
    with start("watch", log, "--focus", QUESTION, "--url", server.url, "--json", "--idle", 8) as command:
        assert command.stdout is not None
        first = json.loads(command.stdout.readline())
        assert first["question"] == QUESTION
        with log.open("ab") as file:
            file.write(b" and the rest\n" + text(2000, seed=1) + b"\n")
        out, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
    answers = [first, *map(json.loads, out.splitlines())]
    assert all(one["answer"] != other["answer"] for one, other in pairwise(answers))
    sid = err.split()[1]
    session = server.look(sid)
    assert (session["accepted_bytes"], session["focus"]) == (log.stat().st_size, [QUESTION])
    assert session["metadata"] == {"title": "service.log"}


def test_a_file_that_is_begun_anew_is_read_from_its_beginning(server: Server, home: Path) -> None:
    log = home / "service.log"
    log.write_bytes(b"old line\n" * 100)
    sid = server.session(focus=[QUESTION])
    with start("watch", log, "--session", sid, "--new", "--url", server.url) as command:
        time.sleep(2)
        log.write_bytes(b"new line\n")
        deadline = time.monotonic() + 30
        while server.look(sid)["read_bytes"] < 9:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=30)
    assert command.returncode == 0
    assert f"Stopped; session {sid} stays" in err
    assert server.look(sid)["accepted_bytes"] == len("new line\n")


def test_what_cannot_be_watched(server: Server, home: Path) -> None:
    log = home / "service.log"
    log.write_text("line\n")
    url = ("--url", server.url)
    assert run("watch", log, *url)[0] == 2
    assert run("watch", home / "none.log", "--focus", QUESTION, *url)[0] == 2
    code, _, err = run("watch", log, "--session", server.session(), *url)
    assert (code, "has no focuses" in err) == (2, True)


# ---------------------------------------------------------------------------- remembering


def test_where_the_server_is_is_remembered(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "set", "url", server.url) == (0, "", "")
    assert run("config", "set", "api-key", "rmt_secret1234")[0] == 0
    file = home / ".config" / "rmt" / "config.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    code, out, _ = run("config", "show")
    assert (code, server.url in out, "…1234" in out, "secret" in out) == (0, True, True, False)
    assert json.loads(run("config", "show", "--json")[1])["url"] == server.url
    assert run("config", "unset", "api-key")[0] == 0
    assert run("status") == (0, f"{server.url} is ready\n", "")
    assert run("sessions", "list", "-n", 1)[0] == 0
    assert run("status", "--url", "http://127.0.0.1:9")[0] == 1
    monkeypatch.setenv("RMT_URL", "http://127.0.0.1:9")
    assert run("status")[0] == 1


def test_settings_that_are_none(home: Path) -> None:
    assert run("config", "set", "colour", "red")[0] == 2
    file = home / ".config" / "rmt" / "config.toml"
    file.parent.mkdir(parents=True)
    for wrong in ("colour = 'red'", "url = 7", "url = "):
        file.write_text(wrong)
        code, _, err = run("status")
        assert (code, str(file) in err, "Mend it, or delete it." in err) == (1, True, True)


# ---------------------------------------------------------------------------- completing


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(home: Path, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_RMT_COMPLETE", f"source_{shell}")
    code, out, err = run()
    assert (code, "rmt" in out) == (0, True), err
