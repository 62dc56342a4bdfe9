"""The keyword arguments that several rooms pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict


class SessionOptions(TypedDict, total=False):
    """How a session starts; what is left out or None is for the server to choose.

    Attributes:
        focus: Questions known before reading; each gets a memory of its own that works for it.
        keep_text: Whether the server keeps the text for later rereading.
        ttl_s: Seconds the session lives after its last change; asking is none.
        metadata: Words of your own.
        from_snapshot: A snapshot to begin with instead of an empty memory.
        model: The checkpoint, where the server has several.
    """

    focus: Sequence[str] | None
    keep_text: bool | None
    ttl_s: int | None
    metadata: Mapping[str, str] | None
    from_snapshot: str | None
    model: str | None


class AskOptions(TypedDict, total=False):
    """How questions are answered; what is left out or None is for the server to choose.

    Attributes:
        mode: "recall" answers from the memory.
        lane: The focus whose memory answers, by its number.
        snapshot: A snapshot that answers instead of the live memory.
        wait: Whether to read all that was accepted first (the server's default), which may take minutes.
        max_tokens: The longest answer.
    """

    mode: str | None
    lane: int | None
    snapshot: str | None
    wait: bool | None
    max_tokens: int | None
