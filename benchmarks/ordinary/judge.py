"""The ordinary questions: which they are, what they are asked about, and when an answer is right.

    python -m benchmarks.ordinary.judge DATA

Says what is missing in the folder DATA, if anything, and whether every accepted answer stands in its document. What
belongs into the folder is in `documents.toml`, beside this file.
"""

import argparse
import hashlib
import json
import re
import string
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent

_LEAST_F1 = 0.6
_MOST_WORDS = 3  # as often as the accepted answer has words


@dataclass(frozen=True)
class Question:
    """One question; no accepted answers if its document does not say."""

    document: str
    question: str
    answers: tuple[str, ...]
    kind: str
    hard: bool


@dataclass(frozen=True)
class Document:
    """Where a document is: one of `paths`, of which the first that exists is read, and how to get it."""

    name: str
    kind: str
    in_repository: bool
    paths: tuple[str, ...]
    get: str
    sha256: str

    def found(self, data_dir: Path) -> Path | None:
        """The file, if it is there; an absolute path stands for itself."""
        folder = FOLDER if self.in_repository else data_dir
        return next((folder / path for path in self.paths if (folder / path).is_file()), None)


def load_questions() -> list[Question]:
    """All questions, in the order of the file."""
    lines = (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [Question(**{**one, "answers": tuple(one["answers"])}) for one in map(json.loads, lines)]


def document_list() -> list[Document]:
    """What `documents.toml` says."""
    known = tomllib.loads((FOLDER / "documents.toml").read_text(encoding="utf-8"))["documents"]
    return [Document(name=name, **{**one, "paths": tuple(one["paths"])}) for name, one in known.items()]


def load_documents(data_dir: Path) -> dict[str, str]:
    """The texts by name.

    Raises:
        FileNotFoundError: Some are missing; says which, and how to get each.
        ValueError: Some are others than the questions are about.
    """
    texts: dict[str, str] = {}
    missing: list[str] = []
    others: list[str] = []
    for document in document_list():
        path = document.found(data_dir)
        if path is None:
            missing.append(f"{document.name}: no {data_dir / document.paths[0]}. {document.get}")
            continue
        content = path.read_bytes()
        if (digest := hashlib.sha256(content).hexdigest()) != document.sha256:
            others.append(f"{document.name}: {path} has SHA-256 {digest}, not {document.sha256}. {document.get}")
            continue
        texts[document.name] = content.decode("utf-8")
    if missing:
        raise FileNotFoundError("Documents are missing:\n" + "\n".join(missing + others))
    if others:
        raise ValueError("Documents are not those that the questions are about:\n" + "\n".join(others))
    return texts


def words_of(text: str) -> list[str]:
    """The words as SQuAD compares them: lower case, without punctuation and articles."""
    text = re.sub("[\u2013\u2014]", " ", unicodedata.normalize("NFKC", text).lower())
    kept = (c for c in text if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return [word for word in "".join(kept).split() if word not in {"a", "an", "the"}]


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether an answer is one of those accepted, by the rule in README.md.

    No answer, that is an empty one, is right if none is accepted, and only then.
    """
    given = words_of(answer)
    if not accepted or not given:
        return not accepted and not given
    return any(_fits(given, words_of(one)) for one in accepted)


def stands_in(answer: str, text: str) -> bool:
    """Whether a text has an answer verbatim, whatever the case and the line breaks."""
    return " ".join(answer.split()).casefold() in " ".join(text.split()).casefold()


def _fits(given: list[str], wanted: list[str]) -> bool:
    if _has(given, wanted):
        return len(given) <= _MOST_WORDS * len(wanted)
    return _has(wanted, given) and _f1(given, wanted) >= _LEAST_F1


def _has(words: list[str], part: list[str]) -> bool:
    starts = range(len(words) - len(part) + 1)
    return bool(part) and any(words[start : start + len(part)] == part for start in starts)


def _f1(given: list[str], wanted: list[str]) -> float:
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))


def main() -> int:
    parser = argparse.ArgumentParser(description="Are all documents there, and do the accepted answers stand in them?")
    parser.add_argument("data", type=Path, help="folder with the documents that are not in the repository")
    texts = load_documents(parser.parse_args().data)
    wrong = [
        f"{one.document}: {answer!r} does not stand in the document"
        for one in load_questions()
        for answer in one.answers
        if not stands_in(answer, texts[one.document])
    ]
    print("\n".join(wrong) or f"{len(texts)} documents, every accepted answer stands in its own.")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
