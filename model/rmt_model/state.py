"""ReaderState: everything that reading a document left behind, and its form in bytes.

The form is one safetensors file, never a pickle: what Redis holds, and what a snapshot is. Its size depends on the
lanes alone: header and remainder are padded to fixed sizes, with room for a segment of 1024 tokens, for the most text
that is held back, and for the largest counters. So a state after ten million tokens is as large as one after ten
thousand.
"""

import json
import math
import re
import reprlib
import struct
from codecs import utf_8_decode
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rmt_model.digest import DIGEST_BLOCK_BYTES, StreamDigest
from rmt_model.errors import StateError
from rmt_model.tokenizer import TokenizerState

__all__ = ["STATE_SCHEMA", "ReaderState", "StateOutline"]

STATE_SCHEMA = 1
_HEADER = "rmt_reader_state"
_HEADER_UNIT, _PENDING_UNIT, _TEXT_UNIT = 1024, 1024, 8192
_MAX_HEADER_BYTES = 1 << 20
_MOST = 1 << 46  # Lua's cjson writes 14 digits, and a session that begins here still has room to grow
_FINGERPRINT = re.compile(r"[\w.-]{1,200}", re.ASCII).fullmatch
_LENGTHS = ("pending", "held", "undecoded", "digest_rest")
_TENSORS = {"memory": ("F32", 4, 3), "pending": ("I32", 4, 1), "text": ("U8", 1, 1)}  # type, its bytes, dimensions
_COUNTERS = ("bytes_read", "tokens_read", "segments_read", "documents_read")


@dataclass(frozen=True)
class StateOutline:
    """What a state's file says of itself, checked against its size: all that is known before a tensor is copied.

    Attributes:
        fingerprint: The checkpoint whose memory it is.
        memory_shape: [lanes, M, d].
        header: The state's own header, whose other fields nobody has checked.
    """

    fingerprint: str
    memory_shape: tuple[int, int, int]
    header: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read the outline of a file; what that allocates depends on the size of its header alone.

        Raises:
            StateError: Not safetensors, truncated, of another schema, or not the tensors of a state.
        """
        outer, size_bytes = _outer_header(data)
        header = _own_header(outer)
        tensors = {name: one for name, one in outer.items() if name != "__metadata__"}
        try:
            _require_layout(tensors, size_bytes)
            lanes, slots, hidden = tensors["memory"]["shape"]
            return cls(str(header["fingerprint"]), (lanes, slots, hidden), header)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"the state's header does not describe a reader state: {error!r}") from error


@dataclass(frozen=True, eq=False)
class ReaderState:
    """A reader at rest.

    Attributes:
        fingerprint: The checkpoint whose memory this is.
        focus: One question for each lane; empty for the single lane of a session without focus.
        memory: float32 [lanes, M, d].
        pending: Tokens that do not fill a segment yet, or whose segments are still to be read.
        tokenizer: Text and bytes that have no tokens yet.
        digest_chain: See `StreamDigest`.
        digest_rest: See `StreamDigest`.
        bytes_read: Bytes taken from the stream.
        tokens_read: Tokens in the memory.
        segments_read: Segments in the memory.
        documents_read: Documents that have ended.
    """

    fingerprint: str
    focus: tuple[str, ...]
    memory: NDArray[np.float32]
    pending: tuple[int, ...] = ()
    tokenizer: TokenizerState = field(default_factory=TokenizerState)
    digest_chain: bytes = StreamDigest().chain
    digest_rest: bytes = b""
    bytes_read: int = 0
    tokens_read: int = 0
    segments_read: int = 0
    documents_read: int = 0

    @property
    def lanes(self) -> int:
        """Number of lanes."""
        return len(self.memory)

    @property
    def digest(self) -> str:
        """Hexadecimal digest of all bytes read."""
        return StreamDigest(self.digest_chain, self.digest_rest).hexdigest()

    def to_bytes(self) -> bytes:
        """One safetensors file; equal states give equal bytes."""
        held, undecoded = self.tokenizer.held.encode(), self.tokenizer.undecoded
        header = {
            "schema": STATE_SCHEMA,
            "fingerprint": self.fingerprint,
            "focus": self.focus,
            "pending": len(self.pending),
            "held": len(held),
            "undecoded": len(undecoded),
            "after_boundary": self.tokenizer.after_boundary,
            "bytes_fed": self.tokenizer.bytes_fed,
            "digest_chain": self.digest_chain.hex(),
            "digest_rest": len(self.digest_rest),
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        text = held + undecoded + self.digest_rest
        tensors = {
            "memory": np.ascontiguousarray(self.memory, dtype=np.float32),
            "pending": _padded(np.array(self.pending, dtype=np.int32), _PENDING_UNIT),
            "text": _padded(np.frombuffer(text, dtype=np.uint8), _TEXT_UNIT),
        }
        room = len(json.dumps(header | dict.fromkeys((*_LENGTHS, "bytes_fed", *_COUNTERS), _MOST)))
        encoded = json.dumps(header).ljust(-(-room // _HEADER_UNIT) * _HEADER_UNIT)
        content: bytes = save(tensors, {_HEADER: encoded})
        return content

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a state back.

        Raises:
            StateError: Not safetensors, truncated, of another schema, or its header contradicts its tensors.
        """
        header = StateOutline.of(data).header
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, TypeError, KeyError) as error:  # KeyError: a type unknown to NumPy
            raise StateError(f"the state is damaged: {_said(error)}") from error
        try:
            return cls._assemble(header, tensors)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"the state's header does not describe a reader state: {_said(error)}") from error

    @classmethod
    def _assemble(cls, header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        memory, pending, text = tensors["memory"], tensors["pending"], tensors["text"]
        _require(bool(np.isfinite(memory).all()), "memory holds values that are not finite")
        focus = _checked_focus(header["focus"], len(memory))
        counts = _checked_counts(header)
        _require(counts["pending"] <= len(pending), "it counts more pending tokens than it holds")
        ids = pending[: counts["pending"]]
        _require(bool((ids >= 0).all()), "pending holds negative token ids")
        held, undecoded, rest = _checked_text(text.tobytes(), counts)
        fingerprint = header["fingerprint"]
        _require(isinstance(fingerprint, str) and _FINGERPRINT(fingerprint) is not None, "fingerprint names nothing")
        chain = bytes.fromhex(header["digest_chain"])
        _require(len(chain) == len(StreamDigest().chain), "digest_chain must be 32 bytes")
        return cls(
            fingerprint=fingerprint,
            focus=focus,
            memory=memory,
            pending=tuple(ids.tolist()),
            tokenizer=TokenizerState(held, bool(header["after_boundary"]), undecoded, counts["bytes_fed"]),
            digest_chain=chain,
            digest_rest=rest,
            **{name: counts[name] for name in _COUNTERS},
        )


def _checked_focus(focus: object, lanes: int) -> tuple[str, ...]:
    _require(isinstance(focus, list) and all(isinstance(one, str) for one in focus), "focus must be a list of texts")
    assert isinstance(focus, list)  # noqa: S101
    _require(lanes == max(1, len(focus)), f"{lanes} lanes do not fit {len(focus)} focuses")
    "".join(focus).encode()  # JSON can write half a character, which no UTF-8 text holds: a ValueError
    return tuple(focus)


def _checked_counts(header: dict[str, Any]) -> dict[str, int]:
    counts = {name: header[name] for name in (*_LENGTHS, "bytes_fed", *_COUNTERS)}
    _require(all(type(n) is int and 0 <= n < _MOST for n in counts.values()), "a counter is not a count")
    return counts


def _checked_text(text: bytes, counts: dict[str, int]) -> tuple[str, bytes, bytes]:
    """Held text, the first bytes of a character behind it, and what the digest has not taken in yet."""
    held, undecoded, rest = counts["held"], counts["undecoded"], counts["digest_rest"]
    end = held + undecoded + rest
    _require(end <= len(text), "it counts more text than it holds")
    torn = text[held : held + undecoded]
    _require(utf_8_decode(torn, "strict", False) == ("", 0), "undecoded bytes must be the beginning of a character")
    _require(rest < DIGEST_BLOCK_BYTES, "digest_rest must be shorter than a block")
    return text[:held].decode(), torn, text[held + undecoded : end]


def _outer_header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and the bytes behind it that tensors may take.

    The file begins with the length of its JSON header, 8 bytes, little-endian.
    """
    if len(data) < 8:
        raise StateError("the state is truncated: a safetensors file has at least 8 bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise StateError("the state is not a safetensors file, or it is truncated")
    try:
        return dict(json.loads(data[8 : 8 + length].decode())), len(data) - 8 - length
    except (ValueError, TypeError, RecursionError) as error:
        raise StateError("the file is not a reader state: its header is no JSON object") from error


def _own_header(outer: dict[str, Any]) -> dict[str, Any]:
    try:
        header = json.loads(outer["__metadata__"][_HEADER])
        schema = header["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError("the file is not a reader state: its header says nothing about one") from error
    if schema != STATE_SCHEMA:
        raise StateError(f"the state has schema {reprlib.repr(schema)}; this program reads {STATE_SCHEMA}")
    return dict(header)


def _require_layout(tensors: dict[str, Any], size_bytes: int) -> None:
    """Refuse tensors of another type or shape than a state's, or that do not fill the file one after another."""
    _require(tensors.keys() == _TENSORS.keys(), "it lacks tensors, or has unknown ones")
    places = []
    for name, (dtype, width, dimensions) in _TENSORS.items():
        shape, place = tensors[name]["shape"], tensors[name]["data_offsets"]
        _require(tensors[name]["dtype"] == dtype and len(shape) == dimensions, f"{name} must be {dtype} [{dimensions}]")
        _require(all(type(n) is int and n >= 0 for n in (*shape, *place)), f"{name} has a size that is none")
        _require(len(place) == 2 and place[1] - place[0] == math.prod(shape) * width, f"{name} has another size")
        places.append((place[0], place[1]))
    ends = [0, *(end for _, end in sorted(places))]
    _require([start for start, _ in sorted(places)] == ends[:-1], "its tensors do not follow one another")
    _require(ends[-1] == size_bytes, "its tensors do not fill it")


def _padded(values: NDArray[Any], unit: int) -> NDArray[Any]:
    """`values` with zeros behind, up to the next multiple of `unit`, one at least."""
    padded = np.zeros(max(1, -(-len(values) // unit)) * unit, values.dtype)
    padded[: len(values)] = values
    return padded


def _said(error: Exception) -> str:
    """What an error says, which may repeat what the file says: no more of it than a line."""
    return f"{type(error).__name__}: {error}"[:200]


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise StateError(f"the state is damaged: {complaint}")
