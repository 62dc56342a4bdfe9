"""A growing log, watched with focuses: says when the answer to a question changes.

    python clients/examples/watch_log.py service.log 'Where is the courier?' 'Who has the key?'

The focuses work while the log is read, so looking costs nothing but one short answer each, however long the log has
grown. It ends with Ctrl-C, or when the log has not grown for `--idle-s` seconds.

Facts that change are what `rmt-smollm2-small` is trained on: serve it with `RMT_CHECKPOINT=rmt-smollm2-small`.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rmt_client import Client, RmtError

LOOK_S = 0.5


def main() -> int:
    """Watch until there is nothing new any more; 1 where the server says no."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--idle-s", type=float, default=float("inf"))
    parser.add_argument("--url", default=os.environ.get("RMT_URL", "http://127.0.0.1:8080"))
    options = parser.parse_args()
    try:
        with Client(options.url, os.environ.get("RMT_API_KEY")) as rmt:
            watch(rmt, options.log, options.questions, options.idle_s)
    except RmtError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def watch(rmt: Client, log: Path, questions: list[str], idle_s: float) -> None:
    """Send what is appended, whole lines at a time, and tell what has changed."""
    session = rmt.create_session(focus=questions, metadata={"log": log.name}, auto_snapshots=0)
    known: dict[str, str | None] = {}
    for lines in appended(log, idle_s):
        rmt.read(session.id, lines)
        for one in rmt.ask_many(session.id, questions).answers:
            if known.get(one.question) != one.answer:
                print(f"{one.question}  {one.answer or 'not known'}  ({one.confidence:.0%})", flush=True)
                known[one.question] = one.answer


def appended(log: Path, idle_s: float) -> Iterator[str]:
    """The whole lines that are in a file, and then those that are appended to it."""
    with log.open(encoding="utf-8", errors="replace") as file:
        rest, grew_s = "", time.monotonic()
        while time.monotonic() - grew_s < idle_s:
            rest += file.read()
            lines, newline, rest = rest.rpartition("\n")
            if newline:
                grew_s = time.monotonic()
                yield lines + newline
            else:
                time.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main())
