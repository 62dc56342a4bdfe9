"""TextSource: bytes in, segments of whole sentences out, each with the place of every token in the text.

An encoder points at the text, so its segments end where sentences end, and never reach across the end of a document.
What a segment is depends on the `VIEW_CHARS` characters from its beginning alone, or on the rest of the document where
that is shorter: however the bytes were cut, the segments are the same.
"""

import re
from codecs import utf_8_decode
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rmt_model.boundaries import forced_cut
from rmt_model.digest import StreamDigest
from rmt_model.state import ReaderState
from rmt_model.tokenizer import InvalidUtf8Error, TokenizerState

__all__ = ["VIEW_CHARS", "SegmentCutter", "TextSegment", "TextSource"]

VIEW_CHARS = 3072
"""How far a cut looks ahead: no segment has more characters."""
_SENTENCE_END = re.compile(r"[.!?。！？…\n][\"'”’)\]」』]*\s*\Z")
_LOOK_BACK = 8


@dataclass(frozen=True, slots=True, eq=False)
class TextSegment:
    """A segment of a text.

    Attributes:
        token_ids: Its tokens, [S].
        starts: First byte of each token, counted from the segment's first byte, [S].
        ends: The byte behind each, likewise.
        start: The segment's first byte in the text.
        chars: Its characters.
        size_bytes: Its bytes.
    """

    token_ids: Sequence[int]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    start: int
    chars: int
    size_bytes: int

    def __len__(self) -> int:
        """Its number of tokens."""
        return len(self.token_ids)

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + self.size_bytes


class SegmentCutter:
    """Cuts the beginning of a text off as a segment. Shared by all sources of a model, on any thread.

    Args:
        tokenizer: The encoder's.
        segment_tokens: Most tokens of a segment.
    """

    def __init__(self, tokenizer: Tokenizer, segment_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self.segment_tokens = segment_tokens

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; control tokens written in it are text like any other."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The words of some tokens, in lower case where the tokenizer writes so."""
        text: str = self._tokenizer.decode(list(token_ids))
        return text

    def first(self, text: str, start: int, *, whole: bool) -> TextSegment | None:
        """The first segment of a text, which begins at byte `start` of the session's.

        Args:
            text: The text from there on.
            start: The byte.
            whole: Whether the document ends with this text; else None where more of it is to be known first.
        """
        if not text or (len(text) < VIEW_CHARS and not whole):
            return None
        view = text[:VIEW_CHARS]
        encoding = self._tokenizer.encode(view, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        is_last = whole and len(text) < VIEW_CHARS and len(offsets) <= self.segment_tokens
        chars = len(view) if is_last else self._cut(view, offsets)
        kept = int(np.searchsorted(offsets[:, 0], chars))
        if kept and offsets[kept - 1, 1] > chars:  # the cut tears a token: what is left of it has tokens of its own
            return self.first(view[:chars], start, whole=True)
        return _segment(view[:chars], encoding.ids[: min(kept, self.segment_tokens)], offsets, start)

    def alone(self, text: str, start: int) -> TextSegment:
        """A text as one segment, as far as its tokens fit."""
        encoding = self._tokenizer.encode(text[: 2 * VIEW_CHARS], add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return _segment(text, encoding.ids[: self.segment_tokens], offsets, start)

    def _cut(self, view: str, offsets: NDArray[np.int64]) -> int:
        """How many characters of a view are its first segment: whole sentences, else words, that fit into it.

        Never all of them: of a document that goes on, some text is always held back.
        """
        if len(offsets) <= self.segment_tokens:
            limit = len(view)
            last = offsets[:, 0]
        else:
            limit = int(offsets[self.segment_tokens, 0])
            last = offsets[: self.segment_tokens + 1, 0]
        earliest = 2 * limit // 3
        words = [int(at) for at in last if earliest < at <= limit and (view[at - 1].isspace() or at == limit)]
        for at in reversed(words):
            if at <= limit and _SENTENCE_END.search(view, max(0, at - _LOOK_BACK), at):
                return at
        if len(offsets) > self.segment_tokens and limit > 0:
            spaced = [at for at in words if view[at - 1].isspace()]
            return spaced[-1] if spaced else limit
        end = len(view) - 1
        space = max(view.rfind(" ", earliest, end), view.rfind("\n", earliest, end)) + 1
        return space if space > 0 else forced_cut(view, 0, end)


class TextSource:
    """Turns a session's bytes into segments, and knows at each of them what is left over.

    Attributes:
        bytes_read: Bytes taken from the stream.
        segments_read: Segments that were taken.
        tokens_read: Tokens of these.
        documents_read: Documents that have ended.
        end_byte: The byte behind the text of the last segment that was taken.
    """

    def __init__(self, cutter: SegmentCutter, state: ReaderState) -> None:
        self._cutter = cutter
        self._state = state
        self._undecoded = state.tokenizer.undecoded
        self._text = state.tokenizer.held
        self._segments: deque[tuple[TextSegment, str]] = deque()
        self._digest = StreamDigest(state.digest_chain, state.digest_rest)
        self.bytes_read = state.bytes_read
        self.segments_read = state.segments_read
        self.tokens_read = state.tokens_read
        self.documents_read = state.documents_read
        self._start = state.bytes_read - len(self._undecoded) - len(self._text.encode())
        self.end_byte = max(0, self._start)
        for chars in state.pending:
            self._push(cutter.alone(self._text[:chars], self._start))

    @property
    def waiting(self) -> int:
        """Whole segments that `take` can hand out."""
        return len(self._segments)

    @property
    def within_document(self) -> bool:
        """Whether a document has begun that has not ended: then some of its text is always held back."""
        return bool(self._text or self._undecoded)

    def feed(self, data: bytes) -> None:
        """Take further bytes of the document.

        Raises:
            InvalidUtf8Error: They are not text; nothing has changed.
        """
        raw = self._undecoded + data
        try:
            text, decoded_bytes = utf_8_decode(raw, "strict", False)
        except UnicodeDecodeError as error:
            raise InvalidUtf8Error(self.bytes_read - len(self._undecoded) + error.start, error.reason) from None
        self._undecoded = raw[decoded_bytes:]
        self._text += text
        self._digest.update(data)
        self.bytes_read += len(data)
        self._cut(whole=False)

    def finish_document(self) -> None:
        """The document ends here, and with it its last segment.

        The door lets no complete document end inside a character; of one that was cancelled there the torn character
        counts as read, and is a space for each of its bytes, which keeps the places of all that is behind it.
        """
        self._text += " " * len(self._undecoded)
        self._undecoded = b""
        self._cut(whole=True)
        self.documents_read += 1

    def take(self) -> TextSegment:
        """The next whole segment; it counts as read from now on."""
        segment, _ = self._segments.popleft()
        self.segments_read += 1
        self.tokens_read += len(segment)
        self.end_byte = segment.end
        return segment

    def state(self, memory: NDArray[np.float32]) -> ReaderState:
        """The state after the last segment that was taken, with the lanes' memory [lanes, rows, d] as it was then.

        `pending` has the characters of each segment that waits: they are the beginning of the held text.
        """
        held = "".join(text for _, text in self._segments) + self._text
        return ReaderState(
            fingerprint=self._state.fingerprint,
            focus=self._state.focus,
            memory=memory,
            pending=tuple(segment.chars for segment, _ in self._segments),
            tokenizer=TokenizerState(held, False, self._undecoded, self.bytes_read),
            digest_chain=self._digest.chain,
            digest_rest=self._digest.rest,
            bytes_read=self.bytes_read,
            tokens_read=self.tokens_read,
            segments_read=self.segments_read,
            documents_read=self.documents_read,
        )

    def _cut(self, *, whole: bool) -> None:
        while (segment := self._cutter.first(self._text, self._start, whole=whole)) is not None:
            self._push(segment)

    def _push(self, segment: TextSegment) -> None:
        self._segments.append((segment, self._text[: segment.chars]))
        self._text = self._text[segment.chars :]
        self._start = segment.end


def _segment(text: str, token_ids: Sequence[int], offsets: NDArray[np.int64], start: int) -> TextSegment:
    """Characters of tokens into bytes of the text."""
    places = offsets[: len(token_ids)].clip(max=len(text))
    size_bytes = len(text)
    if not text.isascii():
        sizes = np.array([len(character.encode()) for character in text], dtype=np.int64)
        before = np.concatenate(([0], sizes.cumsum()))
        places, size_bytes = before[places], int(before[-1])
    starts, ends = places[:, 0].astype(np.int32), places[:, 1].astype(np.int32)
    return TextSegment(tuple(token_ids), starts, ends, start, len(text), size_bytes)
