"""Forms of questions about a bAbI story: when each can be asked, its answer, and what a memory should keep for it.

A lesson for training, and questions to train with. Nothing that reads or answers knows of this file.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from rmt_model.data.story import WHOLE_MEMORY, Asked, Kept
from rmt_model.data.world import OPPOSITE, PERSON_VECTORS, World

__all__ = ["FORMS", "Form", "ReadQuestion", "asked_along", "kept_for_any_question", "kept_for_focus", "read_question"]

_THINGS = ("football", "milk", "apple")
_ANSWER = 4
"""Vectors that hold the answer, where other vectors hold what it will follow from."""
_SAME_FORM_SHARE = 0.5

_Slots = dict[tuple[int, int], str]
"""What vectors should say: (first vector, number of vectors) -> text; the answer is what the first ones say."""


@dataclass(frozen=True)
class Form:
    """One form of question.

    Attributes:
        pattern: Regular expression that a question of this form matches whole.
        slots: What a memory that works for it should hold, from the world and the pattern's groups.
        ask: Questions of this form that the world, as it is now, has an answer to.
    """

    pattern: str
    slots: Callable[..., _Slots]
    ask: Callable[[World], Iterable[str]]


@dataclass(frozen=True)
class ReadQuestion:
    """A question that was understood.

    Attributes:
        form: Its form.
        words: What the form leaves open.
    """

    form: Form
    words: tuple[str, ...]

    def slots(self, world: World) -> _Slots:
        """What a memory that works for it should hold: the answer, and what the next one may follow from."""
        return self.form.slots(world, *self.words)

    def answer(self, world: World) -> str:
        """The answer; empty where it is not known."""
        return next(iter(self.slots(world).values()))


def read_question(question: str) -> ReadQuestion | None:
    """A question, if it is of a form that is understood."""
    for form in FORMS:
        if match := re.fullmatch(form.pattern, question):
            return ReadQuestion(form, match.groups())
    return None


def asked_along(rng: Random, sentences: Sequence[str], question: str, count: int, *, only: bool) -> list[Asked]:
    """Up to so many questions, each after a random sentence, answered by what is known there.

    Args:
        rng: Source of all that is random.
        sentences: The story.
        question: What is asked at its end.
        count: Number of questions; fewer where nothing is known yet.
        only: Ask nothing else; otherwise questions of the same form and of others.
    """
    read, world, asked = read_question(question), World(), list[Asked]()
    if read is None:
        return []
    times = [0] * len(sentences)
    for after in rng.choices(range(len(sentences)), k=count):
        times[after] += 1
    for after, sentence in enumerate(sentences):
        if not world.take(sentence):
            return []
        here = [question] * times[after] if only else _some(rng, world, read.form, times[after])
        for each in here:
            known = read if only else read_question(each)
            if known is not None and (answer := known.answer(world)):
                asked.append(Asked(each, answer, after=after))
    return asked


def _some(rng: Random, world: World, like: Form, count: int) -> list[str]:
    """Questions that can be answered now, half of them of one form."""
    chosen: list[str] = []
    for _ in range(count):
        forms = [like] if rng.random() < _SAME_FORM_SHARE else [form for form in FORMS if any(form.ask(world))]
        questions = list(rng.choice(forms or [like]).ask(world))
        chosen += [rng.choice(questions)] if questions else []
    return chosen


def kept_for_any_question(sentences: Sequence[str]) -> tuple[Kept, ...] | None:
    """What a memory that does not know the question should keep; None if a sentence is not understood."""
    return _kept(sentences, _everything)


def kept_for_focus(sentences: Sequence[str], question: str) -> tuple[Kept, ...] | None:
    """What a memory with the question as focus should keep; None if question or story are not understood."""
    asked = read_question(question)
    return None if asked is None else _kept(sentences, asked.slots)


def _kept(sentences: Sequence[str], slots: Callable[[World], _Slots]) -> tuple[Kept, ...] | None:
    """The vectors whose text each sentence changes."""
    world, kept = World(), list[Kept]()
    before: _Slots = {}
    for number, sentence in enumerate(sentences):
        if not world.take(sentence):
            return None
        now = slots(world)
        kept += [Kept(number, at, text, n) for (at, n), text in now.items() if text and before.get((at, n)) != text]
        before = now
    return tuple(kept)


def _everything(world: World) -> _Slots:
    slots = _people(world, 0)
    for number, thing in enumerate(_THINGS):
        if world.given:
            last = next((one for one in reversed(world.given) if one[1] == thing), ("", "", ""))
            slots |= {(4 + number, 1): last[0], (7 + number, 1): last[2]}
        else:
            trail = ["", "", "", *world.trail.get(thing, [])]
            told = (trail[-1], world.holder.get(thing, ""), trail[-2], trail[-3])
            slots |= {(4 + 3 * row + number, 1): word for row, word in enumerate(told)}
    if world.given:
        recent = list(dict.fromkeys(thing for _, thing, _ in reversed(world.given)))
        slots |= {(10 + rank, 1): thing for rank, thing in enumerate(recent)}
    for number, words in enumerate(world.lies):
        slots |= {(3 * number + at, 1): word for at, word in enumerate(words)}
    return slots


def _people(world: World, first: int) -> _Slots:
    return {(first + PERSON_VECTORS[person], 1): place for person, place in world.place.items()}


def _only(answer: str) -> _Slots:
    return {(0, WHOLE_MEMORY): answer}


def _where_is_thing(world: World, thing: str) -> _Slots:
    answer = world.trail.get(thing, [""])[-1] if world.trail.get(thing) else ""
    return {(0, _ANSWER): answer, (_ANSWER, 1): world.holder.get(thing, ""), **_people(world, _ANSWER + 1)}


def _before(world: World, thing: str, place: str) -> _Slots:
    slots = _where_is_thing(world, thing)
    return {**slots, (0, _ANSWER): world.before(thing, place), (_ANSWER + 5, 1): slots[0, _ANSWER]}


def _giving(world: World, giver: str = "", thing: str = "", receiver: str = "") -> tuple[str, str, str]:
    """The last giving that fits."""
    wanted = (giver, thing, receiver)
    fits = (one for one in reversed(world.given) if all(w in ("", o) for w, o in zip(wanted, one, strict=True)))
    return next(fits, ("", "", ""))


def _lying(world: World, direction: str, place: str) -> str:
    """What lies in a direction of a place."""
    return next((a for a, way, b in _both_ways(world) if (way, b) == (direction, place)), "")


def _both_ways(world: World) -> Iterable[tuple[str, str, str]]:
    """What was said of where places lie, and the same said of the other place."""
    yield from world.lies
    yield from ((b, OPPOSITE[way], a) for a, way, b in world.lies)


def _holders(world: World) -> Iterable[str]:
    """People of whom it is known what they have."""
    return dict.fromkeys((*world.place, *filter(None, world.holder.values())))


def _places(world: World) -> Iterable[tuple[str, str]]:
    """Each person with the place where they are, and with one where somebody else is."""
    for person, place in world.place.items():
        yield person, place
        yield from [(person, other) for other in world.place.values() if other != place][:1]


_COUNTS = ("none", "one", "two", "three")
_DIRECTION = "(north|south|east|west)"
FORMS = (
    Form(
        r"Where is ([A-Z]\w+)\?",
        lambda world, who: _only(world.place.get(who, "")),
        lambda world: (f"Where is {person}?" for person in world.place),
    ),
    Form(
        r"Where is the (\w+)\?",
        _where_is_thing,
        lambda world: (f"Where is the {thing}?" for thing, trail in world.trail.items() if trail),
    ),
    Form(
        r"Where was the (\w+) before the (\w+)\?",
        _before,
        lambda world: (
            f"Where was the {thing} before the {place}?"
            for thing, trail in world.trail.items()
            for place in dict.fromkeys(trail[1:])
        ),
    ),
    Form(
        rf"What is {_DIRECTION} of the (\w+)\?",
        lambda world, way, place: _only(_lying(world, way, place)),
        lambda world: (f"What is {way} of the {place}?" for _, way, place in _both_ways(world)),
    ),
    Form(
        rf"What is the (\w+) {_DIRECTION} of\?",
        lambda world, place, way: _only(_lying(world, OPPOSITE[way], place)),
        lambda world: (f"What is the {place} {way} of?" for place, way, _ in _both_ways(world)),
    ),
    Form(
        r"What did (\w+) give to (\w+)\?",
        lambda world, a, b: _only(_giving(world, giver=a, receiver=b)[1]),
        lambda world: (f"What did {a} give to {b}?" for a, _, b in world.given),
    ),
    Form(
        r"Who gave the (\w+) to (\w+)\?",
        lambda world, thing, b: _only(_giving(world, thing=thing, receiver=b)[0]),
        lambda world: (f"Who gave the {thing} to {b}?" for _, thing, b in world.given),
    ),
    Form(
        r"Who did (\w+) give the (\w+) to\?",
        lambda world, a, thing: _only(_giving(world, giver=a, thing=thing)[2]),
        lambda world: (f"Who did {a} give the {thing} to?" for a, thing, _ in world.given),
    ),
    Form(
        r"Who gave the (\w+)\?",
        lambda world, thing: _only(_giving(world, thing=thing)[0]),
        lambda world: (f"Who gave the {thing}?" for _, thing, _ in world.given),
    ),
    Form(
        r"Who received the (\w+)\?",
        lambda world, thing: _only(_giving(world, thing=thing)[2]),
        lambda world: (f"Who received the {thing}?" for _, thing, _ in world.given),
    ),
    Form(
        r"Is (\w+) in the (\w+)\?",
        lambda world, who, place: _only({place: "yes", "": ""}.get(world.place.get(who, ""), "no")),
        lambda world: (f"Is {person} in the {place}?" for person, place in _places(world)),
    ),
    Form(
        r"How many objects is (\w+) carrying\?",
        lambda world, who: _only(_COUNTS[len(world.carried(who))]),
        lambda world: (f"How many objects is {who} carrying?" for who in _holders(world)),
    ),
    Form(
        r"What is (\w+) carrying\?",
        lambda world, who: _only(",".join(world.carried(who)) or "nothing"),
        lambda world: (f"What is {who} carrying?" for who in _holders(world)),
    ),
)
