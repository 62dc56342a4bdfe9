"""Real documents with questions, in SQuAD's form or FairytaleQA's: alone, or as one block in a haystack of books."""

from collections.abc import Mapping, Sequence
from typing import Literal

from rmt_model.data.background import Background
from rmt_model.data.documents import Document
from rmt_model.data.story import Story
from rmt_model.errors import DataError
from rmt_model.evaluation.examples import NO_TEXT, Encode, Example, document_of, rng_of, short_digest
from rmt_model.evaluation.lengths import Unit, length_label
from rmt_model.evaluation.scoring import exact_match, token_f1

__all__ = ["Articles", "DocumentExamples", "chosen"]

Articles = Literal["all", "first-half", "second-half"]


def chosen(documents: Sequence[Document], articles: Articles) -> list[Document]:
    """All documents; or those at even places (`first-half`, which are trained on), or at odd ones (`second-half`).

    Raises:
        DataError: None of those has a question.
    """
    taken = documents[{"all": 0, "first-half": 0, "second-half": 1}[articles] :: 1 if articles == "all" else 2]
    asked = [document for document in taken if document.questions]
    if not asked:
        raise DataError(f"none of the {len(documents)} documents that --articles {articles} leaves has a question")
    return asked


class DocumentExamples:
    """Questions about documents; at length 0 a document is read alone and whole, else inside so many tokens.

    Raises:
        DataError: A document is longer than the haystack.
    """

    task = "qa"
    unit: Unit = "tokens"

    def __init__(
        self,
        group: str,
        documents: Sequence[Document],
        length: int,
        background: Background | None,
        encode: Encode,
        *,
        seed: int,
        settings: Mapping[str, str],
    ) -> None:
        self.group = group
        self.length = length
        self.seed = seed
        self.settings: Mapping[str, str] = {**settings, "documents": short_digest(repr(documents).encode())}
        self._background = background or NO_TEXT
        self._encode = encode
        self._sizes: dict[str, int] = {}
        asked = [(document, question) for document in documents for question in document.questions]
        self._asked = rng_of(seed, self.task, group).sample(asked, len(asked))
        self.available: int | None = len(asked)
        if length:
            self._require_fit(documents)

    def example(self, number: int) -> Example:
        """The number-th question in an order that the seed alone decides: the same ones at every length."""
        document, asked = self._asked[number]
        rng = rng_of(self.seed, self.task, self.group, self.length, number)
        tokens = self.length or self._tokens(document)
        background = self._background if self.length else NO_TEXT
        block = Story(document.sentences, (), scattered=False)  # no other text comes between the sentences
        ids, spans = document_of(rng, block, background, self._encode, tokens=tokens, what=document.name)
        return Example(number, self.group, self.length, asked.question, asked.answers, ids, spans)

    def scores(self, example: Example, answer: str) -> dict[str, float]:
        """SQuAD's F1 and exact match with the best of the answers."""
        return {
            "f1": token_f1(answer, example.answers),
            "exact_match": float(exact_match(answer, example.answers)),
        }

    def _tokens(self, document: Document) -> int:
        """Tokens of a whole document, encoded as it will be hidden."""
        if document.name not in self._sizes:
            pieces = (f"{' ' if number else ''}{one}" for number, one in enumerate(document.sentences))
            self._sizes[document.name] = sum(len(self._encode(piece)) for piece in pieces)
        return self._sizes[document.name]

    def _require_fit(self, documents: Sequence[Document]) -> None:
        longest = max(documents, key=self._tokens)
        if self._tokens(longest) > self.length:
            raise DataError(
                f"{longest.name} has {self._tokens(longest)} tokens and does not fit into a haystack of "
                f"{length_label(self.length)}: take a longer length, or 0 to read each document alone"
            )
