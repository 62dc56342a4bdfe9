"""Books: the texts that documents are made of, those of held-out authors unless all are asked for."""

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rmt_model.data.background import Background, read_texts, split_by_author
from rmt_model.errors import DataError

__all__ = ["Books"]

_LEAST_CHARS = 8_000_000
_CHARS_PER_TOKEN = 6
"""More than any text has, so that enough is read."""
_LEAST_SENTENCE_TOKENS = 10


class Books:
    """A folder of text files `First_Last_Title.txt`, UTF-8.

    Attributes:
        paths: The books that are used, in order.

    Raises:
        DataError: The folder is missing or holds no books that may be used.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, all_books: bool = False) -> None:
        every = sorted(folder.glob("*.txt"))
        if not every:
            raise DataError(f"{folder} is no folder with books: text files *.txt are wanted")
        self.paths = every if all_books else split_by_author(every)[1]
        if not self.paths:
            raise DataError(f"{folder} holds no book of a held-out author: add books, or take --all-books")
        self._tokenizer = tokenizer
        self._sentences = lru_cache(maxsize=1)(self._sentences_of)
        self._tokens = lru_cache(maxsize=None)(self._tokens_of)

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits that name the books by content."""
        whole = hashlib.sha256()
        for path in self.paths:
            whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()[:8]

    def sentences(self, tokens: int) -> Background:
        """Sentences of 10 tokens or more, as in BABILong, enough for documents of `tokens` tokens.

        Which text it is depends on `tokens` alone: the same for all that need no more than some million.

        Raises:
            DataError: All books together are shorter.
        """
        background = self._sentences(max(_LEAST_CHARS, _CHARS_PER_TOKEN * tokens))
        if len(background.ids) < tokens:
            raise DataError(
                f"the books hold {len(background.ids)} tokens in sentences of {_LEAST_SENTENCE_TOKENS} tokens or more, "
                f"a document takes {tokens}: add books, or take --all-books"
            )
        return background

    def tokens(self, path: Path) -> NDArray[np.int32]:
        """Token ids of a whole book."""
        return self._tokens(path)

    def _sentences_of(self, chars: int) -> Background:
        texts = read_texts(self.paths, chars)
        return Background.of_sentences(texts, self._tokenizer, least_tokens=_LEAST_SENTENCE_TOKENS)

    def _tokens_of(self, path: Path) -> NDArray[np.int32]:
        return Background.of([path.read_text(encoding="utf-8", errors="replace")], self._tokenizer).ids
