"""Facts to plant in a document: a sentence, a question about it, and the answer.

Every kind draws its words from pools whose validation part is never trained on, and a share of its names from
syllables, so that answering needs copying out of the document rather than knowing the words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from rmt_model.data.story import Split
from rmt_model.data.words import NO_LEXICON, POOLS, Lexicon

__all__ = ["KINDS", "Fact", "draw_fact", "draw_facts"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One planted fact. `key` is what it is about: a later fact with the same key and question replaces it."""

    kind: str
    key: str
    statement: str
    question: str
    answer: str

    def asks_like(self, other: "Fact") -> bool:
        """Whether both answer the same question about the same thing."""
        return (self.key, self.question) == (other.key, other.question)


_OPEN_SHARE = 0.5
_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ei", "ia", "ou"]
_CODAS = ["l", "m", "n", "r", "s", "t", "nd", "rk", "x"]


def _forms(verb: str) -> tuple[str, str, str]:
    """Base form, past and participle; the last two are mostly one."""
    base, past, *participle = verb.split()
    return base, past, participle[0] if participle else past


_DEEDS = """sell sold, lose lost, find found, steal stole stolen, paint painted, repair repaired, break broke broken,
    borrow borrowed, lend lent, send sent, bring brought, carry carried, draw drew drawn, design designed,
    discover discovered, receive received, return returned, damage damaged, clean cleaned, inherit inherited,
    admire admired, examine examined, order ordered, deliver delivered, choose chose chosen, refuse refused,
    bury buried, burn burned, wash washed, weigh weighed, wrap wrapped, hang hung, throw threw thrown"""
DEEDS = tuple(map(_forms, _DEEDS.split(",")))
"""What people do to things."""


class _Words:
    """Draws words for one fact from one split."""

    def __init__(self, rng: Random, split: Split, lexicon: Lexicon) -> None:
        self.rng = rng
        self.split = split
        self.lexicon = lexicon

    def person(self) -> str:
        if self.rng.random() < 0.25:
            return self.coined()
        name = POOLS["person"].draw(self.rng, self.split)
        return f"{name} {self.coined()}" if self.rng.random() < 0.2 else name

    def thing(self, pool: str, adjective: float = 0.5) -> str:
        """A noun, often with an adjective: `silver key`; half of the words come from the open vocabulary."""
        noun = self._word(pool)
        return f"{self._word('adjective')} {noun}" if self.rng.random() < adjective else noun

    def _word(self, pool: str) -> str:
        any_word = self.lexicon.draw(self.rng, self.split) if self.rng.random() < _OPEN_SHARE else None
        return any_word or POOLS[pool].draw(self.rng, self.split)

    def attribute(self) -> str:
        """What a thing may have; half of the words come from the open vocabulary."""
        return self._word("attribute")

    def code(self) -> str:
        return "".join(self.rng.choice("0123456789") for _ in range(self.rng.randint(3, 6)))

    def date(self) -> str:
        return f"{self.rng.randint(1, 28)} {POOLS['month'].draw(self.rng, self.split)}"

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def coined(self) -> str:
        """A name out of syllables; the splits never share one: the sum of its letters tells them apart."""
        while True:
            syllables = (self.rng.choice(_ONSETS) + self.rng.choice(_VOWELS) for _ in range(self.rng.randint(2, 3)))
            name = ("".join(syllables) + self.rng.choice(_CODAS)).capitalize()
            if (sum(map(ord, name)) % 5 == 0) == (self.split == "validation"):
                return name


def _person_place(w: _Words) -> Fact:
    person, place = w.person(), w.thing("place")
    verb = w.pick(
        "is in",
        "went to",
        "moved to",
        "travelled to",
        "journeyed to",
        "went back to",
        "is waiting in",
        "stays in",
    )
    statement = w.pick(
        f"{person} {verb} the {place}.",
        f"{person} {verb} the {place}.",
        f"You will find {person} in the {place}.",
    )
    return Fact("person_place", person, statement, f"Where is {person}?", f"the {place}")


def _opens(w: _Words) -> Fact:
    opener, opened = w.thing("opener", 0.7), w.thing("opened")
    statement = w.pick(
        f"The {opener} opens the {opened}.",
        f"The {opener} opens the {opened}.",
        f"The {opened} is opened by the {opener}.",
        f"Only the {opener} opens the {opened}.",
    )
    if w.rng.random() < 0.25:
        return Fact("opens", opener, statement, f"What does the {opener} open?", f"the {opened}")
    return Fact("opens", opened, statement, f"What opens the {opened}?", f"the {opener}")


def _object_place(w: _Words) -> Fact:
    thing, where = w.thing("object"), w.thing(w.pick("container", "container", "place"))
    statement = f"The {thing} {w.pick('is in', 'was left in', 'is kept in', 'lies in', 'was hidden in')} the {where}."
    return Fact("object_place", thing, statement, f"Where is the {thing}?", f"the {where}")


def _possession(w: _Words) -> Fact:
    person, thing = w.person(), w.thing("object")
    statement = f"{person} {w.pick('has', 'took', 'picked up', 'keeps', 'bought')} the {thing}."
    return Fact("possession", thing, statement, f"Who has the {thing}?", person)


def _code(w: _Words) -> Fact:
    thing, code = w.thing("opened"), w.code()
    statement = w.pick(f"The code of the {thing} is {code}.", f"The {thing} has the code {code}.")
    return Fact("code", thing, statement, f"What is the code of the {thing}?", code)


def _job(w: _Words) -> Fact:
    person, job = w.person(), POOLS["job"].draw(w.rng, w.split)
    statement = w.pick(f"{person} works as a {job}.", f"{person} is a {job}.", f"{person} became a {job}.")
    return Fact("job", person, statement, f"What is the job of {person}?", job)


def _date(w: _Words) -> Fact:
    event, date = w.thing("event", 0.5), w.date()
    statement = w.pick(f"The {event} is on {date}.", f"The {event} takes place on {date}.")
    return Fact("date", event, statement, f"When is the {event}?", date)


def _amount(w: _Words) -> Fact:
    thing, price = w.thing("object"), f"{w.rng.randint(2, 999)} {w.pick('pounds', 'dollars', 'francs', 'crowns')}"
    statement = w.pick(f"The {thing} costs {price}.", f"The price of the {thing} is {price}.")
    return Fact("amount", thing, statement, f"How much does the {thing} cost?", price)


def _relation(w: _Words) -> Fact:
    one, other, relation = (
        w.person(),
        w.person(),
        w.pick("sister", "brother", "uncle", "daughter", "friend", "neighbour"),
    )
    statement = w.pick(f"The {relation} of {one} is {other}.", f"{other} is the {relation} of {one}.")
    return Fact("relation", one, statement, f"Who is the {relation} of {one}?", other)


def _colour(w: _Words) -> Fact:
    thing, colour = w.thing("object", 0.0), POOLS["colour"].draw(w.rng, w.split)
    statement = w.pick(f"The colour of the {thing} is {colour}.", f"The {thing} is painted {colour}.")
    return Fact("colour", thing, statement, f"What is the colour of the {thing}?", colour)


def _hidden_by(w: _Words) -> Fact:
    person, thing, place = w.person(), w.thing("object"), w.thing("place")
    statement = f"{person} hid the {thing} in the {place}."
    return Fact("hidden_by", thing, statement, f"Who hid the {thing}?", person)


def _attribute(w: _Words) -> Fact:
    thing, attribute = w.thing(w.pick("object", "opened", "place", "event")), w.attribute()
    value = w.pick(w.coined(), w.code(), w.thing("object", 0.0), w.thing("colour", 0.0))
    statement = w.pick(f"The {attribute} of the {thing} is {value}.", f"The {thing} has the {attribute} {value}.")
    return Fact("attribute", thing, statement, f"What is the {attribute} of the {thing}?", value)


def _deed(w: _Words) -> Fact:
    person, thing, (base, past, participle) = w.person(), w.thing("object"), w.rng.choice(DEEDS)
    statement = w.pick(f"{person} {past} the {thing}.", f"The {thing} was {participle} by {person}.")
    if w.rng.random() < 0.3:
        return Fact("deed", person, statement, f"What did {person} {base}?", f"the {thing}")
    return Fact("deed", thing, statement, f"Who {past} the {thing}?", person)


def _age(w: _Words) -> Fact:
    person, age = w.person(), str(w.rng.randint(11, 99))
    statement = w.pick(f"{person} is {age} years old.", f"{person} has reached the age of {age}.")
    return Fact("age", person, statement, f"How old is {person}?", age)


def _called(w: _Words) -> Fact:
    thing, name = w.thing("opened"), w.coined()
    statement = w.pick(f"The {thing} is called {name}.", f"The name of the {thing} is {name}.")
    return Fact("called", thing, statement, f"What is the {thing} called?", name)


def _maker(w: _Words) -> Fact:
    person, thing = w.person(), w.thing("object")
    statement = w.pick(f"{person} made the {thing}.", f"The {thing} was made by {person}.")
    return Fact("maker", thing, statement, f"Who made the {thing}?", person)


KINDS: dict[str, Callable[[_Words], Fact]] = {
    "person_place": _person_place,
    "opens": _opens,
    "object_place": _object_place,
    "possession": _possession,
    "code": _code,
    "job": _job,
    "date": _date,
    "amount": _amount,
    "relation": _relation,
    "colour": _colour,
    "hidden_by": _hidden_by,
    "attribute": _attribute,
    "deed": _deed,
    "age": _age,
    "called": _called,
    "maker": _maker,
}

UNSEEN_KINDS = ("age", "called", "maker")
"""Kinds that are left for validation."""
SEEN_KINDS = tuple(kind for kind in KINDS if kind not in UNSEEN_KINDS)


def draw_fact(rng: Random, split: Split, kinds: tuple[str, ...] = SEEN_KINDS, lexicon: Lexicon = NO_LEXICON) -> Fact:
    """One fact of one of `kinds`, with words of `split`."""
    return KINDS[rng.choice(kinds)](_Words(rng, split, lexicon))


def draw_facts(
    rng: Random, split: Split, count: int, kinds: tuple[str, ...] = SEEN_KINDS, lexicon: Lexicon = NO_LEXICON
) -> list[Fact]:
    """`count` facts, none of which speaks of what another is about, and no two with the same answer.

    "Where is the camera?" has no answer where there is a blue camera too, and another one.
    """
    facts: list[Fact] = []
    while len(facts) < count:
        fact = draw_fact(rng, split, kinds, lexicon)
        if not any(fact.answer == other.answer or _mixed_up(fact, other) for other in facts):
            facts.append(fact)
    return facts


def _mixed_up(one: Fact, other: Fact) -> bool:
    return _mentions(one.statement, other.key) or _mentions(other.statement, one.key)


def _mentions(statement: str, key: str) -> bool:
    return f" {key} " in f" {statement[:-1]} "
