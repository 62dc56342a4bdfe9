"""Real documents with questions: JSON lines of one's own, SQuAD's form, and FairytaleQA."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rmt_model.data.sentences import sentences_of
from rmt_model.data.story import WHOLE_MEMORY, Asked, Kept, Story, Wish
from rmt_model.errors import DataError

__all__ = ["Document", "DocumentQuestion", "DocumentSource", "read_fairytales", "read_lines", "read_squad"]

_CHARS_PER_TOKEN = 3.6
"""A cautious guess, for choosing how much of a document is taken; what is too long is cut."""


@dataclass(frozen=True, slots=True)
class DocumentQuestion:
    """A question about a document.

    Attributes:
        question: The question.
        answers: Right answers, the one that is taught first.
        evidence: Number of the sentence that it follows from; None where nobody knows.
    """

    question: str
    answers: tuple[str, ...]
    evidence: int | None


@dataclass(frozen=True, slots=True)
class Document:
    """A document.

    Attributes:
        name: Where it came from, for messages and results.
        sentences: Its sentences, in order.
        questions: What is asked.
    """

    name: str
    sentences: tuple[str, ...]
    questions: tuple[DocumentQuestion, ...]

    @property
    def text(self) -> str:
        """The sentences, one behind the other."""
        return " ".join(self.sentences)


def read_lines(path: Path) -> list[Document]:
    """JSON lines, each an object with `document`, `question` and `answer`; equal documents next to each other are one.

    Raises:
        DataError: A file cannot be read, or a line is malformed; the message names file and line.
    """
    documents: list[Document] = []
    text = ""
    for at, line in enumerate(_text_of(path).splitlines(), 1):
        if not line.strip():
            continue
        fields = _fields(line, f"{path}:{at}")
        sentences = documents[-1].sentences if fields["document"] == text else tuple(sentences_of(fields["document"]))
        evidence = _holding(sentences, fields["answer"])
        asked = DocumentQuestion(fields["question"].strip(), (fields["answer"].strip(),), evidence)
        if fields["document"] == text:
            documents[-1] = Document(documents[-1].name, sentences, (*documents[-1].questions, asked))
        else:
            documents.append(Document(f"{path}:{at}", sentences, (asked,)))
        text = fields["document"]
    if not documents:
        raise DataError(f"{path} holds no lines")
    return documents


def read_squad(path: Path) -> list[Document]:
    """Articles in the form of SQuAD 1.1, the paragraphs of each joined to one long document.

    Raises:
        DataError: The file cannot be read, or is not of that form.
    """
    try:
        return [_article(article) for article in json.loads(_text_of(path))["data"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is not in SQuAD's form: {error!r}") from error


def read_fairytales(folder: Path, part: str) -> list[Document]:
    """Stories of FairytaleQA with their questions: `section-stories/PART` joined with `questions/PART`.

    Raises:
        DataError: A file is missing or lacks a column; the message names it.
    """
    stories = sorted((folder / "section-stories" / part).glob("*.csv"))
    if not stories:
        raise DataError(f"{folder / 'section-stories' / part} holds no stories")
    return [_fairytale(path, folder / "questions" / part) for path in stories]


class DocumentSource:
    """Questions about documents, each with as much of the document around its evidence as there is room for."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.asked = [(document, question) for document in documents for question in document.questions]

    def draw(self, rng: Random, wish: Wish) -> Story:
        """One question, with the sentences around its evidence, and along them those that can be answered there."""
        document, question = rng.choice(self.asked)
        middle = question.evidence if question.evidence is not None else rng.randrange(len(document.sentences))
        first, stop = _window(rng, document.sentences, middle, int(wish.room_tokens * _CHARS_PER_TOKEN))
        asked = _asked(question, first)
        others = document.questions if wish.mode == "recall" else (question,)
        along = _asked_along(rng, others, range(first, stop), wish.questions)
        return Story(document.sentences[first:stop], (asked, *along), None, scattered=False, name=document.name)


def _asked(question: DocumentQuestion, first: int, after: int | None = None) -> Asked:
    """A question about a story that begins with sentence `first` of its document."""
    kept = None
    if question.evidence is not None:
        kept = (Kept(question.evidence - first, 0, question.answers[0], WHOLE_MEMORY),)
    return Asked(question.question, question.answers[0], kept, question.answers, after)


def _asked_along(rng: Random, questions: Sequence[DocumentQuestion], read: range, count: int) -> list[Asked]:
    """Up to so many questions whose evidence is among the sentences that are read, each asked somewhere behind it."""
    held = [(one, one.evidence) for one in questions if one.evidence is not None and one.evidence in read]
    drawn = rng.choices(held, k=count) if held else []
    return [_asked(one, read.start, rng.randrange(at, read.stop) - read.start) for one, at in drawn]


def _window(rng: Random, sentences: Sequence[str], middle: int, room: int) -> tuple[int, int]:
    """A range of sentences around `middle` of at most `room` characters, one sentence at least."""
    first, stop, left = middle, middle + 1, room - len(sentences[middle])
    while True:
        sides = []
        if first > 0 and len(sentences[first - 1]) < left:
            sides.append(first - 1)
        if stop < len(sentences) and len(sentences[stop]) < left:
            sides.append(stop)
        if not sides:
            return first, stop
        taken = rng.choice(sides)
        first, stop, left = min(first, taken), max(stop, taken + 1), left - len(sentences[taken]) - 1


def _holding(sentences: Sequence[str], answer: str) -> int | None:
    """The only sentence that holds the answer; None if there is none, or several."""
    holding = [number for number, one in enumerate(sentences) if answer.casefold().strip(" .") in one.casefold()]
    return holding[0] if len(holding) == 1 else None


def _fields(line: str, where: str) -> dict[str, str]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DataError(f"{where}: an object with document, question and answer is wanted")
    for name in ("document", "question", "answer"):
        if not isinstance(fields.get(name), str):
            raise DataError(f"{where}: '{name}' must be a text")
        if not fields[name].strip():
            raise DataError(f"{where}: '{name}' is empty")
    return fields


def _article(article: dict[str, Any]) -> Document:
    sentences: list[str] = []
    questions: list[DocumentQuestion] = []
    for paragraph in article["paragraphs"]:
        context, first = paragraph["context"], len(sentences)
        sentences += sentences_of(context)
        for asked in paragraph["qas"]:
            answers = tuple(dict.fromkeys(answer["text"].strip() for answer in asked["answers"]))
            at = len(sentences_of(context[: asked["answers"][0]["answer_start"] + 1])) - 1
            questions.append(
                DocumentQuestion(asked["question"].strip(), answers, min(first + max(0, at), len(sentences) - 1))
            )
    return Document(article["title"], tuple(sentences), tuple(questions))


def _fairytale(path: Path, questions: Path) -> Document:
    file = questions / path.name.replace("-story.csv", "-questions.csv")
    sentences: list[str] = []
    sections: dict[str, range] = {}
    try:
        for row in _rows(path):
            first = len(sentences)
            sentences += sentences_of(row["text"])
            sections[row["section"].strip()] = range(first, len(sentences))
        asked = [
            DocumentQuestion(
                row["question"].strip(),
                tuple(dict.fromkeys(a.strip() for name in _FAIRYTALE_ANSWERS if (a := row.get(name) or "").strip())),
                _in_sections(sentences, sections, row),
            )
            for row in _rows(file)
        ]
    except KeyError as error:
        raise DataError(f"{path} or {file} lacks a column or section {error}") from error
    return Document(path.stem.removesuffix("-story"), tuple(sentences), tuple(one for one in asked if one.answers))


_FAIRYTALE_ANSWERS = ("answer1", "answer2", "answer3", "answer4", "answer5", "answer6")


def _in_sections(sentences: Sequence[str], sections: dict[str, range], row: dict[str, str]) -> int | None:
    """The sentence of the question's sections that shares most words with its answer, if it shares any."""
    spans = [sections[number.strip()] for number in row["cor_section"].split(",") if number.strip()]
    wanted = set(row["answer1"].casefold().strip(" .").split())
    shared = {at: len(wanted & set(sentences[at].casefold().strip(" .").split())) for span in spans for at in span}
    best = max(shared, key=lambda at: shared[at], default=None)
    return best if best is not None and shared[best] > 0 else None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(_text_of(path).splitlines(keepends=True))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
