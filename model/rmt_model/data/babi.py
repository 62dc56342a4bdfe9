"""bAbI: short stories about people, places and things, with questions (Weston et al., arXiv 1502.05698).

Files are read as they come: `N sentence`, or `N question<TAB>answer<TAB>numbers of the sentences that support it`; N
begins anew with each story. There is a story for every question: the sentences before it, as BABILong takes them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from rmt_model.data.forms import asked_along, kept_for_any_question, kept_for_focus, read_question
from rmt_model.data.story import Asked, Split, Story, Wish
from rmt_model.data.world import World
from rmt_model.errors import DataError

__all__ = ["BabiQuestion", "BabiSource", "babi_file", "read_babi", "read_babi_tasks", "split_stories", "story_of"]

_LINE = re.compile(r"(\d+) (.+)")
_HELD_OUT = 10
"""One story in so many is for validation."""
_TRIES = 32
_SAMPLE = 200
"""Questions of a task that are looked at to see what forms they have."""
_RETOLD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class BabiQuestion:
    """One question with the sentences before it.

    Attributes:
        task: Number of the task.
        story: Number of the story in its file.
        sentences: All sentences before the question.
        question: The question.
        answer: The right answer.
        supporting: Numbers of the sentences that it follows from.
    """

    task: int
    story: int
    sentences: tuple[str, ...]
    question: str
    answer: str
    supporting: tuple[int, ...]


def babi_file(folder: Path, task: int) -> Path:
    """The training file of a task.

    Raises:
        DataError: There is none, or more than one.
    """
    files = sorted(folder.glob(f"qa{task}_*train*.txt"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(f"{folder}: one file qa{task}_*train*.txt is wanted, found: {found}")
    return files[0]


def read_babi(path: Path, task: int) -> Iterator[BabiQuestion]:
    """All questions of a file, in order.

    Raises:
        DataError: The file cannot be read, or a line is not bAbI's; the message names it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    story, numbers, sentences = -1, dict[int, int](), list[str]()
    for at, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise DataError(f"{path}:{at}: not a line of bAbI: a number, a space, and a sentence are wanted")
        number, text = int(match[1]), match[2]
        if number == 1:
            story, numbers, sentences = story + 1, {}, []
        if "\t" not in text:
            numbers[number] = len(sentences)
            sentences.append(text.strip())
            continue
        parts = text.split("\t")
        if story < 0 or not all(part.strip() for part in parts[:2]):
            raise DataError(f"{path}:{at}: a question before any story, or without words or an answer")
        try:
            supporting = tuple(numbers[int(one)] for one in parts[2].split())
        except (IndexError, KeyError, ValueError) as error:
            raise DataError(
                f"{path}:{at}: a question is followed by a tab, the answer, a tab, and line numbers"
            ) from error
        yield BabiQuestion(task, story, tuple(sentences), parts[0].strip(), parts[1].strip(), supporting)


def split_stories(questions: Sequence[BabiQuestion], split: Split) -> list[BabiQuestion]:
    """The questions of one split: every tenth story is for validation, whole."""
    return [one for one in questions if (one.story % _HELD_OUT == _HELD_OUT - 1) == (split == "validation")]


def read_babi_tasks(folder: Path, tasks: Sequence[int], split: Split) -> dict[int, list[BabiQuestion]]:
    """The questions of some tasks' training files, of one split.

    Raises:
        DataError: A file is missing or malformed.
    """
    return {task: split_stories(list(read_babi(babi_file(folder, task), task)), split) for task in tasks}


class BabiSource:
    """Stories of some tasks, all equally often; half are cut off anywhere and asked something else of the tasks' forms.

    Attributes:
        tokens_per_sentence: How long a sentence is taken to be when it must fit.
    """

    tokens_per_sentence = 9

    def __init__(self, questions: Mapping[int, Sequence[BabiQuestion]]) -> None:
        self.questions = {task: tuple(of_task) for task, of_task in questions.items()}
        some = (read_question(one.question) for of_task in self.questions.values() for one in of_task[:_SAMPLE])
        self.forms = list(dict.fromkeys(one.form for one in some if one is not None))

    def draw(self, rng: Random, wish: Wish) -> Story:
        """One story, cut off at one of its questions or elsewhere; the shortest of some where they do not fit."""
        questions = self.questions[rng.choice(tuple(self.questions))]
        most = wish.room_tokens // self.tokens_per_sentence
        told = self._retold(rng, rng.choice(questions), most) if rng.random() < _RETOLD_SHARE else None
        if told is None:
            drawn = [rng.choice(questions) for _ in range(_TRIES)]
            fitting = next((one for one in drawn if len(one.sentences) <= most), None)
            told = fitting or min(drawn, key=lambda one: len(one.sentences))
        story, only = story_of(told), wish.mode != "recall"
        more = asked_along(rng, told.sentences, told.question, wish.questions, only=only)
        return replace(story, asked=(*story.asked, *more))

    def _retold(self, rng: Random, question: BabiQuestion, most: int) -> BabiQuestion | None:
        """The same story up to any sentence, with a question that can be answered there; None where there is none."""
        sentences = question.sentences[: rng.randint(1, max(1, min(len(question.sentences), most)))]
        world = World()
        if not all(world.take(sentence) for sentence in sentences):
            return None
        forms = [form for form in self.forms if any(form.ask(world))]
        if not forms:
            return None
        asked = rng.choice(list(rng.choice(forms).ask(world)))
        read = read_question(asked)
        return (
            None if read is None else replace(question, sentences=sentences, question=asked, answer=read.answer(world))
        )


def story_of(question: BabiQuestion) -> Story:
    """The story of one question, with what a memory should keep of it."""
    asked = Asked(question.question, question.answer, kept_for_focus(question.sentences, question.question))
    return Story(question.sentences, (asked,), kept_for_any_question(question.sentences))
