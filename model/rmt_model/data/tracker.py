"""Which words of a story answer which questions, and for how long: bAbI's people, things and places, as spans.

`world` knows the answers after each sentence; a `Tracker` knows where they stand in the text, which sentences they
follow from, and which sentence ends them. So it is right for a story that is read from any sentence to any other.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from re import Match

from rmt_model.data.passages import Holds, SpanQuestion
from rmt_model.data.world import GIVE, GO, LEAVE, LIES, OPPOSITE, TAKE

__all__ = ["Tracker"]


@dataclass(slots=True)
class _Mark:
    """A place of the text that answers something, and when: see `Holds`."""

    span: tuple[int, int]
    first: int
    since: int
    until: int | None = None

    def end(self, at: int) -> None:
        """From here on it is no answer, if it still was one."""
        if self.until is None:
            self.until = at


@dataclass(frozen=True, slots=True)
class _Move:
    """Somebody's last move: where it begins, and where in it the place stands."""

    place: str
    span: tuple[int, int]
    start: int


@dataclass(slots=True)
class _Stay:
    """A thing at a place: all ways in which that follows from the text."""

    place: str
    marks: list[_Mark]


@dataclass(slots=True)
class _Thing:
    """Who has a thing, since which sentence, and where it was, in order."""

    holder: str = ""
    held_since: int = 0
    stays: list[_Stay] = field(default_factory=list)


class Tracker:
    """Takes the sentences of a story one by one, each with its place in the text."""

    def __init__(self) -> None:
        self._marks: dict[str, list[_Mark]] = defaultdict(list)
        self._moves: dict[str, _Move] = {}
        self._things: dict[str, _Thing] = defaultdict(_Thing)
        self._carried: dict[str, _Mark] = {}

    def questions(self) -> list[SpanQuestion]:
        """All that can be asked, in the order in which it became known."""
        return [
            SpanQuestion(
                text, tuple(one.span for one in marks), holds=tuple(Holds(m.first, m.since, m.until) for m in marks)
            )
            for text, marks in self._marks.items()
            if marks
        ]

    def take(self, sentence: str, start: int) -> bool:
        """Take in a sentence that stands at character `start`; False if it is not understood."""
        end = start + len(sentence) - 1  # its stop says nothing
        if match := GO.fullmatch(sentence):
            self._go(match, start, end)
        elif match := TAKE.fullmatch(sentence):
            self._have(match[1], match[2], _span(match, 2, start), start, end)
            self._see(match[2], match[1], end)
        elif match := LEAVE.fullmatch(sentence):
            self._see(match[2], match[1], end)
            self._put_down(match[2], end)
        elif match := GIVE.fullmatch(sentence):
            self._give(match, start, end)
        elif match := LIES.fullmatch(sentence):
            self._lie(match, start, end)
        else:
            return False
        return True

    def _go(self, match: Match[str], start: int, end: int) -> None:
        person, place = match.groups()
        before, now = self._moves.get(person), _Move(place, _span(match, 2, start), start)
        self._moves[person] = now
        self._replace(f"Where is {person}?", now.span, start, end)
        for name, thing in self._things.items():
            if thing.holder != person:
                continue
            for mark in self._marks.get(f"Where is the {name}?", ()):
                if before is not None and mark.span == before.span:
                    mark.end(end)
            self._stay(name, now, min(thing.held_since, start), end)

    def _see(self, name: str, person: str, end: int) -> None:
        """Somebody had a thing in their hands in this sentence: it is where they are."""
        move = self._moves.get(person)
        if move is not None:
            self._stay(name, move, move.start, end)

    def _stay(self, name: str, move: _Move, first: int, end: int) -> None:
        """A thing is where a move led, which follows from the text from `first` on."""
        asked, stays = f"Where is the {name}?", self._things[name].stays
        mark = _Mark(move.span, first, end)
        if not stays or stays[-1].place != move.place:
            for old in self._marks[asked]:
                old.end(end)
            stays.append(_Stay(move.place, []))
            self._arrive(name, mark)
        stays[-1].marks.append(mark)
        self._marks[asked].append(mark)

    def _arrive(self, name: str, arrival: _Mark) -> None:
        """A thing has come to another place: now it was somewhere before."""
        stays = self._things[name].stays
        if len(stays) < 2:
            return
        before, now = stays[-2:]
        marks = self._marks[f"Where was the {name} before the {now.place}?"]
        for old in marks:
            old.end(arrival.since)
        marks += [_Mark(one.span, min(one.first, arrival.first), arrival.since) for one in before.marks]

    def _have(self, person: str, name: str, span: tuple[int, int], start: int, end: int) -> None:
        self._put_down(name, end)
        thing = self._things[name]
        thing.holder, thing.held_since = person, start
        mark = _Mark(span, start, end)
        self._carried[name] = mark
        self._marks[f"What is {person} carrying?"].append(mark)

    def _put_down(self, name: str, end: int) -> None:
        self._things[name].holder = ""
        if name in self._carried:
            self._carried.pop(name).end(end)

    def _give(self, match: Match[str], start: int, end: int) -> None:
        giver, name, receiver = match.groups()
        giver_at, name_at, receiver_at = (_span(match, group, start) for group in (1, 2, 3))
        self._have(receiver, name, name_at, start, end)
        self._see(name, receiver, end)
        self._replace(f"What did {giver} give to {receiver}?", name_at, start, end)
        self._replace(f"Who gave the {name} to {receiver}?", giver_at, start, end)
        self._replace(f"Who did {giver} give the {name} to?", receiver_at, start, end)
        self._replace(f"Who gave the {name}?", giver_at, start, end)
        self._replace(f"Who received the {name}?", receiver_at, start, end)

    def _lie(self, match: Match[str], start: int, end: int) -> None:
        place, way, other = match.groups()
        place_at, other_at = _span(match, 1, start), _span(match, 3, start)
        for asked, span in (
            (f"What is {way} of the {other}?", place_at),
            (f"What is the {other} {OPPOSITE[way]} of?", place_at),
            (f"What is {OPPOSITE[way]} of the {place}?", other_at),
            (f"What is the {place} {way} of?", other_at),
        ):
            self._marks[asked].append(_Mark(span, start, end))

    def _replace(self, asked: str, span: tuple[int, int], start: int, end: int) -> None:
        """A sentence answers a question anew, by itself."""
        for old in self._marks[asked]:
            old.end(end)
        self._marks[asked].append(_Mark(span, start, end))


def _span(match: Match[str], group: int, start: int) -> tuple[int, int]:
    return start + match.start(group), start + match.end(group)
