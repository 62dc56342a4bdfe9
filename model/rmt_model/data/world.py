"""What is known after each sentence of a bAbI story: where people and things are, who has what, who gave what to whom.

From this follows what a memory should keep of the story, with a question as focus or without knowing it: a lesson for
training. Nothing that reads or answers knows of this file.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rmt_model.data.story import WHOLE_MEMORY, Kept

__all__ = ["OPPOSITE", "World", "kept_for_any_question", "kept_for_focus"]

THINGS = ("football", "milk", "apple")
_PEOPLE = {"Mary": 0, "John": 1, "Daniel": 2, "Sandra": 3, "Fred": 1, "Bill": 2, "Jeff": 3, "Julie": 3}
"""A memory vector for each person; where two of one vector meet, or somebody else, a story is not understood."""
_ANSWER = 4
"""Vectors that hold the answer, where other vectors hold what it will follow from."""
_GO = re.compile(r"(\w+) (?:moved|went|went back|journeyed|travelled) to the (\w+)\.")
_TAKE = re.compile(r"(\w+) (?:picked up|got|took|grabbed) the (\w+)(?: there)?\.")
_LEAVE = re.compile(r"(\w+) (?:dropped|left|discarded|put down) the (\w+)(?: there)?\.")
_GIVE = re.compile(r"(\w+) (?:gave|passed|handed) the (\w+) to (\w+)\.")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
_LIES = re.compile(r"The (\w+) is (north|south|east|west) of the (\w+)\.")


@dataclass
class World:
    """What is known, sentence by sentence; words as the story has them."""

    place: dict[str, str] = field(default_factory=dict)
    """Where each person is."""
    holder: dict[str, str] = field(default_factory=dict)
    """Who has each thing; the empty word once it was put down."""
    trail: dict[str, list[str]] = field(default_factory=dict)
    """The places of each thing, in order."""
    given: list[tuple[str, str, str]] = field(default_factory=list)
    """Giver, thing, receiver, in order."""
    lies: list[tuple[str, str, str]] = field(default_factory=list)
    """Place, direction, place that it lies in that direction of."""

    def take(self, sentence: str) -> bool:
        """Take a sentence in; False if it is not understood."""
        if (match := _GO.fullmatch(sentence)) and self._has_vector(match[1]):
            self.place[match[1]] = match[2]
        elif match := _TAKE.fullmatch(sentence):
            self.holder[match[2]] = match[1]
        elif match := _LEAVE.fullmatch(sentence):
            self.holder[match[2]] = ""
        elif match := _GIVE.fullmatch(sentence):
            self.holder[match[2]] = match[3]
            self.given.append((match[1], match[2], match[3]))
        elif match := _LIES.fullmatch(sentence):
            self.lies.append((match[1], match[2], match[3]))
        else:
            return False
        for thing, person in self.holder.items():
            where, trail = self.place.get(person), self.trail.setdefault(thing, [])
            if where and trail[-1:] != [where]:
                trail.append(where)
        return True

    def _has_vector(self, person: str) -> bool:
        """Whether a memory vector is this person's alone."""
        return person in _PEOPLE and all(_PEOPLE[p] != _PEOPLE[person] for p in self.place if p != person)

    def carried(self, person: str) -> list[str]:
        """What a person has, in the order in which somebody first had it: bAbI's own, but for a few."""
        return [thing for thing, holder in self.holder.items() if holder == person]

    def questions(self) -> list[tuple[str, str]]:
        """Some questions that can be answered now, with their answers."""
        people = [(f"Where is {person}?", place) for person, place in self.place.items()]
        things = [(f"Where is the {thing}?", trail[-1]) for thing, trail in self.trail.items() if trail]
        last = {thing: (giver, receiver) for giver, thing, receiver in self.given}
        given = [(f"Who gave the {thing}?", giver) for thing, (giver, _) in last.items()]
        received = [(f"Who received the {thing}?", receiver) for thing, (_, receiver) in last.items()]
        return given + received if self.given else people + things

    def before(self, thing: str, place: str) -> str:
        """Where a thing was before it was last brought to a place; empty if it was not."""
        trail = self.trail.get(thing, [])
        arrivals = [at for at in range(1, len(trail)) if trail[at] == place]
        return trail[arrivals[-1] - 1] if arrivals else ""


def kept_for_any_question(sentences: Sequence[str]) -> tuple[Kept, ...] | None:
    """What a memory that does not know the question should keep; None if a sentence is not understood."""
    return _kept(sentences, _everything)


def kept_for_focus(sentences: Sequence[str], question: str) -> tuple[Kept, ...] | None:
    """What a memory with the question as focus should keep; None if question or story are not understood."""
    slots = _slots_of(question)
    return slots and _kept(sentences, slots)


_Slots = Callable[[World], dict[tuple[int, int], str]]
"""What vectors should say: (first vector, number of vectors) -> text."""


def _kept(sentences: Sequence[str], slots: _Slots) -> tuple[Kept, ...] | None:
    """The vectors whose text each sentence changes."""
    world, kept = World(), list[Kept]()
    before: dict[tuple[int, int], str] = {}
    for number, sentence in enumerate(sentences):
        if not world.take(sentence):
            return None
        now = slots(world)
        kept += [Kept(number, at, text, n) for (at, n), text in now.items() if text and before.get((at, n)) != text]
        before = now
    return tuple(kept)


def _everything(world: World) -> dict[tuple[int, int], str]:
    slots = _people(world, 0)
    for number, thing in enumerate(THINGS):
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


def _people(world: World, first: int) -> dict[tuple[int, int], str]:
    return {(first + _PEOPLE[person], 1): place for person, place in world.place.items()}


def _slots_of(question: str) -> _Slots | None:
    """What a memory that works for a question should hold: the answer, and what the next one may follow from."""
    for pattern, slots in _QUESTIONS:
        if match := re.fullmatch(pattern, question):
            return lambda world: slots(world, *match.groups())
    return None


def _only(answer: str) -> dict[tuple[int, int], str]:
    return {(0, WHOLE_MEMORY): answer}


def _where_is_thing(world: World, thing: str) -> dict[tuple[int, int], str]:
    answer = world.trail.get(thing, [""])[-1] if world.trail.get(thing) else ""
    return {(0, _ANSWER): answer, (_ANSWER, 1): world.holder.get(thing, ""), **_people(world, _ANSWER + 1)}


def _before(world: World, thing: str, place: str) -> dict[tuple[int, int], str]:
    slots = _where_is_thing(world, thing)
    return {**slots, (0, _ANSWER): world.before(thing, place), (_ANSWER + 5, 1): slots[0, _ANSWER]}


def _giving(world: World, giver: str = "", thing: str = "", receiver: str = "") -> tuple[str, str, str]:
    """The last giving that fits."""
    wanted = (giver, thing, receiver)
    fits = (one for one in reversed(world.given) if all(w in ("", o) for w, o in zip(wanted, one, strict=True)))
    return next(fits, ("", "", ""))


def _lying(world: World, direction: str, place: str) -> str:
    """What lies in a direction of a place."""
    both_ways = (*world.lies, *((b, OPPOSITE[way], a) for a, way, b in world.lies))
    return next((a for a, way, b in both_ways if (way, b) == (direction, place)), "")


_COUNTS = ("none", "one", "two", "three")
_DIRECTION = "(north|south|east|west)"
_QUESTIONS: tuple[tuple[str, Callable[..., dict[tuple[int, int], str]]], ...] = (
    (r"Where is ([A-Z]\w+)\?", lambda world, who: _only(world.place.get(who, ""))),
    (r"Where is the (\w+)\?", _where_is_thing),
    (r"Where was the (\w+) before the (\w+)\?", _before),
    (rf"What is {_DIRECTION} of the (\w+)\?", lambda world, way, place: _only(_lying(world, way, place))),
    (rf"What is the (\w+) {_DIRECTION} of\?", lambda world, place, way: _only(_lying(world, OPPOSITE[way], place))),
    (r"What did (\w+) give to (\w+)\?", lambda world, a, b: _only(_giving(world, giver=a, receiver=b)[1])),
    (r"Who gave the (\w+) to (\w+)\?", lambda world, thing, b: _only(_giving(world, thing=thing, receiver=b)[0])),
    (r"Who did (\w+) give the (\w+) to\?", lambda world, a, thing: _only(_giving(world, giver=a, thing=thing)[2])),
    (r"Who gave the (\w+)\?", lambda world, thing: _only(_giving(world, thing=thing)[0])),
    (r"Who received the (\w+)\?", lambda world, thing: _only(_giving(world, thing=thing)[2])),
    (
        r"Is (\w+) in the (\w+)\?",
        lambda world, who, place: _only({place: "yes", "": ""}.get(world.place.get(who, ""), "no")),
    ),
    (r"How many objects is (\w+) carrying\?", lambda world, who: _only(_COUNTS[len(world.carried(who))])),
    (r"What is (\w+) carrying\?", lambda world, who: _only(",".join(world.carried(who)) or "nothing")),
)
