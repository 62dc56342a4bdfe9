"""A document in the making: it writes statements, remembers where every slot stands, and asks about them."""

from dataclasses import dataclass, field
from random import Random

from rmt_model.data.passages import SpanQuestion
from rmt_model.data.scenes.grammar import Kind, Section, Slot, Spec, join_words, parse, spell
from rmt_model.data.scenes.vocabulary import Value, Vocabulary
from rmt_model.data.story import Split

__all__ = ["Draft"]

_VOLATILE = frozenset(["at", "he", "his", "him", "filler", "stampless", "pid", "bullet"])
"""Slots that are drawn anew each time and belong to no statement."""
_TRIES = 12
_ARTICLES = frozenset([" a ", "\na ", "(a ", '"a '])


@dataclass(eq=False)
class _Record:
    """One statement of a document: what its slots hold, and where they stand in the text."""

    spec: Spec
    values: dict[str, Value] = field(default_factory=dict)
    marks: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class Draft:
    """Writes one document."""

    def __init__(self, rng: Random, vocabulary: Vocabulary, split: Split) -> None:
        self._rng = rng
        self._vocabulary = vocabulary
        self._held_out = split == "validation"
        self._parts: list[str] = []
        self._length = 0
        self._records: list[_Record] = []
        self._shared: dict[str, Value] = {}
        self._used: set[str] = set()
        self._item = 0

    @property
    def text(self) -> str:
        """What is written so far."""
        return "".join(self._parts)

    def write(self, kind: Kind, scale: float) -> None:
        """Write all sections; `scale` stretches the number of statements in the longer ones."""
        for number, section in enumerate(kind.sections):
            if self._length:
                self._append("\n\n")
            if section.headings:
                self._render(_Record(_NOTHING), self._rng.choice(section.headings))
                self._append("\n")
            self._section(section, scale if section.most > 1 else 1.0, number)

    def _section(self, section: Section, scale: float, number: int) -> None:
        self._item = 0
        paragraph = self._rng.randint(3, 6)
        for place, (record, template) in enumerate(self._plan(section, scale)):
            if place:
                self._append(self._gap(section.joint, place % paragraph == 0))
            self._append(self._bullet(section.joint, number))
            self._render(record, template)

    def _gap(self, joint: str, new_paragraph: bool) -> str:
        if joint == "flow":
            return "\n\n" if new_paragraph else " "
        return "\n\n" if joint == "blocks" else "\n"

    def _bullet(self, joint: str, number: int) -> str:
        self._item += 1
        if joint == "steps":
            return f"{self._item}. "
        if joint == "clauses":
            return f"{number}.{self._item} "
        return self._vocabulary.bullet if joint == "list" else ""

    def _plan(self, section: Section, scale: float) -> list[tuple[_Record, str]]:
        """Statements in the order in which they are written; later parts of one stand further down."""
        plan: list[tuple[_Record, str]] = []
        later: list[tuple[_Record, list[str]]] = []
        usual: dict[Spec, str] = {}
        for spec in self._choose(section, scale):
            record = _Record(spec)
            self._records.append(record)
            says = usual[spec] if spec in usual and self._rng.random() < 0.6 else self._rng.choice(spec.says)
            usual[spec] = says
            first, *rest = says.split(" >> ")
            plan.append((record, first))
            later.append((record, rest))
            if section.filler and self._rng.random() < 0.3:
                plan.append((_Record(_NOTHING), self._rng.choice(section.filler)))
        for record, parts in later:
            for part in parts:
                after = max(place for place, (other, _) in enumerate(plan) if other is record)
                plan.insert(self._rng.randint(after + 1, min(after + 7, len(plan))), (record, part))
        return plan

    def _choose(self, section: Section, scale: float) -> list[Spec]:
        """Specs of a section; some stand several times, so that one document has like things to be told apart."""
        if not section.specs:
            return []
        count = max(1, round(self._rng.randint(section.least, section.most) * scale))
        few = self._rng.sample(section.specs, min(len(section.specs), (count * 2 + 2) // 3))
        again = [spec for spec in few if not spec.once]
        wordings = [len(spec.says) for spec in again]
        chosen = few + (self._rng.choices(again, wordings, k=max(0, count - len(few))) if again else [])
        self._rng.shuffle(chosen)
        in_order = iter(sorted((spec for spec in chosen if spec.once), key=section.specs.index))
        return [next(in_order) if spec.once else spec for spec in chosen]

    def _append(self, text: str) -> None:
        """Write text; what an empty choice left before it is tidied: a space too many, "a" before a vowel."""
        if not text:
            return
        end = "".join(self._parts[-3:])[-3:]
        if end.endswith(" ") and (text[0] in " \n;" or text == "."):
            self._parts[-1] = self._parts[-1][:-1]
            self._length -= 1
        elif end.lower() in _ARTICLES and text[0] in "aeio":
            self._parts[-1] = self._parts[-1][:-1] + "n "
            self._length += 1
        self._parts.append(text)
        self._length += len(text)

    def _render(self, record: _Record, template: str) -> None:
        for piece in spell(parse(template), self._rng):
            if isinstance(piece, str):
                self._append(piece)
                continue
            text = self._word(record, piece)
            self._append(text)
            if text and piece.base not in _VOLATILE:
                record.marks.setdefault(piece.name, []).append((self._length - len(text), self._length))

    def _word(self, record: _Record, slot: Slot) -> str:
        if slot.base in ("he", "his", "him"):
            suffix = slot.name[len(slot.base) :]
            person = record.values.get("person" + suffix) or record.values["member" + suffix]
            text = self._vocabulary.pronoun(slot.base, person.text)
        elif slot.base in _VOLATILE:
            text = self._vocabulary.draw(slot.base).text
        else:
            value = self._value(record, slot)
            text = value.other if slot.other else value.text
        return text[:1].upper() + text[1:] if slot.capital else text

    def _value(self, record: _Record, slot: Slot) -> Value:
        """What a slot holds in a statement, drawn where it is asked for first."""
        values = self._shared if slot.base.startswith("our_") else record.values
        if slot.name not in values:
            values[slot.name] = self._fresh(slot.base.removeprefix("our_"), values)
        return values[slot.name]

    def _fresh(self, base: str, values: dict[str, Value]) -> Value:
        """A value that the document does not have yet, or at least the statement does not where values are few."""
        value = self._vocabulary.draw(base)
        for _ in range(_TRIES):
            taken = any(value.text == other.text for other in values.values())
            if not taken and (base in self._vocabulary.repeatable or value.text.lower() not in self._used):
                break
            value = self._vocabulary.draw(base)
        self._used.add(value.text.lower())
        return value

    def questions(self, kind: Kind) -> list[SpanQuestion]:
        """Questions about what is written, one or two of which the document does not answer; empty if too few."""
        answered = self._answered()
        wanted = self._rng.randint(3, 8)
        missing = self._missing(kind, self._rng.choice((1, 1, 2)))
        if len(answered) < 3 or not missing:
            return []
        questions = answered[:wanted] + missing
        self._rng.shuffle(questions)
        return questions

    def _answered(self) -> list[SpanQuestion]:
        found: dict[str, SpanQuestion] = {}
        pairs = [(record, slot) for record in self._records for slot in record.spec.asks if slot in record.marks]
        self._rng.shuffle(pairs)
        for record, slot in pairs:
            template = self._rng.choice(record.spec.questions(slot, held_out=self._held_out))
            text, keys = self._ask(record, template)
            if all(key in record.marks or key.startswith("our_") for key in keys) and self._decides(record, keys):
                found.setdefault(text, SpanQuestion(text, tuple(record.marks[slot])))
        return list(found.values())

    def _missing(self, kind: Kind, wanted: int) -> list[SpanQuestion]:
        """Questions without an answer: about a slot that was left out, or a statement that was never made."""
        questions: dict[str, SpanQuestion] = {}
        left_out = [(record, slot) for record in self._records for slot in record.spec.asks if slot not in record.marks]
        specs = [spec for spec in kind.specs() if spec.asks]
        for _ in range(_TRIES):
            if left_out and self._rng.random() < 0.4:
                record, slot = self._rng.choice(left_out)
            else:
                spec = self._rng.choice(specs)
                record, slot = _Record(spec), self._rng.choice(list(spec.asks))
            text, keys = self._ask(record, self._rng.choice(record.spec.questions(slot, held_out=self._held_out)))
            if self._decides(record, keys):
                questions[text] = SpanQuestion(text)
            if len(questions) == wanted:
                break
        return list(questions.values())

    def _ask(self, record: _Record, template: str) -> tuple[str, list[str]]:
        """A question in words, and the slots that it names."""
        words: list[str] = []
        keys: list[str] = []
        for piece in spell(parse(template), self._rng):
            if isinstance(piece, Slot):
                keys.append(piece.name)
                words.append(self._word(record, piece))
            else:
                words.append(piece)
        return join_words(words), keys

    def _decides(self, record: _Record, keys: list[str]) -> bool:
        """Whether what a question names tells its statement from all others of the same kind."""
        for other in self._records:
            if other.spec is record.spec and other is not record:
                own = [record.values[key].text for key in keys if key in record.values]
                if own == [
                    other.values[key].text if key in other.values else "" for key in keys if key in record.values
                ]:
                    return False
        return True


_NOTHING = Spec(("",), {}, False)
