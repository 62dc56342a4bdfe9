"""Real data sets of questions with spans as passages: SQuAD's form, FairytaleQA, Molweni.

What is held out is fixed by name: whole articles, stories, papers and chats, never single questions.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rmt_model.data.passages import Passage, SpanQuestion
from rmt_model.data.story import Split
from rmt_model.errors import DataError

__all__ = ["best_overlap", "is_held_out", "read_fairytales", "read_molweni", "read_squad"]

_WORD = re.compile(r"\w+")
_STOP_WORDS = frozenset({"a", "an", "the"})
_PARAGRAPH = "\n\n"
_LEAST_OVERLAP = 0.6
"""Token F1 from which on a stretch of the text counts as the place of a free answer."""


def is_held_out(name: str, one_in: int) -> bool:
    """Whether a document belongs to validation: one in so many, by its name alone."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name)) % one_in == 0


def read_squad(path: Path, source: str, split: Split, *, one_in: int = 6, joined: bool = True) -> list[Passage]:
    """Read a file of SQuAD's form (SQuAD, QAMR, COVID-QA).

    Args:
        path: The JSON file.
        source: What the passages are said to come from.
        split: Which articles.
        one_in: One article in so many is for validation.
        joined: One passage an article, its paragraphs apart by an empty line; else one a paragraph.

    Raises:
        DataError: The file is missing or of another form.
    """
    passages: list[Passage] = []
    try:
        for number, article in enumerate(json.loads(path.read_text(encoding="utf-8"))["data"]):
            name = str(article.get("title") or f"document {number}")
            if is_held_out(name, one_in) != (split == "validation"):
                continue
            paragraphs = [
                (p["context"], [_squad_question(q, p["context"]) for q in p["qas"]]) for p in article["paragraphs"]
            ]
            passages += (
                [_joined(source, name, paragraphs)]
                if joined
                else [Passage(source, name, text, tuple(questions)) for text, questions in paragraphs]
            )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a file of SQuAD's form: {error!r}") from error
    return [one for one in passages if one.questions]


def read_fairytales(folder: Path, split: Split, *, explicit_only: bool = False) -> list[Passage]:
    """Read FairytaleQA: whole stories, each question with the place in its section that comes closest to its answers.

    Args:
        folder: Holds `section-stories/{train,val}` and `questions/{train,val}`.
        split: Which stories.
        explicit_only: Leave out questions whose answers only follow from the text.

    Raises:
        DataError: A file is missing or of another form.
    """
    part = "train" if split == "train" else "val"
    passages = []
    for story in sorted((folder / "section-stories" / part).glob("*-story.csv")):
        name = story.name.removesuffix("-story.csv")
        try:
            rows = list(_csv_rows(story))
            questions = list(_csv_rows(folder / "questions" / part / f"{name}-questions.csv"))
            passages.append(_story(name, rows, questions, explicit_only=explicit_only))
        except (OSError, ValueError, LookupError, AttributeError, csv.Error) as error:
            raise DataError(f"{story} or its questions cannot be read: {error!r}") from error
    if not passages:
        raise DataError(f"{folder} holds no section-stories/{part}/*-story.csv")
    return [one for one in passages if one.questions]


def read_molweni(path: Path, split: Split, *, one_in: int = 7) -> list[Passage]:
    """Read Molweni's chats, a line for each utterance: `speaker: text`.

    Raises:
        DataError: The file is missing or of another form.
    """
    passages = []
    try:
        for chat in json.loads(path.read_text(encoding="utf-8"))["data"]:
            name = f"chat {chat['dialogue_id']}"
            if is_held_out(name, one_in) != (split == "validation"):
                continue
            text = "\n".join(f"{said['speaker']}: {said['text']}" for said in chat["edus"])
            if len(text) != len(chat["context"]):
                continue  # the offsets are those of a text that was changed
            questions = tuple(_squad_question(asked, text) for asked in chat["qas"])
            passages.append(Passage("molweni", name, text, questions))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not Molweni's file: {error!r}") from error
    return passages


def best_overlap(text: str, answer: str, start: int = 0, end: int | None = None) -> tuple[float, tuple[int, int]]:
    """The stretch of a text whose words come closest to an answer's, by token F1, and how close: F1, (start, end)."""
    wanted = Counter(_words(answer))
    total = sum(wanted.values())
    words = [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(text, start, len(text) if end is None else end)]
    best, place = 0.0, (start, start)
    for first, (begin, _, word) in enumerate(words):
        if word not in wanted:
            continue
        rest, shared = wanted.copy(), 0
        for count, (_, stop, other) in enumerate(words[first : first + 2 * total + 4], 1):
            if rest[other] > 0:
                rest[other] -= 1
                shared += 1
                f1 = 2 * shared / (count + total)
                if f1 > best:
                    best, place = f1, (begin, stop)
    return best, place


def _squad_question(asked: dict[str, Any], text: str) -> SpanQuestion:
    answers = [] if asked.get("is_impossible") else asked["answers"]
    spans = dict.fromkeys(
        _trimmed(text, one["answer_start"], one["answer_start"] + len(one["text"])) for one in answers
    )
    question = " ".join(asked["question"].replace("？", "?").split())
    return SpanQuestion(question, tuple(spans), tuple(dict.fromkeys(one["text"].strip() for one in answers)))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span on word borders, without the blanks and stops around it."""
    while start < end and text[start] in " \n\t,;(":
        start += 1
    while end > start and text[end - 1] in " \n\t,;":
        end -= 1
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    return start, end


def _joined(source: str, name: str, paragraphs: Sequence[tuple[str, list[SpanQuestion]]]) -> Passage:
    texts: list[str] = []
    questions: list[SpanQuestion] = []
    at = 0
    for text, asked in paragraphs:
        questions += [_moved(one, at) for one in asked]
        texts.append(text)
        at += len(text) + len(_PARAGRAPH)
    return Passage(source, name, _PARAGRAPH.join(texts), tuple(questions))


def _moved(question: SpanQuestion, by: int) -> SpanQuestion:
    return SpanQuestion(question.text, tuple((start + by, end + by) for start, end in question.spans), question.answers)


def _story(
    name: str, rows: Sequence[dict[str, str]], asked: Sequence[dict[str, str]], *, explicit_only: bool
) -> Passage:
    starts: dict[str, tuple[int, int]] = {}
    texts: list[str] = []
    at = 0
    for row in rows:
        section = " ".join(row["text"].split())
        starts[row["section"]] = (at, at + len(section))
        texts.append(section)
        at += len(section) + len(_PARAGRAPH)
    text = _PARAGRAPH.join(texts)
    questions = []
    for row in asked:
        if row["ex-or-im1"] != "explicit" and explicit_only:
            continue
        answers = tuple(row[field].strip() for field in _ANSWER_FIELDS if row.get(field, "").strip())
        span = _place(text, answers, [starts[one] for one in row["cor_section"].split(",") if one in starts])
        if answers:
            questions.append(SpanQuestion(row["question"].strip(), (span,) if span else (), answers))
    return Passage("fairytaleqa", name, text, tuple(questions))


_ANSWER_FIELDS = ("answer1", "answer2", "answer3", "answer4", "answer5", "answer6")


def _place(text: str, answers: Sequence[str], sections: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    found = [best_overlap(text, answer, *section) for answer in answers for section in sections]
    f1, span = max(found, default=(0.0, (0, 0)))
    return _trimmed(text, *span) if f1 >= _LEAST_OVERLAP else None


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _words(text: str) -> list[str]:
    return [word for word in (m[0].lower() for m in _WORD.finditer(text)) if word not in _STOP_WORDS]
