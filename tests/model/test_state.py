"""The reader state's form in bytes: it comes back as it was, and whatever is damaged is refused at no cost."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import rmt_model.state
from rmt_model.errors import StateError
from rmt_model.state import ReaderState, StateOutline
from rmt_model.tokenizer import TokenizerState

M, D = 4, 32
HEADER = "rmt_reader_state"


def state_of(**changed: Any) -> ReaderState:
    memory = np.random.default_rng(0).normal(size=(2, M, D)).astype(np.float32)
    options: dict[str, Any] = {
        "focus": ("Where is Mary?", "wo? 🐘"),
        "memory": memory,
        "pending": (1, 2, 399),
        "tokenizer": TokenizerState("held é", True, "🐘".encode()[:3], 1234),
        "digest_chain": bytes(range(32)),
        "digest_rest": b"rest",
        "bytes_read": 1234,
        "tokens_read": 160,
        "segments_read": 10,
        "documents_read": 2,
    }
    return ReaderState("fingerprint", **(options | changed))


GOOD = state_of().to_bytes()


def fields(state: ReaderState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in ReaderState.__dataclass_fields__ if name != "memory"}


def parts(data: bytes = GOOD) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The safetensors header, the state's own header in it, and the tensors' bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    outer = json.loads(data[8 : 8 + length])
    return outer, json.loads(outer["__metadata__"][HEADER]), data[8 + length :]


def file_of(outer: object, tensors: bytes) -> bytes:
    header = outer if isinstance(outer, bytes) else json.dumps(outer).encode()
    return struct.pack("<Q", len(header)) + header + tensors


def with_header(**changed: Any) -> bytes:
    """The good file, with other values in the state's own header; `...` takes one out."""
    outer, own, tensors = parts()
    own = {name: value for name, value in (own | changed).items() if value is not ...}
    outer["__metadata__"][HEADER] = json.dumps(own)
    return file_of(outer, tensors)


def with_tensors(**changed: Any) -> bytes:
    """The good file's header with other tensors; `...` takes one out."""
    _, own, _ = parts()
    own = own | {"pending": 0, "held": 0, "undecoded": 0, "digest_rest": 0}
    tensors = {
        "memory": state_of().memory,
        "pending": np.zeros(256, np.int32),
        "text": np.zeros(4096, np.uint8),
        **changed,
    }
    return bytes(save({name: value for name, value in tensors.items() if value is not ...}, {HEADER: json.dumps(own)}))


def with_outer(**changed: Any) -> bytes:
    """The good file, whose tensors are described otherwise."""
    outer, _, tensors = parts()
    for name, description in changed.items():
        outer[name] = outer.get(name, {}) | description
    return file_of(outer, tensors)


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save({"memory": torch.zeros(2, 2)}, buffer)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("state", GOOD)
    return buffer.getvalue()


def non_finite(value: float) -> bytes:
    memory = state_of().memory.copy()
    memory[1, 2, 3] = value
    return with_tensors(memory=memory)


DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven bytes": lambda: b"1234567",
    "text": lambda: b"Mary went to the bathroom. " * 100,
    "a pickle": lambda: pickle.dumps({"memory": [1, 2, 3]} | {str(n): n for n in range(1000)}),
    "what torch.save writes": pickled,
    "a zip": zipped,
    "JSON": lambda: json.dumps(parts()[0]).encode(),
    "safetensors of something else": lambda: save({"memory": np.zeros(3, np.float32)}),
    "no tensors": lambda: file_of({"__metadata__": {HEADER: json.dumps(parts()[1])}}, b""),
    "longer than its tensors": lambda: GOOD + b"\0",
    "a huge declared header": lambda: struct.pack("<Q", (1 << 64) - 1) + GOOD[8:],
    "a header of 1 GiB": lambda: struct.pack("<Q", 1 << 30) + GOOD[8:],
    "an empty header": lambda: struct.pack("<Q", 0) + GOOD[8:],
    "header of deep JSON": lambda: file_of(b'{"__metadata__":' + b"[" * 500_000, b""),
    "own header of deep JSON": lambda: file_of({"__metadata__": {HEADER: "[" * 500_000}}, b""),
    "header in UTF-16": lambda: file_of(json.dumps(parts()[0]).encode("utf-16"), parts()[2]),
    "header that is a list": lambda: file_of([1, 2], b""),
    "header without metadata": lambda: file_of({}, b""),
    "metadata that is a number": lambda: file_of({"__metadata__": 7}, b""),
    "own header that is a number": lambda: file_of({"__metadata__": {HEADER: "7"}}, b""),
    "own header that is no text": lambda: file_of({"__metadata__": {HEADER: 7}}, b""),
    "own header that is a list": lambda: file_of({"__metadata__": {HEADER: "[]"}}, b""),
    "own header with a number of 5000 digits": lambda: file_of({"__metadata__": {HEADER: "9" * 5000}}, b""),
    "schema of tomorrow": lambda: with_header(schema=2),
    "no schema": lambda: with_header(schema=...),
    "no fingerprint": lambda: with_header(fingerprint=...),
    "no focus": lambda: with_header(focus=...),
    "focus that is a text": lambda: with_header(focus="ab"),
    "focus that is an object": lambda: with_header(focus={"a": 1, "b": 2}),
    "focus of numbers": lambda: with_header(focus=[1, 2]),
    "focus with half a character": lambda: with_header(focus=["Where?", "\ud800"]),
    "three focuses for two lanes": lambda: with_header(focus=["a", "b", "c"]),
    "no focus for two lanes": lambda: with_header(focus=[]),
    "counter that is negative": lambda: with_header(tokens_read=-1),
    "counter that is a fraction": lambda: with_header(bytes_read=1.5),
    "counter that is a truth": lambda: with_header(segments_read=True),
    "counter that is a text": lambda: with_header(documents_read="2"),
    "counter that is null": lambda: with_header(bytes_fed=None),
    "counter that Lua could not count on": lambda: with_header(bytes_read=1 << 53),
    "counter beyond all measure": lambda: with_header(bytes_read=1 << 200),
    "more pending than there is": lambda: with_header(pending=100_000),
    "more held than there is": lambda: with_header(held=1 << 40),
    "held that ends in a character": lambda: with_header(held=6),
    "more undecoded than there is": lambda: with_header(undecoded=8000),
    "undecoded that is a whole character": lambda: with_header(held=0, undecoded=2),
    "digest rest of a block": lambda: with_header(digest_rest=1024),
    "digest chain of 31 bytes": lambda: with_header(digest_chain="00" * 31),
    "digest chain that is no hexadecimal": lambda: with_header(digest_chain="zz" * 32),
    "digest chain that is a number": lambda: with_header(digest_chain=7),
    "NaN": lambda: non_finite(np.nan),
    "infinity": lambda: non_finite(-np.inf),
    "negative ids": lambda: with_tensors(pending=np.full(256, -1, np.int32)).replace(
        b'\\"pending\\": 0', b'\\"pending\\": 3'
    ),
    "memory of half precision": lambda: with_tensors(memory=state_of().memory.astype(np.float16)),
    "memory of two dimensions": lambda: with_tensors(memory=state_of().memory[0]),
    "memory without lanes": lambda: with_tensors(memory=np.zeros((0, M, D), np.float32)),
    "memory of a type that NumPy lacks": lambda: with_outer(memory={"dtype": "F8_E4M3", "shape": [2, M, D * 4]}),
    "memory of a type that nobody knows": lambda: with_outer(memory={"dtype": "X99"}),
    "memory that says to be larger": lambda: with_outer(memory={"shape": [2, M, D * 2]}),
    "memory of astronomic shape": lambda: with_outer(memory={"shape": [1 << 60, 1 << 60, 1 << 60]}),
    "memory of nothing but astronomic": lambda: with_outer(memory={"shape": [0, 1 << 62, 4], "data_offsets": [0, 0]}),
    "memory of negative shape": lambda: with_outer(memory={"shape": [-2, -M, D]}),
    "memory that lies elsewhere": lambda: with_outer(memory={"data_offsets": [1 << 40, (1 << 40) + 1024]}),
    "memory that is described by a list": lambda: file_of(parts()[0] | {"memory": [1]}, parts()[2]),
    "memory without a shape": lambda: file_of(parts()[0] | {"memory": {"dtype": "F32"}}, parts()[2]),
    "memory of a shape in truths": lambda: with_outer(memory={"shape": [2, M, True]}),
    "memory of a shape in fractions": lambda: with_outer(memory={"shape": [2.0, M, D]}),
    "tensors in front of a gap": lambda: with_outer(text={"data_offsets": [1 << 20, (1 << 20) + 8192]}),
    "memory that overlaps": lambda: with_outer(memory={"data_offsets": [8, 8 + 2 * M * D * 4]}),
    "pending of another type": lambda: with_tensors(pending=np.zeros(256, np.int64)),
    "pending of two dimensions": lambda: with_tensors(pending=np.zeros((16, 16), np.int32)),
    "text of another type": lambda: with_tensors(text=np.zeros(4096, np.int8)),
    "text of two dimensions": lambda: with_tensors(text=np.zeros((64, 64), np.uint8)),
    "no text": lambda: with_tensors(text=...),
    "no pending": lambda: with_tensors(pending=...),
    "no memory": lambda: with_tensors(memory=...),
    "one tensor more": lambda: with_tensors(more=np.zeros(1, np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_refused_without_large_allocations(damage: str) -> None:
    data = DAMAGED[damage]()
    tracemalloc.start()
    try:
        with pytest.raises(StateError):
            ReaderState.from_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


LYING = [name for name in DAMAGED if name.startswith(("memory of", "memory that", "pending of", "text of", "tensors"))]


@pytest.mark.parametrize("damage", [*LYING, "no text", "one tensor more", "longer than its tensors"])
def test_a_lie_about_sizes_is_refused_before_a_tensor_is_touched(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: bytes) -> None:
        raise AssertionError("tensors were read")

    monkeypatch.setattr(rmt_model.state, "load", load)
    with pytest.raises(StateError):
        ReaderState.from_bytes(DAMAGED[damage]())
    with pytest.raises(AssertionError, match="tensors were read"):
        ReaderState.from_bytes(GOOD)


def test_the_outline_of_a_large_state_is_read_without_its_tensors() -> None:
    data = state_of(memory=np.zeros((2, 1 << 10, 1 << 10), np.float32)).to_bytes()
    tracemalloc.start()
    try:
        outline = StateOutline.of(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()
    assert (outline.fingerprint, outline.memory_shape) == ("fingerprint", (2, 1 << 10, 1 << 10))


def test_the_helpers_make_good_files_where_nothing_is_changed() -> None:
    for data in (with_header(), with_tensors(), with_outer()):
        assert ReaderState.from_bytes(data).fingerprint == "fingerprint"


def test_a_truncated_file_is_refused_wherever_it_ends() -> None:
    (length,) = struct.unpack("<Q", GOOD[:8])
    places = {*range(40), *range(40, len(GOOD), 97), length + 7, length + 8, length + 9, len(GOOD) - 1}
    for place in places:
        with pytest.raises(StateError):
            ReaderState.from_bytes(GOOD[:place])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_harmless(place: int, value: int) -> None:
    data = bytearray(GOOD)
    data[place] = value
    try:
        state = ReaderState.from_bytes(bytes(data))
    except StateError:
        return
    assert np.isfinite(state.memory).all()
    assert ReaderState.from_bytes(state.to_bytes()).to_bytes() == state.to_bytes()


def test_a_state_comes_back_as_it_was() -> None:
    state = state_of()
    again = ReaderState.from_bytes(state.to_bytes())
    assert fields(again) == fields(state)
    np.testing.assert_array_equal(again.memory, state.memory)
    assert again.to_bytes() == GOOD
    assert again.digest == state.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"pending": (), "tokenizer": TokenizerState(), "digest_rest": b""},
        {"pending": tuple(range(399)) * 50},  # segments that wait to be read
        {"tokenizer": TokenizerState("🐘" * 1024, False, b"", 1 << 45), "digest_rest": b"\xff" * 1023},
        {"focus": ('"\\\n\0', "ﷺ")},
        {"bytes_read": (1 << 46) - 1, "tokens_read": (1 << 46) - 1},
    ],
    ids=["nothing held", "much pending", "much held", "odd focus", "much read"],
)
def test_extremes_come_back(changed: dict[str, Any]) -> None:
    state = state_of(**changed)
    assert fields(ReaderState.from_bytes(state.to_bytes())) == fields(state)


def test_a_single_lane_without_focus() -> None:
    state = state_of(focus=(), memory=np.ones((1, M, D), np.float32))
    assert (ReaderState.from_bytes(state.to_bytes()).lanes, state.focus) == (1, ())


def test_it_is_plain_safetensors_without_anything_else() -> None:
    assert set(parts()[0]) == {"__metadata__", "memory", "pending", "text"}
    assert set(parts()[0]["__metadata__"]) == {HEADER}
