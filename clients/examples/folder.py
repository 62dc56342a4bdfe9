"""Question answering over a folder of files: which file says it, and where.

    python clients/examples/folder.py FOLDER 'Who grants the licence?' 'When does the museum open?'

All text files are documents of one session. Each answer says in which file it stands, where, and in which sentence.
"""

import argparse
import os
import sys
from pathlib import Path

from rmt_client import Answer, Client, RmtError

ENDINGS = {".txt", ".md", ".rst", ".log"}


def main() -> int:
    """Answer the questions; 1 where there is nothing to read, or the server says no."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--url", default=os.environ.get("RMT_URL", "http://127.0.0.1:8080"))
    options = parser.parse_args()
    files = sorted(path for path in options.folder.rglob("*") if path.suffix in ENDINGS and path.is_file())
    if not files:
        print(f"no text files in {options.folder}", file=sys.stderr)
        return 1
    try:
        with Client(options.url, os.environ.get("RMT_API_KEY")) as rmt:
            answer_all(rmt, files, options.questions)
    except RmtError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)
        return 1
    return 0


def answer_all(rmt: Client, files: list[Path], questions: list[str]) -> None:
    """Send every file, then ask: search needs no reading, so nothing is waited for."""
    session = rmt.create_session(ttl_s=3600)
    try:
        for path in files:
            rmt.read(session.id, path, wait=False)  # it has the file's name
        for answer in rmt.ask_many(session.id, questions).answers:
            show(answer)
    finally:
        rmt.delete_session(session.id)


def show(answer: Answer) -> None:
    """Print an answer with the place that it stands at."""
    if answer.answer is None or not answer.citations:
        print(f"{answer.question}\n  I did not find this.")
        return
    best = answer.citations[0]
    place = f"{best.document}, characters {best.start_char} to {best.end_char}"
    print(f"{answer.question}\n  {answer.answer}  ({answer.confidence:.0%}, {place})")
    print(f"  \u201c{' '.join(best.quote.split())}\u201d")


if __name__ == "__main__":
    sys.exit(main())
