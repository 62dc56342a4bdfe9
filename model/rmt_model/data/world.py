"""What is known after each sentence of a bAbI story: where people and things are, who has and gave what."""

import re
from dataclasses import dataclass, field

__all__ = ["GIVE", "GO", "LEAVE", "LIES", "OPPOSITE", "PERSON_VECTORS", "TAKE", "World"]

PERSON_VECTORS = {"Mary": 0, "John": 1, "Daniel": 2, "Sandra": 3, "Fred": 1, "Bill": 2, "Jeff": 3, "Julie": 3}
"""A memory vector for each person; where two of one vector meet, or somebody else, a story is not understood."""
GO = re.compile(r"(\w+) (?:moved|went|went back|journeyed|travelled) to the (\w+)\.")
TAKE = re.compile(r"(\w+) (?:picked up|got|took|grabbed) the (\w+)(?: there)?\.")
LEAVE = re.compile(r"(\w+) (?:dropped|left|discarded|put down) the (\w+)(?: there)?\.")
GIVE = re.compile(r"(\w+) (?:gave|passed|handed) the (\w+) to (\w+)\.")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
LIES = re.compile(r"The (\w+) is (north|south|east|west) of the (\w+)\.")


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
        if (match := GO.fullmatch(sentence)) and self._has_vector(match[1]):
            self.place[match[1]] = match[2]
        elif match := TAKE.fullmatch(sentence):
            self.holder[match[2]] = match[1]
        elif match := LEAVE.fullmatch(sentence):
            self.holder[match[2]] = ""
        elif match := GIVE.fullmatch(sentence):
            self.holder[match[2]] = match[3]
            self.given.append((match[1], match[2], match[3]))
        elif match := LIES.fullmatch(sentence):
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
        vectors = PERSON_VECTORS
        return person in vectors and all(vectors[p] != vectors[person] for p in self.place if p != person)

    def carried(self, person: str) -> list[str]:
        """What a person has, in the order in which somebody first had it: bAbI's own, but for a few."""
        return [thing for thing, holder in self.holder.items() if holder == person]

    def before(self, thing: str, place: str) -> str:
        """Where a thing was before it was last brought to a place; empty if it was not."""
        trail = self.trail.get(thing, [])
        arrivals = [at for at in range(1, len(trail)) if trail[at] == place]
        return trail[arrivals[-1] - 1] if arrivals else ""
