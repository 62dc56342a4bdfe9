"""Cutting text into sentences, well enough to hide or to keep whole ones."""

import re

__all__ = ["sentences_of"]

_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)]*\s+(?=[\"'\u201c\u2018(]*[A-Z0-9])|\n{2,}")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text in order, without the white space between them; paragraphs end a sentence."""
    starts = [0, *(match.end() for match in _END.finditer(text))]
    pieces = (text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True))
    return [" ".join(piece.split()) for piece in pieces if piece]
