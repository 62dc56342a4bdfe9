"""The ways in which people type a question: hurried, polite, with a slip of the finger."""

import re
from random import Random

__all__ = ["vary"]

_LEADS = (
    "Tell me: ",
    "Please tell me: ",
    "Quick question: ",
    "According to the text, ",
    "From the document: ",
    "I'd like to know: ",
    "Hi, ",
    "hey, ",
    "In this text, ",
    "Question: ",
)
_WORD = re.compile(r"\b[a-z]{5,}\b")
_WH = re.compile(r"(What|Who|When|Where|Which|How|Why|By when|From whom|Whose)\b")


def vary(question: str, rng: Random) -> str:
    """Change how a question is typed, not what it asks; most stay as they are."""
    question = question[:1].upper() + question[1:] if rng.random() < 0.5 else question
    if _WH.match(question) and rng.random() < 0.07:
        question = rng.choice(_LEADS) + question[0].lower() + question[1:]
    if rng.random() < 0.12:
        question = question.rstrip("?.")
    if rng.random() < 0.08:
        question = question.lower()
    return _slip(question, rng) if rng.random() < 0.05 else question


def _slip(question: str, rng: Random) -> str:
    """Swap, drop or double a letter within one of the longer words."""
    words = list(_WORD.finditer(question))
    if not words:
        return question
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    one, two = question[at], question[at + 1]
    return question[:at] + rng.choice((two + one, one, one + one + two)) + question[at + 2 :]
