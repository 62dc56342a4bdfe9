"""Planted facts at a distance: one fact, so many tokens of other text behind it, then the question.

Words, coined names and background are those of the validation split. Every question is built from the seed and its
number alone, and read through the engine as it is served; results go to a file line by line, so a run resumes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from random import Random

from rmt_model.engine import Engine
from rmt_model.data.background import Background
from rmt_model.data.facts import Fact, draw_facts
from rmt_model.training.samples import Mode, SampleBuilder
from rmt_model.types import LaneSegment, Prompt

_ROOM_TOKENS = 80
"""Room for one planted fact, whatever the tokenizer."""

__all__ = ["Result", "Task", "evaluate", "interval", "is_right"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured.

    Attributes:
        mode: `focus`: the question in front of every segment; `recall`: only at the end.
        distance_tokens: Tokens between the fact and the question.
        others: Facts about other things behind it, at most one to 80 tokens.
        kinds: Kinds of facts that are asked for and surround it.
        seed: Seed of all questions.
    """

    mode: Mode
    distance_tokens: int
    others: int = 6
    kinds: tuple[str, ...] = ("person_place", "opens", "object_place")
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One question's outcome."""

    number: int
    kind: str
    question: str
    expected: str
    answer: str
    confidence: float
    right: bool


@dataclass(frozen=True, slots=True)
class _Document:
    number: int
    fact: Fact
    ids: list[int]


def is_right(answer: str, expected: str) -> bool:
    """Whether the answer is the expected one, but for case, a leading article and a final stop."""
    return _bare(answer) == _bare(expected)


def interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.96, right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(
    engine: Engine, background: Background, task: Task, questions: int, out: Path, *, lanes: int = 8
) -> Iterator[Result]:
    """Answer `questions` questions of a task, yielding each result; those already in `out` are not asked again.

    Args:
        engine: The checkpoint to measure.
        background: Text that was not trained on.
        task: What to measure.
        questions: Number of questions in all.
        out: JSON-lines file of results.
        lanes: Documents read side by side.
    """
    builder = SampleBuilder(engine.checkpoint.tokenizer, engine.checkpoint.config, background, "validation")
    done = [result for result in _read_results(out) if result.number < questions]
    yield from done
    left = sorted(set(range(questions)) - {result.number for result in done})
    for start in range(0, len(left), lanes):
        documents = [_document(builder, task, number) for number in left[start : start + lanes]]
        results = _ask(engine, task, documents)
        with out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(result)) + "\n" for result in results)
        yield from results


def _document(builder: SampleBuilder, task: Task, number: int) -> _Document:
    """A document whose fact ends exactly `distance_tokens` before its end, with the other facts behind it."""
    rng = Random(f"{task.seed}-{task.mode}-{task.distance_tokens}-{number}")
    fact, *others = draw_facts(rng, "validation", 1 + task.others, task.kinds)
    lead = _ROOM_TOKENS + rng.randrange(builder.config.segment_tokens)
    head = builder.plant(rng, lead, [(fact, lead)])
    fitting = others[: task.distance_tokens // _ROOM_TOKENS]
    tail = builder.plant(rng, task.distance_tokens, [(other, rng.randrange(task.distance_tokens)) for other in fitting])
    return _Document(number, fact, head.ids + tail.ids)


def _ask(engine: Engine, task: Task, documents: Sequence[_Document]) -> list[Result]:
    """Read the documents side by side, one lane each, and ask each its question."""
    size = engine.checkpoint.config.segment_tokens
    prefixes = [engine.prompts.focus(d.fact.question) if task.mode == "focus" else [] for d in documents]
    slots = engine.open(len(documents))
    try:
        for start in range(0, max(len(d.ids) for d in documents), size):
            engine.read(
                [
                    LaneSegment(slot, [*prefix, *document.ids[start : start + size]])
                    for slot, prefix, document in zip(slots, prefixes, documents, strict=True)
                    if start + size <= len(document.ids)
                ]
            )
        prompts = [
            Prompt(slot, [*prefix, *_partial(d, size), *engine.prompts.question(d.fact.question)], 24)
            for slot, prefix, d in zip(slots, prefixes, documents, strict=True)
        ]
        answers = engine.answer(prompts)
    finally:
        engine.close(slots)
    return [
        Result(
            number=document.number,
            kind=document.fact.kind,
            question=document.fact.question,
            expected=document.fact.answer,
            answer=answer.text,
            confidence=answer.confidence,
            right=is_right(answer.text, document.fact.answer),
        )
        for document, answer in zip(documents, answers, strict=True)
    ]


def _partial(document: _Document, size: int) -> list[int]:
    return document.ids[len(document.ids) - len(document.ids) % size :]


def _bare(answer: str) -> str:
    words = answer.casefold().strip(" .").split()
    return " ".join(words[1:] if words[:1] in (["the"], ["a"], ["an"]) else words)


def _read_results(out: Path) -> list[Result]:
    if not out.exists():
        return []
    return [Result(**json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()]
