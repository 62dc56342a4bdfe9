"""The paper's three memory tasks (arXiv 2304.11062, section 5): documents of whole segments, then the question."""

from collections.abc import Mapping

from rmt_model.data.background import Background
from rmt_model.data.paper import PaperSource, PaperTask
from rmt_model.data.story import Wish
from rmt_model.evaluation.examples import Encode, Example, document_of, rng_of
from rmt_model.evaluation.lengths import Unit
from rmt_model.evaluation.scoring import is_right

__all__ = ["PaperExamples"]


class PaperExamples:
    """Examples of one task at one number of segments.

    `memorize`: a fact at the very start. `detect`: a fact anywhere. `reasoning`: two facts anywhere, one answers.
    Raises DataError when it builds an example whose facts are longer than the document.
    """

    task = "paper"
    unit: Unit = "segments"
    available: int | None = None

    def __init__(
        self,
        group: PaperTask,
        length: int,
        background: Background,
        encode: Encode,
        *,
        segment_tokens: int,
        seed: int,
        books: str = "",
    ) -> None:
        self.group: str = group
        self.length = length
        self.seed = seed
        self.settings: Mapping[str, str] = {"books": books}
        self.tokens = length * segment_tokens
        self._source = PaperSource((group,))
        self._background = background
        self._encode = encode

    def example(self, number: int) -> Example:
        """The number-th example."""
        rng = rng_of(self.seed, self.task, self.group, self.length, number)
        story = self._source.draw(rng, Wish("recall", self.tokens))
        what = f"{self.group} of {self.length} segments"
        ids, spans = document_of(rng, story, self._background, self._encode, tokens=self.tokens, what=what)
        asked = story.asked[0]
        return Example(number, self.group, self.length, asked.question, (asked.answer,), ids, spans)

    def scores(self, example: Example, answer: str) -> dict[str, float]:
        """Accuracy: the answer is the place, but for case, an article and a final stop."""
        return {"accuracy": float(is_right(answer, example.answers[0]))}
