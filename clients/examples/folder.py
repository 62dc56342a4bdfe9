"""Question answering over a folder of files: which file says it, and where.

    python clients/examples/folder.py FOLDER 'Where is Thaddeus?' 'What opens the narrow barrier?'

Every text file is read once, with the questions as focuses: a lane of its own works for each of them. Then the file
that is surest answers, and a trace shows the place. Where no file answers a question, it says so.
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
    """Read every file, then answer each question from the one that is surest."""
    sessions: dict[Path, str] = {}
    try:
        for path in files:
            sessions[path] = rmt.create_session(focus=questions, ttl_s=3600, metadata={"file": path.name}).id
            rmt.read(sessions[path], path, wait=False)  # the server reads them side by side
        answers = {path: rmt.ask_many(sid, questions).answers for path, sid in sessions.items()}
        for number, question in enumerate(questions):
            path = max(files, key=lambda path: answers[path][number].confidence)
            show(rmt, path, sessions[path], question, answers[path][number])
    finally:
        for sid in sessions.values():
            rmt.delete_session(sid)


def show(rmt: Client, path: Path, sid: str, question: str, best: Answer) -> None:
    """Print an answer with the place that it came from."""
    if best.answer is None:
        print(f"{question}\n  none of the files says")
        return
    trace = rmt.trace(sid, question, answer=best.answer)
    place = "" if trace.bytes is None else f", bytes {trace.bytes[0]} to {trace.bytes[1]}"
    print(f"{question}\n  {best.answer}  ({best.confidence:.0%}, {path.name}{place})")
    if trace.excerpt:
        print(f"  “{' '.join(trace.excerpt.split())}”")


if __name__ == "__main__":
    sys.exit(main())
