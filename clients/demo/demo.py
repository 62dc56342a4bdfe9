"""The demo: a server of its own reads a real long text with facts hidden in it, and answers questions about them.

`make demo` runs it. The text is the Python language reference that ships with CPython. Four questions are given before
reading, as focuses; four more are asked by recall, each of a short text of its own: without a focus the bundled
model's memory holds about two facts. Words of the facts were not used in training. Exit code 1 when fewer than 6 of 8
answers are right, when a restored memory answers otherwise, or when the server does not stop cleanly.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from rmt_client import Answer, Client, RmtError
from rmt_client import Progress as Reading

ROOT = Path(__file__).resolve().parents[2]
LARGEST_CHUNK_BYTES = 48 * 1024
ENOUGH_RIGHT = 6
SHORT_TEXT_CHARS = 2200
STOP_TIMEOUT_S = 60.0
_WITHOUT_WEB_FONTS = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


@dataclass(frozen=True)
class Fact:
    """A sentence to hide, a question about it, and its answer."""

    statement: str
    question: str
    answer: str


FOCUSED = (
    Fact("Thaddeus is in the crooked boathouse.", "Where is Thaddeus?", "the crooked boathouse"),
    Fact("The gloomy badge opens the narrow barrier.", "What opens the narrow barrier?", "the gloomy badge"),
    Fact("Vanessa went to the royal pavilion.", "Where is Vanessa?", "the royal pavilion"),
    Fact("The painted gramophone is in the hollow hamper.", "Where is the painted gramophone?", "the hollow hamper"),
)
RECALLED = (
    Fact("Caspar is in the distant brewery.", "Where is Caspar?", "the distant brewery"),
    Fact("The black lever opens the secret lift.", "What opens the secret lift?", "the black lever"),
    Fact("Colette went to the long corridor.", "Where is Colette?", "the long corridor"),
    Fact("The light camera is in the blue barrel.", "Where is the light camera?", "the blue barrel"),
)
OTHERS = (
    "Ulrich moved to the forest.",
    "The dial opens the royal garage.",
    "Daphne is in the university.",
    "The hollow crown was left in the crate.",
)


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Read a long text with hidden facts, and answer questions.")
    parser.add_argument("--url", help="use this server instead of starting one")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data" / "demo", help="where its Redis keeps its data")
    parser.add_argument("--seed", type=int, default=11, help="decides where the facts lie and how the text is cut")
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
    reference = language_reference()
    long_text = hide([*(fact.statement for fact in FOCUSED), *OTHERS], reference, rng)

    console.print(
        f"\n[bold]1. Reading[/bold] the Python language reference, {len(long_text):,} characters, with "
        f"{len(FOCUSED) + len(OTHERS)} facts hidden in it,\n   for {len(FOCUSED)} questions given beforehand (focuses)."
    )
    session = rmt.create_session(focus=[fact.question for fact in FOCUSED])
    started = time.monotonic()
    _read(rmt, session.id, long_text, rng, console)
    seconds = time.monotonic() - started
    session = rmt.get_session(session.id)
    console.print(
        f"   {session.tokens:,} tokens in {session.segments:,} segments and {seconds:.0f} s: "
        f"{session.tokens / seconds:,.0f} tokens/s in each of {len(FOCUSED)} lanes.\n"
        f"   The memory of them: {session.state_bytes:,} bytes."
    )

    console.print("\n[bold]2. Asking[/bold]")
    table = Table("", "question", "answer", "", "confidence", "time", box=None, padding=(0, 2, 0, 0))
    right = sum(_ask(rmt, session.id, fact, "focus", table) for fact in FOCUSED)
    for fact in RECALLED:
        start = rng.randrange(len(reference) - SHORT_TEXT_CHARS)
        short = rmt.create_session()
        rmt.read(short.id, hide([fact.statement], reference[start : start + SHORT_TEXT_CHARS], rng))
        right += _ask(rmt, short.id, fact, "recall", table)
    console.print(table)
    console.print(
        f"   [bold]{right} of {len(FOCUSED) + len(RECALLED)} right[/bold]; recall was asked after a short text of "
        f"{SHORT_TEXT_CHARS:,} characters for each question."
    )

    console.print("\n[bold]3. Keeping[/bold]")
    same = _restored_answers_alike(rmt, session.id, console)
    return 0 if right >= ENOUGH_RIGHT and same else 1


def language_reference() -> str:
    """The Python language reference."""
    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def hide(sentences: Sequence[str], text: str, rng: random.Random) -> str:
    """Put sentences between the text's own, each somewhere in a stretch of its own."""
    order = rng.sample(list(sentences), len(sentences))
    stretch = len(text) // len(order)
    pieces, taken = [], 0
    for index, sentence in enumerate(order):
        place = text.find(". ", index * stretch + rng.randrange(max(1, stretch * 3 // 4)))
        place = max(taken, len(text) if place < 0 else place + 1)
        pieces += [text[taken:place], " ", sentence]
        taken = place
    return "".join([*pieces, text[taken:]])


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


def _ask(rmt: Client, session_id: str, fact: Fact, mode: str, table: Table) -> bool:
    """Ask about a fact, add a row for it, and say whether the answer is right."""
    started = time.monotonic()
    answer = rmt.ask(session_id, fact.question)
    seconds = time.monotonic() - started
    right = _same(answer, fact.answer)
    verdict = "[green]right[/green]" if right else f"[red]wrong[/red] ({fact.answer})"
    given = answer.answer
    if given is None:
        given, verdict = "[dim]not in the text[/dim]", f"[yellow]withheld[/yellow] ({answer.guess})"
    table.add_row(f"   {mode}", fact.question, given, verdict, f"{answer.confidence:.2f}", f"{seconds:.2f} s")
    return right


def _same(answer: Answer, expected: str) -> bool:
    return answer.answer is not None and answer.answer.strip(" .").casefold() == expected.casefold()


def _restored_answers_alike(rmt: Client, session_id: str, console: Console) -> bool:
    """Take a snapshot, export it, import it into a fork, and compare the answers."""
    questions = [fact.question for fact in FOCUSED]
    before = [answer.answer for answer in rmt.ask_many(session_id, questions).answers]
    content = rmt.export_snapshot(rmt.create_snapshot(session_id, name="demo").id)
    imported = rmt.import_snapshot(content, name="demo, imported")
    fork = rmt.fork(imported.id)
    after = [answer.answer for answer in rmt.ask_many(fork.id, questions).answers]
    verdict = "[green]the same answers[/green]" if before == after else f"[red]other answers[/red]: {after}"
    console.print(f"   snapshot: {len(content):,} bytes; exported, imported, forked: {verdict}.")
    return before == after


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
