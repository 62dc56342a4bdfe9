"""Utf8Gate: lets UTF-8 through, whatever the cuts, and says where bytes stop being it."""

import codecs

__all__ = ["Utf8Gate", "whole_characters"]


class Utf8Gate:
    """Checks a stream of bytes piece by piece.

    A piece may end inside a character: its first bytes are the `tail`, which the next piece completes.
    """

    def __init__(self, tail: bytes = b"") -> None:
        self.tail = tail

    def admit(self, piece: bytes) -> int | None:
        """Let a piece in.

        Returns:
            None when all of it may stand; else the number of its bytes that may: the offset of the first byte that
            cannot belong to UTF-8 text, counted from the piece's start. Negative when that byte came in earlier
            pieces. The gate is then as it was before the piece.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        decoder.setstate((self.tail, 0))
        try:
            decoder.decode(piece)
        except UnicodeDecodeError as error:
            return error.start - len(self.tail)
        self.tail = decoder.getstate()[0]
        return None


def whole_characters(data: bytes) -> tuple[int, str]:
    """The text in a part of UTF-8 that may begin and end inside a character, and where in it the text begins."""
    first = next((at for at, byte in enumerate(data[:4]) if byte & 0b1100_0000 != 0b1000_0000), len(data))
    return first, codecs.getincrementaldecoder("utf-8")().decode(data[first:])
