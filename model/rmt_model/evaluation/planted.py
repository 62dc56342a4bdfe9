"""Planted facts: one that is asked for among others, with words and names that are never trained on."""

from collections.abc import Mapping, Sequence

from rmt_model.data.background import Background
from rmt_model.data.facts import draw_facts
from rmt_model.data.planted import story_of_facts
from rmt_model.evaluation.examples import Encode, Example, document_of, rng_of
from rmt_model.evaluation.lengths import Unit, length_label
from rmt_model.evaluation.scoring import is_right

__all__ = ["PlantedExamples"]


class PlantedExamples:
    """Documents of one length with `others` + 1 facts at random places; the question is about one of them.

    No two facts of a document are about the same thing or have the same answer. With `absent`, the one that is asked
    for is left out: the document does not say, so no answer is right and there are no scores. Raises DataError when it
    builds an example whose facts are longer than the document.
    """

    task = "planted"
    unit: Unit = "tokens"
    available: int | None = None

    def __init__(
        self,
        group: str,
        kinds: Sequence[str],
        length: int,
        background: Background,
        encode: Encode,
        *,
        others: int,
        seed: int,
        books: str = "",
        absent: bool = False,
    ) -> None:
        self.group = f"{group} absent" if absent else group
        self.length = length
        self.seed = seed
        self.settings: Mapping[str, str] = {"others": str(others), "kinds": ",".join(kinds), "books": books}
        if absent:
            self.settings = {**self.settings, "absent": "yes"}
        self._absent = absent
        self._kinds = tuple(kinds)
        self._others = others
        self._background = background
        self._encode = encode

    def example(self, number: int) -> Example:
        """The number-th example."""
        rng = rng_of(self.seed, self.task, self.group, self.length, number)
        asked, *others = draw_facts(rng, "validation", 1 + self._others, self._kinds)
        known = others if self._absent else [asked, *others]
        planted = rng.sample(known, len(known))
        what = f"a document of {length_label(self.length)} tokens with {len(planted)} facts"
        story = story_of_facts(planted, [] if self._absent else [asked])
        ids, spans = document_of(rng, story, self._background, self._encode, tokens=self.length, what=what)
        return Example(number, self.group, self.length, asked.question, (asked.answer,), ids, spans)

    def scores(self, example: Example, answer: str) -> dict[str, float]:
        """Accuracy: the answer is the expected one, but for case, an article and a final stop."""
        if self._absent:
            return {}
        return {"accuracy": float(is_right(answer, example.answers[0]))}
