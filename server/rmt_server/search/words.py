"""Words of texts and of queries, as the index knows them, in any script.

Words are folded: small letters, no accents, no points of Hebrew and Arabic. Vowel signs of Indic scripts stay.
Where words are written without spaces (Chinese, Japanese, Thai and others), every character and every pair of
neighbours is a word of the index; Korean is treated alike, for its endings are not parted from its words.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rmt_server.search.stop_words import STOP_WORDS

__all__ = ["MAX_QUERY_WORDS", "QueryWord", "query_words", "spaced_words", "words_of"]

MAX_QUERY_WORDS = 256
"""Different words of a query that are looked up; further ones are left out."""
NAME_WEIGHT = 1.5
"""Of numbers, and of words with a capital letter that does not begin the query: names."""

_UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_POINTS = (  # accents; points of Hebrew and Arabic; what joins or parts letters without being seen
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u00ad\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
)
_LAST_SCRIPT = 0x1E9FF


def _marks() -> str:
    """All combining marks, which Python's regular expressions take for no letters, as ranges of a character class."""
    marks = [code for code in range(0x300, _LAST_SCRIPT + 1) if unicodedata.category(chr(code))[0] == "M"]
    breaks = [index for index, (one, other) in enumerate(pairwise(marks), 1) if other != one + 1]
    edges = [0, *breaks, len(marks)]
    return "".join(f"\\U{marks[start]:08x}-\\U{marks[stop - 1]:08x}" for start, stop in pairwise(edges))


_POINT = re.compile(f"[{_POINTS}]")
_WORD = re.compile(rf"[\w{_marks()}]+")
_BEYOND_ASCII = re.compile("[^\x00-\x7f\u2010-\u2027\u00ab\u00bb]")  # but for quotation marks and the like
_ASCII_WORDS = bytes(code if bytes([code]).isalnum() else ord(" ") for code in bytes(range(256)).lower())
"""What becomes of each ASCII character: small letters and digits stay, all others are spaces."""
_UNSPACED_RUN = re.compile(f"([{_UNSPACED}]+)")


@dataclass(frozen=True, slots=True)
class QueryWord:
    """A word to look up, and how much it weighs."""

    text: str
    weight: float


def words_of(text: str) -> list[str]:
    """The words of a text, folded, in order."""
    return spaced_words(text).split()


def spaced_words(text: str) -> str:
    """The words of a text, folded, in order, with white space between."""
    folded = text if text.isascii() else _folded(text)
    if folded.isascii() or not _BEYOND_ASCII.search(folded):
        return folded.encode("ascii", "replace").translate(_ASCII_WORDS).decode("ascii")
    words: Iterable[str] = _WORD.findall(folded)
    if _UNSPACED_RUN.search(folded):
        words = (part for word in words for part in _parts(word, singly=True))
    return " ".join(words)


def query_words(query: str) -> list[QueryWord]:
    """The words of a query that are worth looking up, each once, in order: `MAX_QUERY_WORDS` at most.

    Question words and other stop words of the language that most of its words belong to are left out, unless there is
    nothing else.
    """
    found: dict[str, float] = {}
    shown = _WORD.findall(_unjoined(query))
    names = {word for word in shown[1:] if word[0].isupper()} if any(word[0].islower() for word in shown) else set()
    for word in shown:
        weight = NAME_WEIGHT if word in names or any(char.isdigit() for char in word) else 1.0
        for part in words_of(word) if not _UNSPACED_RUN.search(word) else _parts(_folded(word), singly=False):
            found[part] = max(weight, found.get(part, 0.0))
    stop_words = _stop_words(list(found))
    told = [QueryWord(text, weight) for text, weight in found.items() if text not in stop_words]
    return (told or [QueryWord(text, weight) for text, weight in found.items()])[:MAX_QUERY_WORDS]


def _stop_words(words: Sequence[str]) -> frozenset[str]:
    """The stop words of the language that most of the words belong to."""
    return max(STOP_WORDS.values(), key=lambda listed: sum(word in listed for word in words))


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", _unjoined(text).casefold())
    return unicodedata.normalize("NFC", _POINT.sub("", apart))


def _unjoined(text: str) -> str:
    return text.replace("_", " ")


def _parts(word: str, *, singly: bool) -> Iterator[str]:
    """A word, or where it has characters of scripts without spaces, those in pairs; one that stands alone is a part.

    Args:
        word: A folded word.
        singly: Whether each of the characters is a part, too.
    """
    for run in filter(None, _UNSPACED_RUN.split(word)):
        if not _UNSPACED_RUN.match(run):
            yield run
            continue
        if singly or len(run) == 1:
            yield from run
        yield from (one + other for one, other in pairwise(run))
