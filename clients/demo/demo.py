"""The demo: a server of its own reads a real long text and answers ordinary questions, each with its quote.

`make demo` runs it. The text is the Python language reference that ships with CPython. Two of the questions are given
before reading, as focuses; the others come afterwards. One is about something else, and one asks for a summary: there
the right answer is none. Exit code 1 when fewer than 6 of 11 come out as they should, when a restored memory answers
otherwise, or when the server does not stop cleanly.
"""

import argparse
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rmt_client import Client, RmtError
from rmt_client import Progress as Reading

ROOT = Path(__file__).resolve().parents[2]
LARGEST_CHUNK_BYTES = 48 * 1024
ENOUGH_RIGHT = 6
STOP_TIMEOUT_S = 60.0
NOTHING, UNSUPPORTED = "not_found", "not_supported"
_WITHOUT_WEB_FONTS = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """A question, words that one of the right answers has, and the outcome that is right."""

    question: str
    words: tuple[str, ...] = ()
    outcome: str = "answered"


FOCUSED = (
    Asked("Which exception is raised when a number is divided by zero?", ("ZeroDivisionError",)),
    Asked("What are system-defined names informally known as?", ("dunder",)),
)
LATER = (
    Asked("What happens when a pass statement is executed?", ("nothing", "null operation")),
    Asked("What is the source character set if no encoding declaration is given?", ("UTF-8",)),
    Asked("How should comparisons for singletons be done?", ("is",)),
    Asked("What may happen to objects when they become unreachable?", ("garbage",)),
    Asked("Which exception does a return statement in a generator function cause?", ("StopIteration",)),
    Asked("Which standard does the comparison of not-a-number values comply with?", ("IEEE 754",)),
    Asked("What do decorators get as their only argument?", ("function object",)),
    Asked("Who won the football world cup in 1998?", outcome=NOTHING),
    Asked("Summarise the chapter on classes.", outcome=UNSUPPORTED),
)


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Read a long text, and answer questions about it.")
    parser.add_argument("--url", help="use this server instead of starting one")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data" / "demo", help="where its Redis keeps its data")
    parser.add_argument("--seed", type=int, default=11, help="decides how the text is cut into pieces")
    parser.add_argument("--picture", type=Path, help="save what is printed as an SVG")
    options = parser.parse_args()
    console = Console(
        highlight=False, soft_wrap=True, record=options.picture is not None, width=options.picture and 112
    )
    try:
        with server(options.url, options.data_dir, console) as url, Client(url) as rmt:
            code = _run(rmt, random.Random(options.seed), console)
    except (RmtError, OSError, subprocess.SubprocessError) as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        code = 1
    if options.picture:
        console.save_svg(str(options.picture), title="make demo", code_format=_WITHOUT_WEB_FONTS)
    return code


def _run(rmt: Client, rng: random.Random, console: Console) -> int:
    text = language_reference()
    console.print(
        f"\n[bold]1. Reading[/bold] the Python language reference, {len(text):,} characters in random pieces,\n"
        f"   with {len(FOCUSED)} questions given beforehand (focuses: standing questions)."
    )
    session = rmt.create_session(focus=[one.question for one in FOCUSED])
    started = time.monotonic()
    _read(rmt, session.id, text, rng, console)
    seconds = time.monotonic() - started
    session = rmt.get_session(session.id)
    console.print(
        f"   {session.tokens:,} tokens in {session.segments:,} segments and {seconds:.0f} s: "
        f"{session.tokens / seconds:,.0f} tokens/s in each of {len(FOCUSED)} lanes.\n"
        f"   The memory of them: {session.state_bytes:,} bytes."
    )
    console.print("\n[bold]2. Asking[/bold]: each answer with the sentence that it stands in")
    right = sum(_ask(rmt, session.id, one, console) for one in (*FOCUSED, *LATER))
    console.print(f"   [bold]{right} of {len(FOCUSED) + len(LATER)} as they should be.[/bold]")
    console.print("\n[bold]3. Keeping[/bold]")
    same = _restored_answers_alike(rmt, session.id, console)
    return 0 if right >= ENOUGH_RIGHT and same else 1


def language_reference() -> str:
    """The Python language reference."""
    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def _chunks(text: str, rng: random.Random) -> Iterator[bytes]:
    """The text's bytes in pieces of random sizes, characters torn apart and all."""
    data, start = text.encode(), 0
    while start < len(data):
        size = rng.randint(1, LARGEST_CHUNK_BYTES)
        yield data[start : start + size]
        start += size


def _read(rmt: Client, session_id: str, text: str, rng: random.Random, console: Console) -> None:
    """Stream a text in random chunks and show how far it has been read."""
    total_bytes = len(text.encode())
    started = time.monotonic()
    columns = (
        TextColumn("   {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=total_bytes, speed="")

        def show(progress: Reading) -> None:
            speed = progress.tokens / max(0.1, time.monotonic() - started)
            bar.update(task, completed=progress.read_bytes, speed=f"{progress.tokens:,} tokens, {speed:,.0f} tokens/s")

        rmt.read(session_id, _chunks(text, rng), on_progress=show)


def _ask(rmt: Client, session_id: str, asked: Asked, console: Console) -> bool:
    """Ask, show the answer with its quote, and say whether it is as it should be."""
    started = time.monotonic()
    answer = rmt.ask(session_id, asked.question)
    seconds = time.monotonic() - started
    said_so = not asked.words or any(one in answer.guess for one in asked.words)
    right = answer.outcome == asked.outcome and said_so
    mark = "[green]\u2713[/green]" if right else "[red]\u2717[/red]"
    console.print(f" {mark} [bold]{asked.question}[/bold]")
    said = {NOTHING: "I did not find this.", UNSUPPORTED: "No place of a text holds that; ask for a fact."}
    shown = escape(answer.answer or said.get(answer.outcome, ""))
    if answer.outcome == NOTHING and answer.guess:
        shown += f" [dim]Closest: {escape(' '.join(answer.guess.split()))}[/dim]"
    console.print(f"   {shown}  [dim]({answer.mode}, {answer.confidence:.0%} sure, {seconds:.2f} s)[/dim]")
    if answer.answer is not None and answer.citations:
        first = answer.citations[0]
        quote = escape(" ".join(first.quote.split()))
        console.print(f"   [dim]\u201c{quote}\u201d, characters {first.start_char:,} to {first.end_char:,}[/dim]")
    return right


def _restored_answers_alike(rmt: Client, session_id: str, console: Console) -> bool:
    """Take a snapshot, export it, import it into a fork, and compare the answers."""
    questions = [one.question for one in FOCUSED]
    before = [_bare(answer.guess) for answer in rmt.ask_many(session_id, questions).answers]
    content = rmt.export_snapshot(rmt.create_snapshot(session_id, name="demo").id)
    imported = rmt.import_snapshot(content, name="demo, imported")
    fork = rmt.fork(imported.id)
    after = [_bare(answer.guess) for answer in rmt.ask_many(fork.id, questions).answers]
    verdict = "[green]the same answers[/green]" if before == after else f"[red]other answers[/red]: {after}"
    console.print(f"   snapshot: {len(content):,} bytes; exported, imported, forked: {verdict}.")
    return before == after


def _bare(answer: str) -> str:
    """An answer's letters and digits: a fork has the memory, but not the text, and so no capitals."""
    return "".join(filter(str.isalnum, answer.casefold()))


@contextmanager
def server(url: str | None, data_dir: Path, console: Console) -> Iterator[str]:
    """A server process of our own, stopped at the end; or the one that is asked for."""
    if url is not None:
        yield url
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "server.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("rmt-server"), "serve", "--port", str(port), "--data-dir", data_dir]
    environment = {"RMT_DTYPE": "fast", **os.environ, "RMT_REDIS_URL": ""}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        with console.status("starting the server"):
            _wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        console.print(f"[bold]rmt-server[/bold] is at http://127.0.0.1:{port}; its log is {_shown(log)}.")
        yield f"http://127.0.0.1:{port}"
    finally:
        code = _stop(process)
    if code != 0:
        raise OSError(f"the server stopped with exit code {code}; see {log}")
    console.print(f"\nThe server stopped cleanly; its data stays in {_shown(data_dir)}.")


def _shown(path: Path) -> Path:
    """As one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _stop(process: "subprocess.Popen[bytes]") -> int:
    """Ask the server to stop, kill it if it does not, and return its exit code."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OSError(f"the server ended while it started; the end of {log}:\n{log.read_text()[-2000:]}")
        try:
            with Client(url) as rmt:
                if rmt.status().ready:
                    return
        except RmtError:
            pass
        time.sleep(0.2)
    raise OSError(f"the server was not ready after two minutes; see {log}")


if __name__ == "__main__":
    sys.exit(main())
