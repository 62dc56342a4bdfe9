"""Text that is whole: Python, JSON and command lines can hold half a surrogate pair, UTF-8 and tokenizers cannot."""

import re

__all__ = ["whole_characters"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair."""
    return _SURROGATE.sub("\ufffd", text)
