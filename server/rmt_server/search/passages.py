"""Cut text into passages: windows of 150 to 200 words that end where sentences end and share one sentence.

A text is cut into units first: sentences, lines, and pieces of what is too long for one. A passage is a run of units.
The cut depends on the text alone, not on the pieces in which it came: a unit counts as known once enough text follows
it, and a passage is final once the unit behind it is known. What is not final yet can be asked for with `unfinished`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

__all__ = ["MAX_PASSAGE_CHARS", "MAX_WORDS", "MIN_WORDS", "Passage", "PassageCutter", "cut_text"]

MIN_WORDS, MAX_WORDS = 150, 200
"""Words of a passage; where words are written without spaces, characters count."""
MAX_PASSAGE_CHARS = 1500
MAX_UNIT_CHARS, MAX_UNIT_WORDS = 600, 120
"""A longer sentence is cut into pieces. One unit and an overlap always fit into a passage together."""
PIECE_CHARS, PIECE_WORDS = 300, 60
MAX_OVERLAP_CHARS, MAX_OVERLAP_WORDS = 600, 60
"""A longer sentence is not repeated in the next passage."""
_LOOKAHEAD_CHARS = 256
"""No decision about the end of a unit looks further ahead: see the bounds in `_UNIT_END`."""
_MAX_HEADINGS, _MAX_HEADING_WORDS, _MAX_HEADING_CHARS = 3, 12, 100
_MIN_WORDS_BEFORE_HEADING = 100

_CHAR_WORDS = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_STOPS, _CLOSERS = ".!?…", "\"'”’»«)\\]"
_OWN_STOPS = "।॥؟۔။၊៕"
_WIDE_STOPS = "。！？｡"
_LINE_ENDS = "\n\r\u2028\u2029\f\v"
_UNIT_END = re.compile(  # it begins with one set of characters, for which alone Python's engine skips ahead
    rf"""
    [{_STOPS}{_OWN_STOPS}{_WIDE_STOPS}{_LINE_ENDS}]
    (?: (?<=[{_STOPS}]) (?P<stop> [{_STOPS}]{{0,3}} [{_CLOSERS}]{{0,4}} ) \s{{1,200}}    # a sentence in most scripts
      | (?<=[{_LINE_ENDS}]) (?P<line>) \s{{0,200}}
      | (?<=[{_WIDE_STOPS}]) [{_WIDE_STOPS}]{{0,3}} [」』”’）】》]{{0,4}} \s{{0,200}}       # where no space follows
      | (?<=[{_OWN_STOPS}]) [{_OWN_STOPS}]{{0,3}} [{_CLOSERS}]{{0,4}} \s{{0,200}}
    )""",
    re.VERBOSE,
)
_LINE_END = re.compile(f"[{_LINE_ENDS}]")
_BLANK_LINE = re.compile(r"(?:\n|\r\n?|\u2028)[ \t]*[\n\r\u2028]|[\f\u2029]")
_WORD = re.compile(rf"[{_CHAR_WORDS}]|[^\s{_CHAR_WORDS}]+")
_ABBREVIATIONS_TEXT = """
Mr Mrs Ms Dr Prof St Sr Jr Gen Col Capt Lt Sgt Rev Hon Mt vs etc No Nos Vol Fig Figs Eq Sec Ch pp cf al approx
Inc Ltd Co Corp Nr Str bzw ca usw Mme Mlle e.g i.e z.B d.h u.a
"""
_ABBREVIATIONS = frozenset(_ABBREVIATIONS_TEXT.split())
_INITIALS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
_ABBREVIATION_CHARS = 16


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text: bytes `start` to `end` of the session's text, characters of its document, the text itself."""

    start: int
    end: int
    start_char: int
    end_char: int
    text: str = field(repr=False)


class _Unit(NamedTuple):
    """A sentence, a line or a piece of one, with the white space behind it; offsets are characters of what is cut."""

    start: int
    stop: int
    words: int
    is_stopped: bool
    ends_line: bool
    ends_paragraph: bool

    @property
    def ends_sentence(self) -> bool:
        return self.is_stopped or self.ends_paragraph


class PassageCutter:
    """Cuts a session's text, document after document, as it comes.

    Args:
        start: The byte of the session's text with which the first document begins.
    """

    def __init__(self, start: int = 0) -> None:
        self._held = ""
        self._start_byte = start
        self._start_char = 0

    @property
    def end(self) -> int:
        """The byte behind all text that was fed."""
        return self._start_byte + _size(self._held)

    def feed(self, text: str) -> list[Passage]:
        """Take more text of the document; the passages that are final now."""
        self._held += text
        passages, first_held = _passages(self._held, at_end=False)
        placed = self._placed(passages)
        self._drop(first_held)
        return placed

    def unfinished(self) -> list[Passage]:
        """The passages that the rest of the text has if the document ends here."""
        return self._placed(_passages(self._held, at_end=True)[0])

    def finish_document(self) -> list[Passage]:
        """End the document; its last passages. What is fed next belongs to another one."""
        last = self.unfinished()
        self._drop(len(self._held))
        self._start_char = 0
        return last

    def skip(self, size: int) -> None:
        """Pass over bytes between two documents that are no text."""
        self._start_byte += size

    def _drop(self, chars: int) -> None:
        self._start_byte += _size(self._held[:chars])
        self._start_char += chars
        self._held = self._held[chars:]

    def _placed(self, ranges: Sequence[tuple[int, int]]) -> list[Passage]:
        """Passages of character ranges of the held text, without the white space around them."""
        placed = []
        at_char, at_byte = 0, self._start_byte
        for start, stop in ranges:
            at_byte += _size(self._held[at_char:start]) if start >= at_char else -_size(self._held[start:at_char])
            at_char = start
            text = self._held[start:stop]
            inner = text.strip()
            if not inner:
                continue
            before = len(text) - len(text.lstrip())
            first_char, first_byte = self._start_char + start + before, at_byte + _size(text[:before])
            end = first_byte + _size(inner)
            placed.append(Passage(first_byte, end, first_char, first_char + len(inner), inner))
        return placed


def cut_text(text: str) -> list[Passage]:
    """The passages of one whole document."""
    cutter = PassageCutter()
    return cutter.feed(text) + cutter.finish_document()


def _passages(text: str, *, at_end: bool) -> tuple[list[tuple[int, int]], int]:
    """Character ranges of the passages of a text that begins with one, and where the first begins that is not final."""
    units = list(_units(text, at_end=at_end))
    if not units:
        return [], 0
    words = [0, *accumulate(unit.words for unit in units)]
    ranges, first = [], 0
    while (stop := _reach(units, words, first)) < len(units) or at_end:
        if stop < len(units):
            stop, following = _end(units, words, first, stop)
        else:
            following = stop
        ranges.append((units[first].start, units[stop - 1].stop))
        first = following
        if first == len(units):
            return ranges, len(text)
    return ranges, units[first].start


def _reach(units: Sequence[_Unit], words: Sequence[int], first: int) -> int:
    """The unit behind the last one that fits into a passage which begins with `first`."""
    stop = first + 1
    while (
        stop < len(units)
        and words[stop + 1] - words[first] <= MAX_WORDS
        and units[stop].stop - units[first].start <= MAX_PASSAGE_CHARS
    ):
        stop += 1
    return stop


def _end(units: Sequence[_Unit], words: Sequence[int], first: int, reach: int) -> tuple[int, int]:
    """Where a passage that may reach so far ends, and where the next one begins."""
    stop = reach
    while words[stop] - words[first] >= MIN_WORDS and stop > first + 1:
        if units[stop - 1].ends_sentence:
            break
        stop -= 1
    else:
        stop = reach
    body = _before_headings(units, words, first, stop)
    if body < stop:
        return body, body
    return stop, _overlap(units, words, first, stop)


def _before_headings(units: Sequence[_Unit], words: Sequence[int], first: int, stop: int) -> int:
    """The same end, or the one before the headings that it would part from their text."""
    body = stop
    while stop - body < _MAX_HEADINGS and body - 1 > first and _is_heading(units[body - 2], units[body - 1]):
        body -= 1
    return body if words[body] - words[first] >= _MIN_WORDS_BEFORE_HEADING else stop


def _is_heading(before: _Unit, unit: _Unit) -> bool:
    """Whether a unit is a short line without a full stop that begins after the end of a sentence."""
    alone = before.ends_line and before.ends_sentence and unit.ends_line and not unit.is_stopped
    return alone and 0 < unit.words <= _MAX_HEADING_WORDS and unit.stop - unit.start <= _MAX_HEADING_CHARS


def _overlap(units: Sequence[_Unit], words: Sequence[int], first: int, stop: int) -> int:
    """The unit with which the passage behind `stop` begins: one sentence before, where that is short enough."""

    def fits(begin: int) -> bool:
        chars = units[stop - 1].stop - units[begin].start
        return begin > first and words[stop] - words[begin] <= MAX_OVERLAP_WORDS and chars <= MAX_OVERLAP_CHARS

    begin = stop - 1
    while fits(begin):
        if units[begin - 1].ends_sentence:
            return begin
        begin -= 1
    return stop - 1 if fits(stop - 1) else stop


def _units(text: str, *, at_end: bool) -> Iterator[_Unit]:
    """The units of a text that begins with one; without the last ones while text behind them could change them."""
    start = 0
    while start < len(text) and (at_end or start + MAX_UNIT_CHARS + _LOOKAHEAD_CHARS <= len(text)):
        unit = _unit(text, start)
        yield unit
        start = unit.stop


def _unit(text: str, start: int) -> _Unit:
    """The unit that begins at a character. It depends on no more than `MAX_UNIT_CHARS` and the lookahead."""
    found = _next_end(text, start, min(len(text), start + MAX_UNIT_CHARS + _LOOKAHEAD_CHARS))
    if found is None:
        if len(text) - start > MAX_UNIT_CHARS:
            return _piece(text, start)
        stop, space, is_stopped = len(text), "", False
    elif found.start() - start > MAX_UNIT_CHARS:
        return _piece(text, start)
    else:
        stop, is_stopped = found.end(), found["line"] is None
        space = text[found.end("stop") if found["stop"] is not None else found.start() : stop]
    words = _count_words(text[start:stop])
    if words > MAX_UNIT_WORDS:
        return _piece(text, start)
    if space in (" ", ""):
        return _Unit(start, stop, words, is_stopped, False, False)
    ends_line = _LINE_END.search(space) is not None
    return _Unit(start, stop, words, is_stopped, ends_line, ends_line and _BLANK_LINE.search(space) is not None)


def _next_end(text: str, start: int, limit: int) -> "re.Match[str] | None":
    """The end of the unit that begins at `start`, if it ends before `limit`."""
    after = start
    while (found := _UNIT_END.search(text, after, limit)) is not None:
        if found["stop"] is None or _stops(text, start, found):
            return found
        after = found.end("stop")
    return None


def _stops(text: str, start: int, found: "re.Match[str]") -> bool:
    """Whether a full stop ends its sentence: it belongs to no abbreviation, and no small letter follows."""
    if text[found.end() : found.end() + 1].islower():
        return False
    if text[found.start()] != ".":
        return True
    words = text[max(start, found.start() - _ABBREVIATION_CHARS) : found.start()].split()
    last = words[-1].lstrip("([\"'“‘") if words else ""
    return not (last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha()) or _INITIALS.fullmatch(last))


def _piece(text: str, start: int) -> _Unit:
    """The first part of a unit that is too long, up to white space if there is some in its second half."""
    stop = start + PIECE_CHARS
    for number, word in enumerate(_WORD.finditer(text, start, stop)):
        if number == PIECE_WORDS:
            stop = word.start()
            break
    for at in range(stop - 1, (start + stop) // 2, -1):
        if text[at].isspace():
            stop = at + 1
            break
    return _Unit(start, stop, _count_words(text[start:stop]), False, False, False)


def _count_words(text: str) -> int:
    """Words of a text; where they are written without spaces, its characters."""
    return len(text.split()) if text.isascii() else sum(1 for _ in _WORD.finditer(text))


def _size(text: str) -> int:
    """Bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
