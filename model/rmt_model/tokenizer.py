"""Bytes in, stable token ids out, whatever the cuts.

    bytes --StreamingTokenizer--> characters --TextTokenizer--> blocks --> token ids

A text that arrives in pieces is tokenised in blocks, and where a block ends depends on the text alone: once
more than `max_held_chars` characters are held, that many of them are cut at the last *boundary* among them,
a place that no token spans. So the ids are the same however the bytes were cut and, where the boundary is
proven (`TextTokenizer.exact`), the same as those of the whole text tokenised at once. A run of more than
`max_held_chars` characters without a boundary is cut at that length: its ids still depend on the text alone.
"""

import json
from codecs import utf_8_decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rmt_model.boundaries import Boundaries, Spec, forced_cut
from rmt_model.errors import RmtModelError

__all__ = ["Block", "InvalidUtf8Error", "StreamingTokenizer", "TextTokenizer", "TokenizerState"]


class InvalidUtf8Error(RmtModelError, ValueError):
    """The bytes are not UTF-8.

    Attributes:
        offset: Where the bad character begins, in bytes from the first one ever fed.
        reason: What is wrong with it.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"invalid UTF-8 at byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class Block(NamedTuple):
    """Text that is tokenised in one go; without a boundary before it, as if a document began there."""

    text: str
    after_boundary: bool = False


@dataclass(frozen=True, slots=True)
class TokenizerState:
    """All that a stream needs to go on elsewhere, with the same tokenizer and limit.

    Attributes:
        held: Text that has no token ids yet.
        after_boundary: Whether a boundary comes before it; else a document begins or a cut was forced.
        undecoded: Up to 3 bytes of an unfinished character behind the held text.
        bytes_fed: All bytes ever fed, of this document and of those before it.
    """

    held: str = ""
    after_boundary: bool = False
    undecoded: bytes = b""
    bytes_fed: int = 0


class TextTokenizer:
    """A tokenizer to which control tokens are text like any other, and that knows where text may be cut.

    Made once for a model and shared by its streams, on any thread. The tokenizer given is not changed.

    Args:
        tokenizer: The backend of a Hugging Face tokenizer.
        max_held_chars: Most characters that a stream holds back; at least 1.

    Attributes:
        max_held_chars: As given.
        exact: Whether blocks are proven to give the ids of the whole text, but for forced cuts.

    Raises:
        ValueError: The limit is below 1.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_held_chars: int = 4096) -> None:
        if max_held_chars < 1:
            raise ValueError(f"max_held_chars must be at least 1, not {max_held_chars}")
        spec: Spec = json.loads(tokenizer.to_str())
        spec |= {"truncation": None, "padding": None}
        if spec["model"].get("dropout"):
            spec["model"]["dropout"] = None  # random while training, not here
        self._backend = Tokenizer.from_str(json.dumps(spec))
        self._backend.encode_special_tokens = True
        boundaries = Boundaries.of(spec)
        self.exact = boundaries.proven
        self.max_held_chars = max_held_chars
        self._context = boundaries.context
        self._context_tokens = len(self.encode([Block(self._context)]))
        self._last_boundary = boundaries.last
        vocabulary = self._backend.get_vocab()
        self._lengths = np.zeros(1 + max(vocabulary.values(), default=0), np.int64)
        self._lengths[list(vocabulary.values())] = [len(token) for token in vocabulary]

    def encode(self, blocks: Sequence[Block]) -> list[int]:
        """The token ids of blocks that follow one another."""
        texts = [self._context + text if after_boundary else text for text, after_boundary in blocks]
        if len(texts) > 1:
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        else:  # a batch hands over to other threads: one block is read sooner on this one
            encodings = [self._backend.encode(text, add_special_tokens=False) for text in texts]
        ids: list[int] = []
        for block, encoding in zip(blocks, encodings, strict=True):
            ids += encoding.ids[self._context_tokens :] if block.after_boundary else encoding.ids
        return ids

    def ends(self, token_ids: Sequence[int], start: int, stop: int) -> NDArray[np.int64]:
        """The byte behind each of some tokens, which spell a text from byte `start` to byte `stop`.

        It is exact for tokenizers of bytes. For others the bytes are shared out by the characters of tokens.
        """
        lengths = np.cumsum(self._lengths[list(token_ids)])
        ends: NDArray[np.int64] = start + lengths * (stop - start) // max(1, lengths.max(initial=0))
        return ends

    def length(self, token_ids: Sequence[int]) -> int:
        """How many bytes some tokens spell; for tokenizers that are not of bytes, about so many."""
        return int(self._lengths[list(token_ids)].sum())

    def split(self, held: Block) -> tuple[list[Block], Block]:
        """Cuts held text into blocks that no further text changes, and at most `max_held_chars` more."""
        text, after_boundary = held
        blocks, start = [], 0
        while len(text) - start > self.max_held_chars:
            end = start + self.max_held_chars
            boundary = self._last_boundary.match(text, start, end + 1)
            cut = boundary.end() if boundary else forced_cut(text, start, end)
            blocks.append(Block(text[start:cut], after_boundary))
            start, after_boundary = cut, boundary is not None
        return blocks, Block(text[start:], after_boundary)


class StreamingTokenizer:
    """Turns the bytes of documents into token ids as they come; the ids depend on the bytes alone.

    The time is linear in the bytes. What is held back is bounded by the tokenizer's `max_held_chars`.

    Args:
        tokenizer: Shared by all streams of a model.
        state: Where another stream stopped; a fresh start unless given.
    """

    def __init__(self, tokenizer: TextTokenizer, state: TokenizerState = TokenizerState()) -> None:
        self._tokenizer = tokenizer
        self._max_held_chars = tokenizer.max_held_chars
        self._undecoded = state.undecoded
        self._bytes_fed = state.bytes_fed
        self._hold(Block(state.held, state.after_boundary))

    @property
    def state(self) -> TokenizerState:
        """All that is needed to go on in another process."""
        held = self._held_block()
        return TokenizerState(held.text, held.after_boundary, self._undecoded, self._bytes_fed)

    def feed(self, data: bytes) -> list[int]:
        """Takes further bytes and returns the token ids that are fixed now, whatever follows.

        Raises:
            InvalidUtf8Error: The bytes are no text; the state is what it was before.
        """
        plain = not self._undecoded and data.isascii()  # one byte at a time, this is the time it takes
        text = data.decode() if plain else self._decode(data)
        self._bytes_fed += len(data)
        if not text:
            return []
        self._held.append(text)
        self._held_chars += len(text)
        return self._release() if self._held_chars > self._max_held_chars else []

    def peek(self) -> list[int]:
        """The token ids of the held text if the document ended with it; changes nothing."""
        return self._tokenizer.encode([self._held_block()])

    def finish(self) -> list[int]:
        """Ends the document and returns its last token ids; the next bytes begin another one.

        Raises:
            InvalidUtf8Error: The document ends within a character; the state is what it was before.
        """
        if self._undecoded:
            raise InvalidUtf8Error(self._bytes_fed - len(self._undecoded), "unexpected end of data")
        ids = self.peek()
        self._hold(Block(""))
        return ids

    def _decode(self, data: bytes) -> str:
        raw = self._undecoded + data
        try:
            text, decoded_bytes = utf_8_decode(raw, "strict", False)
        except UnicodeDecodeError as error:
            offset = self._bytes_fed - len(self._undecoded) + error.start
            raise InvalidUtf8Error(offset, error.reason) from None
        self._undecoded = raw[decoded_bytes:]
        return text

    def _release(self) -> list[int]:
        blocks, rest = self._tokenizer.split(self._held_block())
        ids = self._tokenizer.encode(blocks)
        self._hold(rest)
        return ids

    def _hold(self, block: Block) -> None:
        self._held = [block.text]
        self._held_chars = len(block.text)
        self._after_boundary = block.after_boundary

    def _held_block(self) -> Block:
        return Block("".join(self._held), self._after_boundary)
