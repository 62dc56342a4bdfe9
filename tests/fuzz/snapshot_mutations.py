"""Snapshots as readers leave them, and what can be done to one."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tests.model.tokenizer_families import TROUBLE

from rmt_model.state import ReaderState
from rmt_model.tokenizer import TokenizerState

HEADER = "rmt_reader_state"
M, D = 4, 32

_ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 255, 1023, 1024, 8191, 8192, 8193, (1 << 31) - 1, 1 << 31),
    *((1 << 45) - 1, 1 << 45, (1 << 46) - 1, 1 << 46, 1 << 53, 1 << 63, (1 << 64) - 1, 1 << 200),
    *(-0.0, 1.5, 1e308, float("nan"), float("inf"), "", "0", "00" * 32, "\ud800", "\0", "🐘", "a" * 2000, HEADER),
    *([], [[]], [1], ["Where?"], ["a", "b"], ["\udc00"], [""], ["x" * 500], {}, {"a": 1}, {"dtype": "F32"}),
)
_DTYPES = ("F32", "F64", "F16", "BF16", "I32", "U32", "I64", "U8", "I8", "BOOL", "F8_E4M3", "X9", "", "f32")
_FLOATS = (0.0, -0.0, 1.0, 1e-45, 3.4e38, -3.4e38, 1e30, 1e6, -1e6, float("nan"), float("inf"), -float("inf"))
_NO_FILE_ANY_MORE = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    *(SafetensorError, struct.error),
)


def any_state(rng: random.Random, fingerprint: str, vocabulary: int) -> ReaderState:
    """A state that some reader may have left."""
    focus = tuple(rng.sample(("Where is Mary?", "wo? 🐘", 'a"\\b', "Who?"), rng.choice((0, 0, 1, 1, 2, 4))))
    memory = np.frombuffer(rng.randbytes(max(1, len(focus)) * M * D), np.int8).reshape(-1, M, D).astype(np.float32)
    held = "".join(rng.choice(TROUBLE) for _ in range(rng.randrange(12)))
    return ReaderState(
        fingerprint,
        focus,
        memory / 32,
        tuple(rng.choices(range(vocabulary), k=rng.choice((0, 3, 31, 200)))),
        TokenizerState(held, rng.random() < 0.5, "🐘".encode()[: rng.randrange(4)], rng.randrange(1 << 40)),
        rng.randbytes(32),
        rng.randbytes(rng.choice((0, 4, 1023))),
        *(rng.randrange(1 << rng.randrange(1, 45)) for _ in range(4)),
    )


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The file with up to four changes."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        change = rng.choice(_CHANGES)
        try:
            data = change(rng, data)
        except _NO_FILE_ANY_MORE:
            data = _bytes_changed(rng, data)
    return data


# ---------------------------------------------------------------------------- bytes


def _bits_flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _bytes_changed(rng: random.Random, data: bytes) -> bytes:
    start, size = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 100, 4000))
    there = data[start : start + size]
    instead = rng.choice((b"", there * 2, rng.randbytes(len(there)), bytes(len(there)), b"\xff" * len(there)))
    return data[:start] + instead + data[start + size :]


def _truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), rng.randrange(16), len(data) - 1))]


def _longer(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice((b"\0", b" ", data, rng.randbytes(9), bytes(20_000)))


def _lying_length(rng: random.Random, data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    lies = (0, 1, length - 1, length + 1, length + 8, len(data) - 8, len(data), 1 << 20, 1 << 31, (1 << 64) - 1)
    return struct.pack("<Q", rng.choice(lies) % (1 << 64)) + data[8:]


def _place(rng: random.Random, data: bytes) -> int:
    """Anywhere, more often in the headers."""
    return rng.randrange(min(len(data), rng.choice((8, 1200, len(data)))))


# ---------------------------------------------------------------------------- headers


def _parts(data: bytes) -> tuple[Any, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _file(outer: object, tensors: bytes) -> bytes:
    header = outer if isinstance(outer, bytes) else json.dumps(outer).encode()
    return struct.pack("<Q", len(header)) + header + tensors


def _outer_changed(rng: random.Random, data: bytes) -> bytes:
    outer, tensors = _parts(data)
    return _file(_json_changed(rng, outer), tensors)


def _own_changed(rng: random.Random, data: bytes) -> bytes:
    outer, tensors = _parts(data)
    own = json.loads(outer["__metadata__"][HEADER])
    outer["__metadata__"][HEADER] = json.dumps(_json_changed(rng, own))
    return _file(outer, tensors)


def _json_changed(rng: random.Random, value: Any) -> Any:
    """One place in it is another value, gone, renamed, or nudged."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        name = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {key: one for key, one in value.items() if key != name}
            case 1:
                return {rng.choice(("x", "memory", name.upper())) if key == name else key: value[key] for key in value}
        return value | {name: _json_changed(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], _json_changed(rng, value[place]), *value[place + rng.choice((1, 1, 0)) :]]
    if type(value) is int and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 1000))
    return rng.choice(_ODD)


def _header_twice(rng: random.Random, data: bytes) -> bytes:
    """A name that is there twice, of which only one can hold."""
    outer, tensors = _parts(data)
    again = json.dumps({rng.choice(list(outer)): _json_changed(rng, rng.choice(list(outer.values())))})
    both = [json.dumps(outer).strip("{}"), again.strip("{}")]
    rng.shuffle(both)
    return _file(("{" + ",".join(both) + "}").encode("utf-8", "replace"), tensors)


def _deep(rng: random.Random, data: bytes) -> bytes:
    outer, tensors = _parts(data)
    depth = rng.choice((100, 2000, 100_000))
    nest = rng.choice(("[" * depth, "[" * depth + "]" * depth, '{"a":' * depth, "9" * depth))
    if rng.random() < 0.5:
        return _file(f'{{"__metadata__":{nest}'.encode(), tensors)
    return _file(outer | {"__metadata__": {HEADER: nest}}, tensors)


def _described_otherwise(rng: random.Random, data: bytes) -> bytes:
    """A tensor's type, shape or place is another one."""
    outer, tensors = _parts(data)
    name = rng.choice(("memory", "pending", "text"))
    shape = list(outer[name]["shape"])
    match rng.randrange(4):
        case 0:
            outer[name]["dtype"] = rng.choice(_DTYPES)
        case 1:
            outer[name]["shape"] = rng.choice((shape[::-1], [*shape, 1], shape[1:], [0], [], [1 << 62, 4], [-1, -4]))
        case 2:
            outer[name]["data_offsets"] = [rng.choice((0, 4, 1 << 40, -1, len(tensors))), rng.choice((0, 8, 1 << 63))]
        case 3:
            other = rng.choice(("memory", "pending", "text"))
            outer[name], outer[other] = outer[other], outer[name]
    return _file(outer, tensors)


# ---------------------------------------------------------------------------- tensors


def _tensors_changed(rng: random.Random, data: bytes) -> bytes:
    """A whole file of other tensors."""
    outer, _ = _parts(data)
    tensors: dict[str, Any] = dict(load(data))
    name = rng.choice((*tensors, "more"))
    there = tensors.get(name, np.zeros(3, np.float32))
    changed: Callable[[], Any] = rng.choice(
        (
            lambda: there.astype(rng.choice((np.float64, np.float16, np.int32, np.uint8, np.int64))),
            lambda: there.reshape(rng.choice(((-1,), (1, -1), (*there.shape, 1), there.shape[::-1]))),
            lambda: there[: len(there) // 2],
            lambda: there[:0],
            lambda: np.concatenate([there, there]),
        )
    )
    with np.errstate(all="ignore"):
        tensors[name] = np.ascontiguousarray(changed())
    if rng.randrange(8) == 0:
        del tensors[rng.choice(list(tensors))]
    return bytes(save(tensors, outer["__metadata__"]))


def _odd_memory(rng: random.Random, data: bytes) -> bytes:
    outer, _ = _parts(data)
    tensors = dict(load(data))
    memory = tensors["memory"].copy()
    memory.reshape(-1)[rng.randrange(memory.size) :: rng.choice((1, 7, 1000))] = rng.choice(_FLOATS)
    return bytes(save(tensors | {"memory": memory}, outer["__metadata__"]))


def _odd_pending(rng: random.Random, data: bytes) -> bytes:
    """Tokens that no vocabulary has, or very many."""
    outer, _ = _parts(data)
    own = json.loads(outer["__metadata__"][HEADER])
    count, top = rng.choice((1, 31, 1024, 20_000, 25_000)), rng.choice((255, 1 << 20, (1 << 31) - 1, -1))
    own["pending"] = count
    tensors = dict(load(data)) | {"pending": np.full(count + rng.randrange(3), top, np.int32)}
    return bytes(save(tensors, outer["__metadata__"] | {HEADER: json.dumps(own)}))


def _garbage(rng: random.Random, data: bytes) -> bytes:
    return rng.choice((b"", rng.randbytes(rng.randrange(200)), json.dumps(_parts(data)[0]).encode(), b"PK\3\4" + data))


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_bits_flipped, _bytes_changed, _truncated, _longer, _lying_length, _garbage),
    *(_outer_changed, _own_changed, _own_changed, _own_changed, _header_twice, _deep, _described_otherwise),
    *(_tensors_changed, _odd_memory, _odd_memory, _odd_pending),
)
