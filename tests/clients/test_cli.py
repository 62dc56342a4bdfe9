"""The command line: in this process where that is enough, as a process where pipes and signals matter."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rmt_client import Client, Progress
from rmt_client.cli import main
from rmt_client.cli.answers import NOT_FOUND, NOT_SUPPORTED, place_of
from rmt_client.cli.ask import as_questions
from rmt_client.cli.progress import ProgressView, Rate
from rmt_client.cli.trace import _drawn
from rmt_client.models import Citation, MovementColumn, Movements, TimelinePoint

from .conftest import API_KEY
from .faulty_proxy import FaultyProxy, LoseAnswer, Refuse

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], server_url: str) -> Run:
    """Runs a command; returns its exit code, output and complaints."""
    monkeypatch.setenv("RMT_URL", server_url)
    monkeypatch.setenv("RMT_API_KEY", API_KEY or "")

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        said = capfd.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def client(server_url: str) -> Any:
    with Client(server_url, API_KEY) as client:
        yield client


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("Mary is in the garden. " * 1000)
    return path


def test_read_and_ask(run: Run, book: Path) -> None:
    code, out, err = run("read", book, "--focus", "Where is Mary?", "--metadata", "title=Mary")
    session = out.strip()
    assert code == 0
    assert re.fullmatch(rf"Read 23,000 bytes; session {session} has read [\d,]+ tokens\.\n", err)
    code, out, _ = run("ask", "Where is Mary?", "-s", session)
    assert code == 0
    assert "\t" not in out
    assert out.endswith("\n")
    code, out, _ = run("ask", "Where is Mary?", "Who?", "-s", session)
    assert [line.split("\t")[0] for line in out.splitlines()] == ["Where is Mary?", "Who?"]
    code, out, _ = run("ask", "Where is Mary?", "-s", session, "--json")
    assert json.loads(out)["position"]["bytes"] == 23_000
    code, out, _ = run("sessions", "show", session, "--json")
    assert json.loads(out)["focus"] == ["Where is Mary?"]
    assert json.loads(out)["metadata"] == {"title": "Mary"}


def test_read_into_a_session_as_json(run: Run, book: Path) -> None:
    code, out, _ = run("sessions", "create")
    session = out.strip()
    code, out, _ = run("read", book, "--session", session, "--json", "--no-wait")
    told = json.loads(out)
    assert code == 0
    assert told["session"]["id"] == told["document"]["session_id"] == session
    assert told["document"]["complete"]


def test_sessions(run: Run) -> None:
    _, out, _ = run("sessions", "create", "--focus", "a", "--focus", "b")
    session = out.strip()
    for command in (["sessions"], ["sessions", "list"]):
        code, out, _ = run(*command, "-n", 1000)
        rows = [line.split("\t") for line in out.splitlines()]
        assert code == 0
        assert next(row for row in rows if row[0] == session)[-1] == "a | b"
    _, out, _ = run("sessions", "--json", "--limit", 1)
    assert len(json.loads(out)) == 1
    assert json.loads(run("sessions", "delete", session, "--json")[1]) == {"id": session, "deleted": True}
    code, _, err = run("sessions", "show", session)
    assert code == 1
    assert "`rmt sessions`" in err


def test_snapshots(run: Run, book: Path, tmp_path: Path) -> None:
    _, out, _ = run("read", book)
    session, file = out.strip(), tmp_path / "memory.safetensors"
    _, out, _ = run("snapshots", "create", "--session", session, "--name", "garden")
    snapshot = out.strip()
    _, out, _ = run("snapshots", "list", "--session", session)
    assert out.split("\t")[:3] == [snapshot, "garden", session]
    _, out, _ = run("snapshots", "export", snapshot, "-o", file, "--json")
    assert json.loads(out)["size_bytes"] == file.stat().st_size
    code, out, _ = run("snapshots", "import", file, "--name", "again", "--json")
    assert code == 0
    assert json.loads(out)["name"] == "again"
    _, out, _ = run("snapshots", "--json")
    assert {"garden", "again"} <= {kept["name"] for kept in json.loads(out)}
    _, out, _ = run("sessions", "create", "--snapshot", snapshot)
    assert run("sessions", "show", out.strip())[0] == 0
    assert run("snapshots", "restore", snapshot, "--session", session)[0] == 0
    assert run("snapshots", "delete", snapshot)[0] == 0
    code, _, err = run("snapshots", "export", snapshot)
    assert code == 1
    assert snapshot in err


def test_a_file_is_read_under_its_name(run: Run, book: Path) -> None:
    def name(*options: object) -> object:
        code, out, err = run("read", *options, "--json")
        assert code == 0, err
        return json.loads(out)["document"]["name"]

    assert name(book) == book.name
    assert name(book, "--name", "Chapter one") == "Chapter one"
    assert name(book, "--name", "") is None


def test_a_memory_that_took_nothing_is_told_of(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "odd.txt"
    file.write_text("Of this a memory takes nothing in.")
    told = "The memory took nothing of this text in; search still finds its passages.\n"
    code, out, err = run("read", file)
    assert (code, told in err) == (0, True)
    assert run("sessions", "show", out.strip())[2] == told
    _, _, err = run("read", file, "--no-keep-text")
    assert err.endswith("The memory took nothing of this text in.\n")


STORY = "The key is in the drawer. A dog sleeps in the hall. Mary went to the garden. John stayed at home. The end."


@pytest.fixture
def story(client: Client) -> str:
    """A session that has read one."""
    session = client.create_session().id
    client.read(session, STORY)
    return session


@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["at once", "in words"])
def test_a_pipe_gets_the_answer_alone(run: Run, story: str, how: list[str]) -> None:
    assert run("ask", "Where is the key?", "-s", story, *how) == (0, f"about {len(STORY)} bytes\n", "")
    assert run("ask", "Where is the zebra?", "-s", story, *how) == (0, "(not found)\n", "")
    code, out, err = run("ask", "Summarise it.", "-s", story, *how)
    assert (code, out, err) == (0, "(not supported)\n", f"{NOT_SUPPORTED}\n")


def test_several_answers_in_a_pipe_are_lines(run: Run, story: str) -> None:
    code, out, _ = run("ask", "Where?", "A zebra?", "-s", story)
    assert (code, out.splitlines()) == (0, [f"Where?\tabout {len(STORY)} bytes", "A zebra?\t(not found)"])


def test_all_of_an_answer_as_json(run: Run, story: str) -> None:
    (answer,) = json.loads(run("ask", "Where is the key?", "-s", story, "--json")[1])["answers"]
    assert (answer["outcome"], answer["notice"], len(answer["citations"])) == ("answered", None, 4)
    assert answer["citations"][0]["quote"] == "The key is in the drawer."


def test_a_question_needs_no_quotes(run: Run, story: str) -> None:
    (answer,) = json.loads(run("ask", "Where", "is", "the", "key", "--session", story, "--json")[1])["answers"]
    assert answer["question"] == "Where is the key"


@pytest.mark.parametrize(
    ("words", "questions"),
    [
        ([], []),
        (["Where is Mary?"], ["Where is Mary?"]),
        (["Where", "is", "Mary?"], ["Where is Mary?"]),
        (["Where", "is", "New York"], ["Where is New York"]),
        (["Where is Mary?", "Who is out?"], ["Where is Mary?", "Who is out?"]),
        (["Where", "is", "Mary?", "Who", "is", "out"], ["Where is Mary?", "Who is out"]),
        (["玛丽在哪里？", "谁?"], ["玛丽在哪里？", "谁?"]),
    ],
)
def test_words_are_put_together_to_questions(words: list[str], questions: list[str]) -> None:
    assert as_questions(words) == questions


def test_options_of_a_search_reach_the_server(run: Run, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    plain = Client.ask_many

    def ask_many(self: Client, *args: Any, **options: Any) -> Any:
        asked.update(options)
        return plain(self, *args, **options)

    monkeypatch.setattr(Client, "ask_many", ask_many)
    assert run("ask", "Where?", "-s", story, "--mode", "search", "-d", "doc_1", "-d", "doc_2")[0] == 0
    assert (asked["mode"], asked["documents"]) == ("search", ["doc_1", "doc_2"])
    assert run("ask", "Where?", "-s", story)[0] == 0
    assert (asked["mode"], asked["documents"]) == (None, None)


def test_a_notice_is_shown_once_and_beside_the_answers(run: Run, client: Client) -> None:
    session = client.create_session().id
    client.read(session, "All of this is made up.")
    for questions in (["Where?"], ["Where?", "Who?"], ["Where?", "--stream"]):
        code, out, err = run("ask", *questions, "-s", session)
        assert (code, "made up" in out, err) == (0, False, "Note: This text is made up.\n")


def on_terminal(client: Client, *args: str) -> str:
    """What a person sees."""
    ours, theirs = pty.openpty()
    with start(client.url, *args, stdout=theirs) as command:
        command.wait(20)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    os.close(ours)
    return shown


BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["at once", "in words"])
def test_a_person_sees_where_an_answer_stands(client: Client, story: str, how: list[str]) -> None:
    lines = on_terminal(client, "ask", "Where is the key?", "-s", story, *how).splitlines()
    assert lines[0] == f"about {len(STORY)} bytes{DIM}  (50%){PLAIN}"
    assert lines[1].rstrip() == f"  “The key is in the {BOLD}drawer{PLAIN}.”"
    assert re.fullmatch(rf"  {re.escape(DIM)}document \w+, characters 0–25{re.escape(PLAIN)}\s*", lines[2])
    assert lines[5].rstrip() == f"  “Mary went to the {BOLD}garden{PLAIN}.”"
    assert len(lines) == 7  # three sentences of four
    shown = on_terminal(client, "ask", "Where is the dog?", "-s", story, *how)
    assert "(50%, not verified: the first quote alone does not give it)" in shown


@pytest.mark.parametrize("how", [[], ["--stream"]], ids=["at once", "in words"])
def test_a_person_sees_what_came_closest(client: Client, story: str, how: list[str]) -> None:
    shown = on_terminal(client, "ask", "Where is the zebra?", "-s", story, *how)
    lines = shown.splitlines()
    assert lines[:2] == [NOT_FOUND, f"{DIM}Closest:{PLAIN}"]
    assert re.sub("\x1b[^m]*m", "", lines[2]).rstrip() == "  “The key is in the drawer.”"
    assert lines[2].startswith(f"  {DIM}")
    assert on_terminal(client, "ask", "Summarise it", "-s", story, *how).startswith(NOT_SUPPORTED)


def test_a_person_sees_the_guess_where_there_is_no_sentence(client: Client) -> None:
    session = client.create_session().id
    shown = on_terminal(client, "ask", "Where is the zebra?", "Who?", "-s", session)
    assert shown.splitlines() == [
        f"{BOLD}Where is the zebra?{PLAIN}",
        NOT_FOUND,
        f"{DIM}At best: about 0 bytes (50%){PLAIN}",
        f"{BOLD}Who?{PLAIN}",
        f"about 0 bytes{DIM}  (50%){PLAIN}",
    ]


def test_a_text_cannot_command_a_terminal(client: Client) -> None:
    session = client.create_session().id
    client.read(session, "The \x1b[31mred\nkey\x07 is in the drawer.")
    shown = on_terminal(client, "ask", "Where is the key?", "-s", session)
    assert "“The  [31mred key  is in the" in shown


@pytest.mark.parametrize(
    ("known", "place"),
    [
        ({}, "document doc_1, characters 1,204–1,310"),
        ({"document": "book.txt", "page": 7, "section": "Keys"}, None),
        ({"document_id": None, "start_char": None, "end_char": None}, "bytes 2,000–2,106 of the session's text"),
    ],
)
def test_where_a_sentence_stands(known: dict[str, Any], place: str | None) -> None:
    plain = {
        "document_id": "doc_1",
        "document": None,
        "start": 2000,
        "end": 2106,
        "start_char": 1204,
        "end_char": 1310,
        "answer_start": 2010,
        "answer_end": 2020,
        "quote": "x" * 106,
        "score": 1.0,
    }
    citation = Citation.from_json(plain | known)
    assert place_of(citation) == (place or "document book.txt, page 7, section Keys, characters 1,204–1,310")


def test_status(run: Run) -> None:
    code, out, _ = run("status")
    assert (code, out.split()[1:]) == (0, ["is", "ready"])
    assert json.loads(run("status", "--json")[1])["ready"]


@pytest.mark.parametrize("command", [["status"], ["read", __file__], ["ask", "-s", "x", "?"], ["sessions"]])
def test_no_server(run: Run, command: list[str]) -> None:
    code, out, err = run(*command, "--url", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    first, then = err.splitlines()
    assert first == "rmt: No server answers at http://127.0.0.1:9."
    assert "`make serve`" in then


def test_keys(run: Run, locked_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run("sessions", "--url", locked_url)
    assert code == 1
    assert "RMT_API_KEY" in err
    monkeypatch.setenv("RMT_API_KEY", "secret")
    assert run("sessions", "--url", locked_url)[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ["read", "no such file"],
        ["read", __file__, "--document", "d"],
        ["read", __file__, "--session", "s", "--focus", "f"],
        ["ask", "Where?"],
        ["ask", "Where?", "--session", "s", "--mode", "guess"],
        ["ask", "Where?", "Who?", "--session", "s", "--stream"],
        ["snapshots", "export", "n", "--json"],
        ["sessions", "create", "--metadata", "word"],
        ["sessions", "--limit", "3", "list"],
        ["nothing"],
    ],
)
def test_wrong_usage(run: Run, command: list[str]) -> None:
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert "Error" in err


def test_text_in_another_encoding(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("Bärbel".encode("latin-1"))
    code, _, err = run("read", path)
    assert code == 1
    assert f"Byte 1 of {path} is not UTF-8" in err
    assert "iconv" in err


def test_giving_up_says_how_to_go_on_and_that_works(run: Run, proxy: FaultyProxy, book: Path) -> None:
    proxy.plan("PATCH", *[Refuse(503)] * 100)
    code, _, err = run("read", book, "--url", proxy.url, "--give-up-after", "0.2")
    assert code == 1
    assert "Trying again" in err
    way_on = err.strip().splitlines()[-1].removeprefix("Go on with: rmt ").split()
    code, out, _ = run(*way_on)
    assert (code, out.strip()) == (0, way_on[way_on.index("--session") + 1])


def test_the_unexpected_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "status", lambda self: 1 / 0)
    code, _, err = run("status")
    assert code == 1
    assert err.startswith("rmt: ZeroDivisionError: division by zero.\nThis is unexpected")


def start(server_url: str, *args: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RMT_URL": server_url, "RMT_API_KEY": API_KEY or "", "TERM": "xterm"}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-m", "rmt_client", *args], env=environment, **streams)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def accepted(client: Client, session: str) -> int:
    return client.get_session(session).accepted_bytes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pipe_is_sent_as_it_comes_until_ctrl_c(client: Client, proxy: FaultyProxy, number: signal.Signals) -> None:
    session = client.create_session().id
    proxy.plan("PATCH", LoseAnswer(), None, Refuse(503))
    with start(proxy.url, "read", "-", "--session", session) as command:
        assert command.stdin
        command.stdin.write("Мэри\n".encode())
        command.stdin.flush()
        until(lambda: accepted(client, session) == 9)
        assert command.poll() is None
        command.stdin.write("и half a character: ".encode() + "и".encode()[:1])
        command.stdin.flush()
        until(lambda: accepted(client, session) == 30)
        command.send_signal(number)
        out, err = command.stdout.read(), command.stderr.read()  # type: ignore[union-attr]
        assert command.wait(10) == 0, err
    assert out.decode().strip() == session
    assert b"Read 30 bytes" in err
    assert client.wait_until_read(session).read_bytes == 30


def test_a_pipe_ends_with_its_end(client: Client) -> None:
    session = client.create_session().id
    with start(client.url, "read", "-", "--session", session, "--json") as command:
        out, err = command.communicate(b"Mary " * 100_000)
    assert command.returncode == 0, err
    assert json.loads(out)["document"]["offset"] == 500_000


def test_a_redirected_file_is_read_as_one(client: Client, book: Path) -> None:
    with book.open("rb") as file, start(client.url, "read", "-", "--json", stdin=file) as command:
        out, _ = command.communicate()
    assert json.loads(out)["document"]["length"] == 23_000


def test_ctrl_c_in_a_file_says_how_to_go_on(client: Client, proxy: FaultyProxy, book: Path) -> None:
    proxy.plan("PATCH", *[Refuse(503)] * 1000)
    with start(proxy.url, "read", str(book)) as command:
        until(lambda: proxy.seen.count("PATCH") > 2)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=10)
    assert command.returncode == 130
    assert b"Stopped. Go on with: rmt read" in err
    assert b"Traceback" not in err


def test_a_closed_output_is_no_traceback(client: Client) -> None:
    with start(client.url, "sessions") as command:
        assert command.stdout
        command.stdout.close()
        assert command.stderr
        assert b"Traceback" not in command.stderr.read()


def test_a_terminal_shows_a_bar(client: Client, book: Path) -> None:
    ours, theirs = pty.openpty()
    with start(client.url, "read", str(book), stderr=theirs) as command:
        command.wait(20)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "tokens/s" in shown
    assert "Ask it: rmt ask --session" in shown


def test_a_terminal_shows_ids_whole(client: Client) -> None:
    client.create_session(focus=["a long question " * 20])
    session = client.list_sessions(limit=1).items[0].id
    ours, theirs = pty.openpty()
    with start(client.url, "sessions", "-n", "1", stdout=theirs) as command:
        command.wait(20)
    os.close(theirs)
    assert session in os.read(ours, 1 << 20).decode()
    os.close(ours)


def test_the_bar_shows_all_that_was_promised() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    with ProgressView(wait=True, console=console) as view:
        view(Progress("d", 1_000_000, 2_000_000, 500_000, 125_000))
        view(Progress("d", 1_000_000, 2_000_000, 500_000, 125_000, problem="The connection was cut."))
    shown = screen.getvalue()
    assert "1.0 MB of 2.0 MB sent" in shown
    assert "125,000 tokens" in shown
    assert "trying again: The connection was cut." in shown
    assert view.last
    assert view.last.read_bytes == 500_000


def test_the_rate_is_of_the_last_moments() -> None:
    rate = Rate()
    assert rate.per_s(0, 0.0) == 0.0
    assert rate.per_s(100, 1.0) == 100.0
    for second in range(2, 30):
        shown = rate.per_s(100, float(second))
    assert shown == 0.0


def test_a_peak_is_drawn_where_it_is() -> None:
    """However many columns there are beside the width of the drawing."""
    columns = tuple(MovementColumn(at + 1, 100 * (at + 1), (1.0 if at == 256 else 0.1,)) for at in range(512))
    bars, axis = _drawn(Movements(0, 1, columns), ())
    drawn = bars.split(maxsplit=1)[1].rpartition(" ")[0]
    assert [place for place, bar in enumerate(drawn) if bar == max(drawn)] == [len(drawn) // 2]
    assert axis.endswith("51,200 bytes")


def test_answers_are_drawn_without_movements_and_before_them() -> None:
    """Of a session that was read by a server which did not note them, wholly or at first."""
    points = [TimelinePoint(at, 100 * at, 25 * at, (0.1,), None, "home", "home", at / 8) for at in range(1, 9)]
    confidence, axis, answer = _drawn(Movements(0, 1, ()), points)
    drawn = confidence.split(maxsplit=1)[1].rpartition(" ")[0]
    assert (len(drawn), sorted(drawn), drawn[-1]) == (64, list(drawn), "█")
    assert axis.endswith("800 bytes")
    assert answer.endswith("100 home (12%)")
    columns = tuple(MovementColumn(at, 100 * at, (0.1,)) for at in (7, 8))
    moved, later, *_, answered = _drawn(Movements(600, 1, columns), points)
    assert moved.split()[0] == "moved"
    assert later.split()[1] == "▇" * 32 + "█" * 32
    assert answered == answer
