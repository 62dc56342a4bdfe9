"""Templates of scenes: text with slots and choices, and the blocks that put statements and questions together.

A template is text with `{slot}` for a word that is drawn, `{^slot}` for the same word with a capital, `{slot~}` for
other words that mean the same, and `[one|other]` for a choice. ` // ` is a line break. ` >> ` divides a statement into
parts that stand apart in the document.

A block is a few lines without an empty line between them. `- ` begins one wording of a statement and `slot? ` begins a
question whose answer is what the slot holds. Two spaces continue the line before. A block that begins with `once`,
or of which no question names a slot, is used once in a document. A question `=deadline of the project` stands for
"What is the deadline of the project?" and other ways of asking for a noun.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

__all__ = ["Choice", "Kind", "Section", "Slot", "Spec", "join_words", "parse", "read_kind", "spell"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template for a drawn word.

    Attributes:
        name: Its name within the block: `person_b`.
        base: What is drawn: `person`.
        capital: Whether to begin with a capital.
        other: Whether to use the other wording.
    """

    name: str
    base: str
    capital: bool
    other: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives of which one is taken."""

    options: tuple[tuple["str | Slot | Choice", ...], ...]


Nodes = tuple[str | Slot | Choice, ...]
_TOKEN = re.compile(r"(\{\^?\w+~?\}|[\[\]|])")
_BREAK = re.compile(r"(?: //)+ ")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeio])")
_SLOT = re.compile(r"\{(\^?)(\w+?)(_[bcd])?(~?)\}")


@cache
def parse(template: str) -> Nodes:
    """The nodes of a template."""
    lines = _BREAK.sub(lambda found: "\n" * found[0].count("//"), template)
    tokens = [token for token in _TOKEN.split(lines) if token]
    tokens.reverse()
    nodes: list[str | Slot | Choice] = []
    while tokens:
        nodes.extend(_node(tokens))
    return tuple(nodes)


def _node(tokens: list[str]) -> Nodes:
    token = tokens.pop()
    if match := _SLOT.fullmatch(token):
        capital, base, suffix, other = match.groups()
        return (Slot(base + (suffix or ""), base, bool(capital), bool(other)),)
    return _bracket(tokens) if token == "[" else (token,)  # noqa: S105


def _bracket(tokens: list[str]) -> Nodes:
    """The nodes after an opening bracket: a choice where it holds a bar, otherwise plain text."""
    options: list[list[str | Slot | Choice]] = [[]]
    while tokens and tokens[-1] != "]":
        if tokens[-1] == "|":
            tokens.pop()
            options.append([])
        else:
            options[-1].extend(_node(tokens))
    tokens.pop()
    if len(options) == 1:
        return ("[", *options[0], "]")
    return (Choice(tuple(map(tuple, options))),)


def spell(nodes: Nodes, rng: Random) -> Iterator[str | Slot]:
    """Text and slots of a template, with every choice made."""
    for node in nodes:
        if isinstance(node, Choice):
            yield from spell(rng.choice(node.options), rng)
        else:
            yield node


def join_words(words: list[str]) -> str:
    """A text out of its pieces; "a" becomes "an" before a vowel."""
    return _ARTICLE.sub(r"\1n ", "".join(words))


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """A statement in several wordings, and questions by the slot that answers them."""

    says: tuple[str, ...]
    asks: dict[str, tuple[str, ...]]
    once: bool

    def questions(self, slot: str, *, held_out: bool) -> tuple[str, ...]:
        """Question templates for a slot; some are left for validation where there are enough."""
        every = self.asks[slot]
        kept = tuple(ask for ask in every if held_out or zlib.crc32(ask.encode()) % 9)
        return kept or every


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document.

    Attributes:
        joint: How statements follow each other: `flow`, `lines`, `blocks`, `list` or `steps`.
        least: Fewest statements.
        most: Most statements.
        headings: Templates of its heading; empty where there is none.
        specs: What it may say.
        filler: Templates of text that nothing is asked about.
    """

    joint: str
    least: int
    most: int
    headings: tuple[str, ...]
    specs: tuple[Spec, ...]
    filler: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document: its name and sections in order."""

    name: str
    sections: tuple[Section, ...]

    def specs(self) -> tuple[Spec, ...]:
        """Everything that such a document may say."""
        return tuple(spec for section in self.sections for spec in section.specs)


_NOUN_ASKS = (
    "What [is|is|was] the {}?",
    "[what's|What's] the {}[?|]",
    "[Tell me|Give me|Find|State] the {}.",
    "[{}|The {}|the {}]?",
    "[Do you know|Can you tell me|Could you tell me] the {}?",
)
_HEAD = re.compile(r"== (\w+) (\d+)-(\d+)(?:: (.*))?")
_CONTINUED = re.compile(r"\n {2,}")
_ASK = re.compile(r"(\w+)\? (.*)")


def read_kind(name: str, text: str) -> Kind:
    """Read a kind of document: sections that begin with `== joint least-most: heading / heading`."""
    sections: list[Section] = []
    for part in re.split(r"\n(?=== )", _CONTINUED.sub(" ", text.strip())):
        head, _, body = part.partition("\n")
        match = _HEAD.fullmatch(head)
        if match is None:
            raise ValueError(f"{name}: a section begins with '== joint least-most', not with {head!r}")
        joint, least, most, headings = match.groups()
        blocks = [block.strip().split("\n") for block in re.split(r"\n\s*\n", body.strip("\n"))]
        specs = tuple(_spec(name, block) for block in blocks if not block[0].startswith("* "))
        filler = tuple(line[2:] for block in blocks if block[0].startswith("* ") for line in block)
        sections.append(
            Section(
                joint, int(least), int(most), tuple((headings or "").split(" / ")) if headings else (), specs, filler
            )
        )
    return Kind(name, tuple(sections))


def _spec(name: str, lines: list[str]) -> Spec:
    says: list[str] = []
    asks: dict[str, list[str]] = {}
    once = lines[0] == "once"
    for line in lines[once:]:
        if line.startswith("- "):
            says.append(line[2:])
        elif match := _ASK.fullmatch(line):
            asks.setdefault(match[1], []).extend(_asked(match[2]))
        else:
            raise ValueError(f"{name}: a line begins with '- ', 'slot? ' or two spaces, not with {line!r}")
    if not says:
        raise ValueError(f"{name}: a block has no statement: {lines[0]!r}")
    told_apart = any(re.search(r"\{\^?(?!our_)\w", ask) for texts in asks.values() for ask in texts)
    return Spec(tuple(says), {slot: tuple(texts) for slot, texts in asks.items()}, once or not told_apart)


def _asked(text: str) -> tuple[str, ...]:
    return tuple(ask.replace("{}", text[1:]) for ask in _NOUN_ASKS) if text.startswith("=") else (text,)
