"""Calibration: from the probability of an answer's tokens to how likely it is that the answer is right.

A checkpoint that was asked questions whose answers are known, and questions that its documents do not answer, has a
`calibration.json`. It changes no memory and no token, so it is not part of the fingerprint.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from rmt_model.errors import CheckpointError

__all__ = ["CALIBRATION_FILE", "Calibration", "Curve", "Way"]

CALIBRATION_FILE = "calibration.json"
Way = Literal["focus", "recall", "search"]
"""How a question met the text: a lane worked for it while it read, it came afterwards, or places were looked up."""
_SMALLEST = 1e-9


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)


@dataclass(frozen=True, slots=True)
class Curve:
    """Confidence out of a probability: `sigmoid(slope * logit(probability) + intercept)` (Platt, 1999).

    Attributes:
        slope: Above 0, so that what is likelier is never less trusted.
        intercept: The logit of the confidence at a probability of one half.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        for number in (self.slope, self.intercept):
            _require(_is_number(number), "a curve has a slope and an intercept, both numbers")
        _require(self.slope > 0, "a slope must be above 0")

    def confidence(self, probability: float) -> float:
        """How likely it is that an answer of that probability is right, 0 to 1."""
        clipped = min(max(probability, _SMALLEST), 1 - _SMALLEST)
        logit = self.slope * math.log(clipped / (1 - clipped)) + self.intercept
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, logit))))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a checkpoint's probabilities mean.

    Attributes:
        focus: The curve for answers of a lane that worked for the question.
        recall: The curve for answers to questions that came afterwards.
        least: Below this confidence an answer counts as not in the document; 0 where nothing was measured.
        trusted: From this confidence on `auto` believes what was recalled.
        provenance: How it was measured.
        search: The curve for answers from places that were looked up.
        as_likely: Of the places that a focus found, those that are behind the best by no more than this, in logits,
            count as equally likely: the last one of them in the text answers, so that what is told later holds.
        rank_weight: How much less such a place counts, in logits, for each time that its rank is e times as large.
    """

    focus: Curve = Curve()
    recall: Curve = Curve()
    least: float = 0.0
    trusted: float = 0.9
    provenance: dict[str, Any] = field(default_factory=dict)
    search: Curve = Curve()
    rank_weight: float = 0.0
    as_likely: float = 0.0

    def __post_init__(self) -> None:
        _require(_is_number(self.least) and _is_number(self.trusted), "least and trusted must be numbers")
        _require(0 <= self.least <= self.trusted <= 1, "0 <= least <= trusted <= 1 must hold")
        _require(isinstance(self.provenance, dict), "provenance must be an object")
        for name in ("rank_weight", "as_likely"):
            value = getattr(self, name)
            _require(_is_number(value) and value >= 0, f"{name} must be a number from 0 on")

    def confidence(self, probability: float, way: Way) -> float:
        """How likely it is that an answer is right, 0 to 1."""
        curve: Curve = getattr(self, way)
        return curve.confidence(probability)

    def is_trusted(self, confidence: float, way: Way) -> bool:
        """Whether `auto` believes an answer of that confidence: reading the text once more for it would be in vain."""
        return way != "recall" or confidence >= self.trusted

    def to_json(self) -> str:
        """`calibration.json`, ready to be written."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def of(cls, directory: Path) -> Self:
        """A checkpoint's calibration; one that leaves probabilities as they are where it has none.

        Raises:
            CheckpointError: `calibration.json` is there, but cannot be read or does not hold a calibration.
        """
        file = directory / CALIBRATION_FILE
        if not file.exists():
            return cls()
        try:
            return cls._parsed(json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            raise CheckpointError(f"{file} does not hold a calibration: {error}") from error

    @classmethod
    def _parsed(cls, raw: object) -> Self:
        _require(isinstance(raw, dict), "it is no object")
        assert isinstance(raw, dict)  # noqa: S101
        search = Curve(**raw.pop("search", {}))
        return cls(Curve(**raw.pop("focus")), Curve(**raw.pop("recall")), search=search, **raw)
