"""Scoring: which answers are right, and what can be said of a share or a mean from so many samples."""

import re
import string
from collections import Counter
from collections.abc import Iterable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from rmt_model.answering import bare

__all__ = [
    "babilong_labels",
    "bootstrap_means",
    "exact_match",
    "interval_of",
    "is_babilong_right",
    "is_right",
    "token_f1",
    "wilson",
]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ROUNDS = 2000
_SEED = 2304


def babilong_labels(answers: Iterable[str]) -> frozenset[str]:
    """The labels of a bAbI task, lower-cased: all answers in its file, lists taken apart."""
    return frozenset(part for answer in answers for part in _parts(answer))


def is_babilong_right(answer: str, target: str, question: str, labels: Iterable[str]) -> bool:
    """BABILong's rule (arXiv 2406.10149): the first line names the target and no other label of the task.

    Case does not matter. Labels that the question mentions are not counted against an answer. Of a list (`apple,milk`)
    all parts are wanted, in any order. A label is a whole word here: in BABILong's code any letters in a row will do,
    and `none` would name `one`.

    Args:
        answer: What was answered.
        target: The right answer.
        question: The question.
        labels: The task's labels, as `babilong_labels` gives them.
    """
    wanted = set(_parts(target))
    line = next(iter(answer.strip().splitlines()), "").lower()
    named = {label for label in labels if _names(line, label)}
    asked = {label for label in labels if _names(question.lower(), label)}
    return named - (asked - wanted) == wanted


def exact_match(answer: str, answers: Iterable[str]) -> bool:
    """SQuAD's exact match: equal to one of `answers` but for case, punctuation, articles and white space."""
    return any(_normalised(answer) == _normalised(one) for one in answers)


def token_f1(answer: str, answers: Iterable[str]) -> float:
    """SQuAD's F1: overlap of words with the best of `answers`, from 0 to 1."""
    return max((_f1(_normalised(answer).split(), _normalised(one).split()) for one in answers), default=0.0)


def is_right(answer: str, expected: str) -> bool:
    """Whether an answer is the expected one, but for case, a leading article and a final stop."""
    return bare(answer) == bare(expected)


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share; 0 to 1 where there are no samples."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.96, right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def bootstrap_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of `values` [n, ...] over n rows drawn with replacement, many times: [rounds, ...]; always the same draws.

    Of few samples the spread comes out too small, and of equal ones it is zero.
    """
    rng = np.random.default_rng(_SEED)
    return np.stack([values[rng.integers(len(values), size=len(values))].mean(0) for _ in range(_ROUNDS)])


def interval_of(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws [rounds]."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _parts(target: str) -> list[str]:
    """The labels of an answer; short ones like `n,w` (a path) are one label, as in BABILong's code."""
    return target.lower().split(",") if len(target) > len("n,w") else [target.lower()]


def _names(text: str, label: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) is not None


def _normalised(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))
