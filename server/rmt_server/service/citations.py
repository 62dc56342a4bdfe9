"""Citations: from an answer's places to the sentences that hold it, word for word, and where these stand."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rmt_model.pointers import Pointer
from rmt_server.store import DocumentPlace, SessionRecord, Store, document_at

__all__ = ["Citation", "Citer", "sentence_around", "trimmed"]

MOST_QUOTE_CHARS = 480
_CONTEXT_BYTES = 2048
_LEAST_BROKEN_CHARS = 45
"""A shorter line was not broken at a width: it ends a sentence, a heading or an entry of a list."""
_LINE_GOES_ON = re.compile(r"[ \t]*(?![^\s:]{1,40}:\s)(?:[^\W\d_]|[\"'“‘(])")
"""How the next line of a broken paragraph begins: with a word, and not with `Name:`."""
_STOP = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|[。！？][」』”’）]*|\n")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_EDGE = " \t\r\n,;:.!?…。、，；：\"'“”‘’()[]«»"
_PAIRS = {"(": ")", "[": "]", "“": "”", '"': '"', "«": "»"}


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence that an answer stands in.

    Attributes:
        document_id: Its document; None where the record of that is no longer kept.
        document: The document's name, where it has one.
        start: The sentence's first byte in the session's text.
        end: The byte behind it.
        start_char: Its first character in the document; None without one.
        end_char: The character behind it.
        answer_start: The answer's first byte in the session's text.
        answer_end: The byte behind it.
        quote: The sentence: exactly what the bytes hold.
        answer: The answer: likewise.
        score: How likely the model takes this place to be the answer's, in logits; higher is likelier.
        context: The text around it: 2 KiB before the answer and behind it at most, of the same document.
    """

    document_id: str | None
    document: str | None
    start: int
    end: int
    start_char: int | None
    end_char: int | None
    answer_start: int
    answer_end: int
    quote: str
    answer: str
    score: float
    context: str = field(repr=False)


class Citer:
    """Reads what pointers into one session's text point at. Texts that are not kept cannot be cited.

    One is made for each call, and reads where the documents lie once for all of its questions.
    """

    def __init__(self, store: Store, session: SessionRecord) -> None:
        self._store = store
        self._session = session
        self._documents: Sequence[DocumentPlace] = ()
        self._looking = asyncio.Lock()

    async def cite(self, pointers: Sequence[Pointer]) -> list[Citation]:
        """A citation for each pointer, in their order; each sentence once.

        Raises:
            TextNotKeptError: The text there was dropped.
        """
        session = self._session
        found: list[Citation] = []
        for pointer in pointers:
            document = await self._document_at(pointer.start, pointer.end + _CONTEXT_BYTES)
            low = max(document.start if document else 0, pointer.start - _CONTEXT_BYTES)
            high = min(document.end if document else session.accepted_bytes, pointer.end + _CONTEXT_BYTES)
            data = await self._store.read_text(session.tenant, session.id, low, high)
            skipped = _torn_bytes(data)
            text = data[skipped:].decode(errors="ignore")
            before = len(data[skipped : pointer.start - low].decode(errors="ignore"))
            size = len(data[pointer.start - low : pointer.end - low].decode(errors="ignore"))
            answer = trimmed(text, before, before + size)
            quote = sentence_around(text, *answer)
            if any(one.quote == text[slice(*quote)] for one in found):
                continue
            found.append(await self._citation(document, text, low + skipped, quote, answer, pointer.score))
        return found

    async def _citation(
        self,
        document: DocumentPlace | None,
        text: str,
        base: int,
        quote: tuple[int, int],
        answer: tuple[int, int],
        score: float,
    ) -> Citation:
        """A citation out of characters of a text that begins at byte `base` of the session's."""
        start, end, first, last = (base + len(text[:at].encode()) for at in (*quote, *answer))
        start_char = None
        if document is not None:
            start_char = await self._store.char_at(self._session.tenant, self._session.id, document, start)
        return Citation(
            document_id=None if document is None else document.id,
            document=None if document is None else document.name,
            start=start,
            end=end,
            start_char=start_char,
            end_char=None if start_char is None else start_char + quote[1] - quote[0],
            answer_start=first,
            answer_end=last,
            quote=text[slice(*quote)],
            answer=text[slice(*answer)],
            score=score,
            context=text,
        )

    async def _document_at(self, byte: int, stop: int) -> DocumentPlace | None:
        """The document in which a byte lies, as it is up to another byte; None where its record is no longer kept."""
        async with self._looking:
            last = self._documents[-1] if self._documents else None
            # The text may have grown meanwhile.
            if last is None or byte >= last.end or (stop > last.end and not last.complete):
                self._documents = await self._store.document_places(self._session.tenant, self._session.id)
        return document_at(self._documents, byte)

    async def beginning(self) -> str:
        """The first 4 KiB of the text."""
        session = self._session
        stop = min(session.accepted_bytes, 2 * _CONTEXT_BYTES)
        return (await self._store.read_text(session.tenant, session.id, 0, stop)).decode(errors="ignore")


def sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence around a stretch of a text, without white space at its ends; at most 480 characters more.

    A line ends a sentence unless it is one of a paragraph that was broken at a width.
    """
    first = max((found.end() for found in _STOP.finditer(text, 0, start) if _ends_sentence(text, found)), default=0)
    stops = (found.end() for found in _STOP.finditer(text, max(start, end - 1)) if _ends_sentence(text, found))
    last = max(end, next(stops, len(text)))
    if last - first > MOST_QUOTE_CHARS + end - start:
        margin = MOST_QUOTE_CHARS // 2
        first = _at_word(text, max(first, start - margin), start)
        last = max(end, text.rfind(" ", end, min(last, end + margin)))
    while first < start and text[first].isspace():
        first += 1
    while last > end and text[last - 1].isspace():
        last -= 1
    return first, last


def _ends_sentence(text: str, stop: re.Match[str]) -> bool:
    """Whether a stop is one: a line's end within a broken paragraph is none."""
    if stop[0] != "\n":
        return True
    at = stop.start()
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return len(line.strip()) < _LEAST_BROKEN_CHARS or _LINE_GOES_ON.match(text, at + 1) is None


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch up to the first blank line, without the punctuation and white space at its ends.

    A bracket that closes within it stays.
    """
    first = start + len(text[start:end]) - len(text[start:end].lstrip())
    blank = _BLANK_LINE.search(text, first, end)
    last = blank.start() if blank else end
    while first < last and text[first] in _EDGE and _PAIRS.get(text[first], "\0") not in text[first + 1 : last]:
        first += 1
    while last > first and text[last - 1] in _EDGE and not _closes(text[first:last]):
        last -= 1
    return (first, last) if last > first else (start, end)


def _closes(text: str) -> bool:
    """Whether the last character closes a bracket or quotation that begins within."""
    return any(text[-1] == closing and opening in text[:-1] for opening, closing in _PAIRS.items())


def _at_word(text: str, at: int, limit: int) -> int:
    """The beginning of the next word, unless one begins here; `limit` at most."""
    if at == 0 or text[at - 1].isspace():
        return at
    space = text.find(" ", at, limit)
    return limit if space < 0 else space + 1


def _torn_bytes(data: bytes) -> int:
    """How many of the first bytes go on with a character that began before."""
    return next((at for at, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
