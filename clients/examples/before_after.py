"""Before and after: what a second text changes about the answers, compared with a snapshot of the memory.

    python clients/examples/before_after.py yesterday.txt today.txt 'Where is Colette?' 'Who has the crown?'

Both texts are read into one session, one behind the other. The snapshot keeps the memory as it was in between: asking
it costs nothing more than asking the session, and neither text is read twice.

Facts that change are what `rmt-smollm2-small` is trained on: serve it with `RMT_CHECKPOINT=rmt-smollm2-small`.
"""

import argparse
import os
import sys
from pathlib import Path

from rmt_client import Client, RmtError


def main() -> int:
    """Compare; 1 where the server says no."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--url", default=os.environ.get("RMT_URL", "http://127.0.0.1:8080"))
    options = parser.parse_args()
    try:
        with Client(options.url, os.environ.get("RMT_API_KEY")) as rmt:
            compare(rmt, options.before, options.after, options.questions)
    except RmtError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return 1
    return 0


def compare(rmt: Client, before: Path, after: Path, questions: list[str]) -> None:
    """Read both texts, and print what was answered between them and what is answered now."""
    session = rmt.create_session(focus=questions, ttl_s=3600)
    rmt.read(session.id, before)
    snapshot = rmt.create_snapshot(session.id, name=f"after {before.name}")
    rmt.read(session.id, after)
    then = rmt.ask_many(session.id, questions, snapshot=snapshot.id).answers
    now = rmt.ask_many(session.id, questions).answers
    for old, new in zip(then, now, strict=True):
        # A snapshot has the memory without the text, and so no capitals.
        changed = " " if (old.answer or "").casefold() == (new.answer or "").casefold() else "*"
        print(
            f"{changed} {old.question}\n    before: {old.answer or 'not said'}\n    after:  {new.answer or 'not said'}"
        )
    rmt.delete_snapshot(snapshot.id)
    rmt.delete_session(session.id)


if __name__ == "__main__":
    sys.exit(main())
