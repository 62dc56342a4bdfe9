"""Questions asked in the middle of a segment, each on a branch of its own that leaves no trace in what is read."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from rmt_model.training.branches import Branches

__all__ = ["Question", "Questions"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of one document.

    Attributes:
        lane: The document.
        seen: Tokens of the segment that stand before it.
        ids: The question.
        answer: The answer, with what ends it.
    """

    lane: int
    seen: int
    ids: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions in one segment of all documents, those of one document one after another in a right-padded row.

    A question sees the memory, the segment up to its own place, and itself: exactly what it would see if the document
    ended there. So a document that is read once can be asked everywhere.

    Attributes:
        ids: Questions and answers, [lanes, B].
        labels: Token that should follow each position where that is an answer's, else -100, [lanes, B].
        branches: A branch for each question, [lanes, B].
        lanes: Document of each question, [questions].
    """

    ids: Tensor
    labels: Tensor
    branches: Branches
    lanes: Tensor

    @property
    def count(self) -> int:
        """Number of questions."""
        return len(self.lanes)

    @classmethod
    def of(cls, questions: Sequence[Question], lanes: int, padding: int) -> Self:
        """Lay out questions; rows are filled up with the token `padding`."""
        rows = [_Row() for _ in range(lanes)]
        for number, question in enumerate(questions):
            rows[question.lane].add(number, question)
        width = max(len(row.ids) for row in rows)

        def filled(name: str, value: int) -> Tensor:
            lists = (getattr(row, name) for row in rows)
            return torch.tensor([one + [value] * (width - len(one)) for one in lists], dtype=torch.long)

        return cls(
            ids=filled("ids", padding),
            labels=filled("labels", -100),
            branches=Branches(filled("owners", -1), filled("seen", 0), filled("steps", 0)),
            lanes=torch.tensor([question.lane for question in questions]),
        )

    def to(self, device: torch.device) -> Self:
        """The same questions on a device."""
        return type(self)(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})


class _Row:
    """The questions of one document while they are laid out."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.owners: list[int] = []
        self.seen: list[int] = []
        self.steps: list[int] = []

    def add(self, number: int, question: Question) -> None:
        ids = [*question.ids, *question.answer[:-1]]
        self.ids += ids
        self.labels += [-100] * (len(question.ids) - 1) + list(question.answer)
        self.owners += [number] * len(ids)
        self.seen += [question.seen] * len(ids)
        self.steps += range(len(ids))
