"""BABILong (arXiv 2406.10149): stories of bAbI with their sentences scattered, in order, among sentences of books."""

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from rmt_model.data.babi import BabiQuestion, babi_file, read_babi, split_stories, story_of
from rmt_model.data.background import Background
from rmt_model.errors import DataError
from rmt_model.evaluation.examples import NO_TEXT, Encode, Example, document_of, rng_of, short_digest
from rmt_model.evaluation.lengths import Unit, length_label
from rmt_model.evaluation.scoring import babilong_labels, is_babilong_right

__all__ = ["BabiTask", "BabilongExamples", "StorySplit"]

_WORD = re.compile(r"\w+")

StorySplit = Literal["validation", "all"]


class BabiTask:
    """One task of a bAbI folder.

    Attributes:
        number: Its number, from 1.
        questions: The questions of the split.
        labels: All answers in its file, lower-cased, lists taken apart.
        digest: Names the file by content.

    Raises:
        DataError: There is no such file, or it is malformed, or the split is empty.
    """

    def __init__(self, folder: Path, number: int, split: StorySplit, encode: Encode) -> None:
        path = babi_file(folder, number)
        every = list(read_babi(path, number))
        self.number = number
        self.questions = every if split == "all" else split_stories(every, split)
        if not self.questions:
            raise DataError(f"{path} has no question for the split {split}: take --split all, or a larger file")
        self.labels = babilong_labels(question.answer for question in every)
        self.digest = short_digest(path.read_bytes())
        self.split: StorySplit = split
        self.encode = encode
        self._tokens_of = lru_cache(maxsize=None)(lambda sentence: len(encode(f" {sentence}")))

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens of each question's story."""
        return [sum(map(self._tokens_of, question.sentences)) for question in self.questions]

    def is_said(self, number: int) -> bool:
        """Whether a question's answer is a word of its story."""
        question = self.questions[number]
        return any(question.answer in _WORD.findall(sentence) for sentence in question.sentences)


class BabilongExamples:
    """Examples of one task at one length; at length 0 the story stands alone.

    Stories that are longer than the document are left out, as BABILong does; `left_out` says how many. With `pointed`,
    so are questions whose answer is no word of the story, which an encoder could not point at; `unsaid` says how many.

    Raises:
        DataError: No story is that short, or has the answer's word.
    """

    task = "babilong"
    unit: Unit = "tokens"

    def __init__(
        self,
        babi: BabiTask,
        length: int,
        background: Background | None,
        *,
        seed: int,
        books: str = "",
        pointed: bool = False,
    ) -> None:
        self.group = f"qa{babi.number}"
        self.length = length
        self.seed = seed
        self.settings: Mapping[str, str] = {"split": babi.split, "stories": babi.digest, "books": books}
        self._babi = babi
        self._background = background or NO_TEXT
        order = rng_of(seed, self.task, self.group).sample(range(len(babi.questions)), len(babi.questions))
        said = [at for at in order if not pointed or babi.is_said(at)]
        self.unsaid = len(order) - len(said)
        if not said:
            raise DataError(f"{self.group}: no answer is a word of its story, which an encoder could point at")
        if self.unsaid:
            self.settings = {**self.settings, "answers": "words of the story"}
        self._order = [at for at in said if not length or babi.sizes[at] <= length]
        self.left_out = len(said) - len(self._order)
        self.available: int | None = len(self._order)
        if not self._order:
            raise DataError(
                f"{self.group} at {length_label(length)}: the shortest story has {min(babi.sizes)} tokens; "
                "ask for a longer length, or 0k"
            )

    def example(self, number: int) -> Example:
        """The number-th story that fits, in an order that the seed alone decides."""
        at = self._order[number]
        question: BabiQuestion = self._babi.questions[at]
        tokens = self.length or self._babi.sizes[at]
        rng = rng_of(self.seed, self.task, self.group, self.length, number)
        what = f"{self.group} at {length_label(self.length)}"
        background = self._background if self.length else NO_TEXT
        story = story_of(question)
        ids, spans = document_of(rng, story, background, self._babi.encode, tokens=tokens, what=what)
        return Example(number, self.group, self.length, question.question, (question.answer,), ids, spans)

    def scores(self, example: Example, answer: str) -> dict[str, float]:
        """BABILong's accuracy."""
        right = is_babilong_right(answer, example.answers[0], example.question, self._babi.labels)
        return {"accuracy": float(right)}
