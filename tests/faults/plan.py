"""What happens in one run, drawn from its seed: who sends what in which pieces, and what breaks meanwhile."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Fsync = Literal["always", "everysec"]

_WORDS = (  # noqa: SIM905 - line breaks are words here
    "Mary John Daniel went travelled to the bathroom office garden . , ; ? Straße données naïve мама кухня "
    "猫が 庭に いる 🐈 👩\u200d👩\u200d👧 ok \r\n \n\n x 12,50 don't"
).split(" ")
_QUESTIONS = ("Where is Mary?", "Where is the garden?", "Кто на кухне?", "Who went to the office?")


class Manner(StrEnum):
    """How a piece is sent."""

    PLAIN = "plain"
    TWICE = "request sent twice"
    AT_ONCE = "request sent twice at once"
    STALE = "stale request"
    CUT = "connection cut"
    STALLED = "connection stalled"
    UNHEARD = "answer lost"


_WHOLE = (Manner.PLAIN, Manner.TWICE, Manner.AT_ONCE, Manner.STALE)


class Blow(StrEnum):
    """What befalls a process."""

    KILL_SERVER = "server SIGKILL"
    PAUSE_SERVER = "server SIGSTOP"
    STOP_SERVER = "server SIGTERM"
    KILL_REDIS = "Redis SIGKILL"
    RESTART_REDIS = "Redis restarted"
    PAUSE_REDIS = "Redis SIGSTOP"
    FLUSH_SCRIPTS = "Redis SCRIPT FLUSH"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a document; `share` of them are sent where the connection breaks in the middle."""

    size_bytes: int
    manner: Manner
    share: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class Document:
    """A document, its pieces, and the text that its end becomes if it has to be sent anew (or the same one)."""

    text: bytes
    pieces: tuple[Piece, ...]
    ending: Literal["last piece", "empty piece", "cancelled"]
    other_end: bytes


@dataclass(frozen=True, slots=True)
class Fork:
    """A snapshot is taken, a fork made of it, and the rest goes into the fork."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A snapshot is taken, one more document read, and the snapshot put back."""

    forgotten: Document


Step = Document | Fork | Restore


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One sender's session; a steady sender breaks off no request."""

    seed: int
    focus: tuple[str, ...]
    keep_text: bool
    steady: bool
    steps: tuple[Step, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A blow, so long after the one before, and for so long."""

    blow: Blow
    after_s: float
    lasts_s: float
    share: float


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run; `faults` has a row for each server, and the last one for Redis."""

    seed: int
    fsync: Fsync
    servers: int
    sessions: tuple[SessionPlan, ...]
    faults: tuple[tuple[Fault, ...], ...]


def plan_run(seed: int, fsync: Fsync) -> RunPlan:
    """The run of a seed: always the same one."""
    source = random.Random(f"{seed} {fsync}")
    servers = source.choice((2, 2, 3))
    return RunPlan(
        seed,
        fsync,
        servers,
        tuple(_session(source, source.randrange(1 << 32), fsync) for _ in range(source.choice((1, 2, 2, 3)))),
        (*(_server_faults(source) for _ in range(servers)), _redis_faults(source, fsync)),
    )


def text_of(source: random.Random, size_bytes: int) -> bytes:
    """Text of many scripts, of about so many bytes."""
    words = " ".join(source.choices(_WORDS, k=size_bytes))
    return words.encode()[:size_bytes].decode(errors="ignore").encode()


def _session(source: random.Random, seed: int, fsync: Fsync) -> SessionPlan:
    steps: list[Step] = []
    steady = fsync == "everysec" and source.random() < 0.5
    for _ in range(source.choice((1, 1, 2, 3))):
        if steps and source.random() < 0.5:
            steps.append(Fork() if source.random() < 0.5 else Restore(_document(source, 3000, steady)))
        steps.append(_document(source, source.choice((2000, 8000, 8000, 16_000, 40_000)), steady))
    return SessionPlan(
        seed,
        tuple(source.sample(_QUESTIONS, source.choice((0, 0, 1, 2)))),
        source.random() < 0.5,
        steady,
        tuple(steps),
        tuple(source.sample(_QUESTIONS, 2)),
    )


def _document(source: random.Random, about_bytes: int, steady: bool) -> Document:
    text = text_of(source, source.randrange(about_bytes // 2, about_bytes * 5 // 4))
    ending = source.choice(("last piece", "last piece", "empty piece", "empty piece", "cancelled"))
    if ending == "cancelled":
        text = text[: source.randrange(1, len(text))]  # perhaps inside a character
    other_end = text_of(source, source.randrange(10, 2000)) if source.random() < 0.5 else b""
    return Document(text, tuple(_pieces(source, len(text), steady)), ending, other_end)


def _pieces(source: random.Random, size_bytes: int, steady: bool) -> Sequence[Piece]:
    inner = source.sample(range(1, size_bytes), min(size_bytes - 1, source.randrange(2, 14)))
    cuts = sorted({0, size_bytes, *inner, *(cut + 1 for cut in inner[:2] if cut + 1 < size_bytes)})
    weights = dict.fromkeys(_WHOLE if steady else Manner, 1) | {Manner.PLAIN: 8}
    return [
        Piece(stop - start, source.choices(list(weights), list(weights.values()))[0], source.random(), _pause_s(source))
        for start, stop in itertools.pairwise(cuts)
    ]


def _pause_s(source: random.Random) -> float:
    return source.choice((0.0, 0.0, source.uniform(0, 0.5)))


def _server_faults(source: random.Random) -> tuple[Fault, ...]:
    blows = (Blow.KILL_SERVER, Blow.KILL_SERVER, Blow.PAUSE_SERVER, Blow.STOP_SERVER)
    return _faults(source, blows, source.choice((0, 1, 1, 2, 3)), {Blow.PAUSE_SERVER: 2.2})


def _redis_faults(source: random.Random, fsync: Fsync) -> tuple[Fault, ...]:
    blows = [Blow.KILL_REDIS, Blow.RESTART_REDIS, Blow.PAUSE_REDIS, Blow.FLUSH_SCRIPTS]
    if fsync == "everysec":
        return _faults(source, (*blows, Blow.KILL_REDIS, Blow.KILL_REDIS), source.choice((1, 2, 2, 3)), {})
    return _faults(source, blows, source.choice((0, 1, 1, 2, 3)), {})


def _faults(
    source: random.Random, blows: Sequence[Blow], count: int, longest_s: dict[Blow, float]
) -> tuple[Fault, ...]:
    drawn = (source.choice(blows) for _ in range(count))
    return tuple(
        Fault(blow, source.uniform(0.1, 2.0), source.uniform(0, longest_s.get(blow, 0.5)), source.random())
        for blow in drawn
    )
