"""Background text that facts are planted in: token streams with the gaps between their sentences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rmt_model.data.sentences import sentences_of

__all__ = ["Background", "read_texts", "split_by_author"]

_ENCODE_CHARS = 1 << 16
_MENTION_TRIES = 8


@dataclass(frozen=True)
class Background:
    """Token ids of many texts, one after another, and where a sentence ends in them."""

    ids: NDArray[np.int32]
    gaps: NDArray[np.bool_]
    """`gaps[i]` says that a sentence ends before token i."""

    @classmethod
    def of(cls, texts: Iterable[str], tokenizer: Tokenizer) -> "Background":
        """Tokenise `texts`."""
        ids: list[int] = []
        for text in texts:
            pieces = [text[at : at + _ENCODE_CHARS] for at in range(0, len(text), _ENCODE_CHARS)]
            for encoding in tokenizer.encode_batch_fast(pieces, add_special_tokens=False):
                ids.extend(encoding.ids)
        array = np.asarray(ids, dtype=np.int32)
        ends = np.zeros(tokenizer.get_vocab_size(), dtype=np.bool_)
        for token, number in tokenizer.get_vocab().items():
            ends[number] = token.rstrip("\u010a\u0120\"'").endswith((".", "!", "?")) or "\u010a" in token
        return cls(array, np.concatenate(([True], ends[array[:-1]])))

    @classmethod
    def of_sentences(cls, texts: Iterable[str], tokenizer: Tokenizer, *, least_tokens: int = 10) -> "Background":
        """Tokenise the sentences of `texts` one by one and leave out those that are too short, as BABILong does."""
        ids: list[int] = []
        starts: list[int] = []
        for text in texts:
            sentences = [f" {sentence}" for sentence in sentences_of(text)]
            for encoding in tokenizer.encode_batch_fast(sentences, add_special_tokens=False):
                if len(encoding.ids) >= least_tokens:
                    starts.append(len(ids))
                    ids.extend(encoding.ids)
        gaps = np.zeros(len(ids), dtype=np.bool_)
        gaps[starts] = True
        return cls(np.asarray(ids, dtype=np.int32), gaps)

    def window(self, rng: Random, length: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """`length` tokens in a row from a random place, with their gaps; wraps around at the end."""
        start = rng.randrange(len(self.ids))
        where = np.arange(start, start + length) % len(self.ids)
        return self.ids[where], self.gaps[where]

    def mention(self, rng: Random, word: Sequence[int], longest: int) -> list[int] | None:
        """A sentence of at most `longest` tokens that holds the tokens of `word`; None if none was soon found."""
        order, sorted_ids = self._by_token
        ranges = [[int(np.searchsorted(sorted_ids, token, side)) for side in ("left", "right")] for token in word]
        rarest = min(range(len(word)), key=lambda index: ranges[index][1] - ranges[index][0])
        first, last = ranges[rarest]
        for _ in range(_MENTION_TRIES if last > first else 0):
            at = int(order[rng.randrange(first, last)]) - rarest
            if at < 0 or self.ids[at : at + len(word)].tolist() != list(word):
                continue
            begins = np.flatnonzero(self.gaps[max(0, at - longest) : at + 1])
            ends = np.flatnonzero(self.gaps[at + len(word) : at + longest])
            if len(begins) and len(ends):
                start, stop = max(0, at - longest) + int(begins[-1]), at + len(word) + int(ends[0])
                if stop - start <= longest:
                    return [int(token) for token in self.ids[start:stop]]
        return None

    @cached_property
    def _by_token(self) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Where the tokens stand, in the order of their numbers, and the numbers in that order."""
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]


def read_texts(paths: Iterable[Path], limit_chars: int) -> list[str]:
    """The text files' contents, each cut to its share of `limit_chars`."""
    files = sorted(paths)
    share = limit_chars // max(1, len(files))
    return [path.read_text(encoding="utf-8", errors="replace")[:share] for path in files]


def split_by_author(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Books for training and held-out books, no author in both; file names begin with the author's two names."""
    train: list[Path] = []
    held_out: list[Path] = []
    for path in sorted(paths):
        author = "_".join(path.name.split("_")[:2])
        (held_out if sum(map(ord, author)) % 6 == 0 else train).append(path)
    return train, held_out
