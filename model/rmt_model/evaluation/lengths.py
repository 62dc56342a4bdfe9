"""Lengths as people write them: `0k`, `128k`, `1M`; k is 1000, as in BABILong."""

import re
from typing import Literal

from rmt_model.errors import DataError

__all__ = ["Unit", "length_label", "parse_length"]

Unit = Literal["tokens", "segments"]
_LENGTH = re.compile(r"(\d+)([kKmM]?)")
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000}


def parse_length(text: str) -> int:
    """Tokens of a length such as `4k`, `1M` or `5000`.

    Raises:
        DataError: It is not written like that.
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise DataError(f"'{text}' is no length: write tokens as 5000, 4k or 1M")
    return int(match[1]) * _FACTORS[match[2].lower()]


def length_label(length: int, unit: Unit = "tokens") -> str:
    """A length as it stands in tables: `4k`, `1M` or `4500` tokens; segments are plain numbers."""
    if unit == "tokens":
        if length and length % 1_000_000 == 0:
            return f"{length // 1_000_000}M"
        if length % 1_000 == 0:
            return f"{length // 1_000}k"
    return str(length)
