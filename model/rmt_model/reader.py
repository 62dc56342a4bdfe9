"""Reader: bytes in, whole segments out, and a state that can be put down between any two of them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rmt_model.digest import StreamDigest
from rmt_model.segmenter import Segmenter
from rmt_model.state import ReaderState
from rmt_model.tokenizer import Block, StreamingTokenizer, TextTokenizer, TokenizerState

__all__ = ["DOCUMENT_SEPARATOR", "MAX_HELD_CHARS", "Reader", "text_end"]

DOCUMENT_SEPARATOR = "\n\n"
"""Stands between two documents of one session, as tokens; it is not counted as bytes read."""

MAX_HELD_CHARS = 1024
"""Most characters that wait for the place where text can be cut; see `TextTokenizer`."""


class Reader:
    """Turns a session's bytes into segments, and knows at each of them what is left over.

    It does not read: `take` hands out a segment, and the engine puts it into the lanes' memory. Segments depend on the
    bytes alone, whatever the pieces they arrived in.

    Attributes:
        bytes_read: Bytes taken from the stream.
        segments_read: Segments that were taken.
        tokens_read: Tokens of these.
        documents_read: Documents that have ended.
        end_byte: The byte behind the text of the last segment that was taken; see `TextTokenizer.ends`. Of segments
            that a state brings along, it may be off by what stands between documents.
    """

    def __init__(
        self, tokenizer: TextTokenizer, segment_tokens: int, state: ReaderState, end_byte: int | None = None
    ) -> None:
        """Go on from a state, whose `end_byte` is as given; None works it out from the tokens that it brings along."""
        self._state = state
        self._tokenizer = tokenizer
        self._stream = StreamingTokenizer(tokenizer, state.tokenizer)
        self._segment_tokens = segment_tokens
        self._segmenter = Segmenter(segment_tokens)
        self._segments: deque[tuple[Sequence[int], int]] = deque()
        self._digest = StreamDigest(state.digest_chain, state.digest_rest)
        self.bytes_read = state.bytes_read
        self.segments_read = state.segments_read
        self.tokens_read = state.tokens_read
        self.documents_read = state.documents_read
        self._spelled_bytes = _tokens_end(tokenizer, state) if end_byte is None else end_byte
        self.end_byte = max(0, self._spelled_bytes)
        self._push(state.pending, self._fixed_bytes)

    @property
    def waiting(self) -> int:
        """Whole segments that `take` can hand out."""
        return len(self._segments)

    @property
    def within_document(self) -> bool:
        """Whether a document has begun that has not ended: then some of its text is always held back."""
        stream = self._stream.state
        return bool(stream.held or stream.undecoded)

    def feed(self, data: bytes) -> None:
        """Take further bytes of the document.

        Raises:
            InvalidUtf8Error: They are not text; nothing has changed.
        """
        separator = self._separator() if data else []
        token_ids = self._stream.feed(data)
        self._push(separator, self._spelled_bytes)
        self._digest.update(data)
        self.bytes_read += len(data)
        if token_ids:
            self._push(token_ids, self._fixed_bytes)

    def finish_document(self) -> None:
        """The document ends here; what is held back becomes tokens, and the next document begins apart from it.

        The door lets no complete document end inside a character; one that was cancelled there ends with U+FFFD.
        """
        torn = self._stream.state
        if torn.undecoded:
            whole = replace(torn, held=torn.held + "\ufffd", undecoded=b"")
            self._stream = StreamingTokenizer(self._tokenizer, whole)
        self._push(self._stream.finish(), self.bytes_read)
        self.documents_read += 1

    def take(self) -> Sequence[int]:
        """The next whole segment; it counts as read from now on."""
        segment, self.end_byte = self._segments.popleft()
        self.segments_read += 1
        self.tokens_read += len(segment)
        return segment

    def state(self, memory: NDArray[np.float32]) -> ReaderState:
        """The state after the last segment that was taken, with the lanes' memory [lanes, M, d] as it was then."""
        pending = [token_id for segment, _ in self._segments for token_id in segment]
        return ReaderState(
            fingerprint=self._state.fingerprint,
            focus=self._state.focus,
            memory=memory,
            pending=(*pending, *self._segmenter.pending),
            tokenizer=self._stream.state,
            digest_chain=self._digest.chain,
            digest_rest=self._digest.rest,
            bytes_read=self.bytes_read,
            tokens_read=self.tokens_read,
            segments_read=self.segments_read,
            documents_read=self.documents_read,
        )

    def _separator(self) -> list[int]:
        """Tokens between the last document and one that begins now; within a document there are none."""
        begins = self.documents_read > 0 and not self.within_document
        return self._tokenizer.encode([Block(DOCUMENT_SEPARATOR)]) if begins else []

    @property
    def _fixed_bytes(self) -> int:
        """The bytes that have become tokens: all but what is held back."""
        return self.bytes_read - _held_bytes(self._stream.state)

    def _push(self, token_ids: Sequence[int], stop: int) -> None:
        """Cut tokens into segments; they spell the text up to byte `stop`."""
        first = self._segment_tokens - len(self._segmenter.pending) - 1
        segments = self._segmenter.feed(token_ids)
        ends = self._tokenizer.ends(token_ids, self._spelled_bytes, stop)[first :: self._segment_tokens]
        self._segments.extend(zip(segments, ends.clip(min=0).tolist(), strict=True))
        self._spelled_bytes = stop


def text_end(tokenizer: TextTokenizer, state: ReaderState, document_ends: Sequence[int] = ()) -> int:
    """The byte of the text behind the last segment in the memory; see `TextTokenizer.length`.

    Args:
        tokenizer: Knows what tokens spell.
        state: The state.
        document_ends: Where documents end: what stands between two of them are tokens, but no bytes.
    """
    end = _tokens_end(tokenizer, state)
    for boundary in sorted({one for one in document_ends if one < state.bytes_read}, reverse=True):
        if boundary < end:
            break
        end = min(end + len(DOCUMENT_SEPARATOR), boundary)
    return max(0, end)


def _tokens_end(tokenizer: TextTokenizer, state: ReaderState) -> int:
    """The same, too low by what stands between documents, even below 0."""
    return state.bytes_read - _held_bytes(state.tokenizer) - tokenizer.length(state.pending)


def _held_bytes(stream: TokenizerState) -> int:
    """The bytes that have not become tokens yet."""
    return len(stream.held.encode()) + len(stream.undecoded)
