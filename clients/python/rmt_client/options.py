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
        auto_snapshots: Of how many of the last documents a snapshot of the end is kept.
        from_snapshot: A snapshot to begin with instead of an empty memory.
        model: The checkpoint, where the server has several.
    """

    focus: Sequence[str] | None
    keep_text: bool | None
    ttl_s: int | None
    metadata: Mapping[str, str] | None
    auto_snapshots: int | None
    from_snapshot: str | None
    model: str | None


class AskOptions(TypedDict, total=False):
    """How questions are answered; what is left out or None is for the server to choose.

    Attributes:
        mode: "search" looks up places of the kept text and reads these; "recall" answers from the memory at once;
            "reread" reads the kept text once more for each question, in time linear in its length; "auto", the default
            of a checkpoint that points at places, takes a focus that was given before, else searches. Of a checkpoint
            that writes its answers "recall" is the default, there is no "search", and "auto" recalls, and rereads what
            was not recalled surely.
        documents: Ids of documents: a search looks up these only.
        lane: The focus whose memory answers, by its number.
        snapshot: A snapshot that answers instead of the live memory.
        wait: Whether to read all that was accepted first (the server's default), which may take minutes.
        max_tokens: The longest answer. This and what follows, but for `trace`, is heeded by checkpoints that write.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        top_p: Draw only from the likeliest tokens that have this probability together.
        seed: The same one draws the same answer.
        stop: Texts that end an answer.
        trace: Whether to find the segment of the text that each answer came from.
    """

    mode: str | None
    documents: Sequence[str] | None
    lane: int | None
    snapshot: str | None
    wait: bool | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    trace: bool | None
