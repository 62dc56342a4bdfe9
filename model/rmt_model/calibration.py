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
Way = Literal["focus", "recall"]
"""How a question met the memory: its lane worked for it while it read, or it came afterwards."""
_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Curve:
    """Confidence out of a probability: `sigmoid(slope * logit(probability) + intercept)` (Platt, 1999).

    Attributes:
        slope: Above 0, so that what is likelier is never less trusted.
        intercept: The logit of the confidence at a probability of one half.
    """

    slope: float = 1.0
    intercept: float = 0.0

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
        recall: The curve for all others.
        least: Below this confidence an answer counts as not in the document; 0 where nothing was measured.
        trusted: From this confidence on `auto` believes what was recalled.
        provenance: How it was measured.
    """

    focus: Curve = Curve()
    recall: Curve = Curve()
    least: float = 0.0
    trusted: float = 0.9
    provenance: dict[str, Any] = field(default_factory=dict)

    def confidence(self, probability: float, way: Way) -> float:
        """How likely it is that an answer is right, 0 to 1."""
        return (self.focus if way == "focus" else self.recall).confidence(probability)

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
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{file} does not hold a calibration: {error}") from error

    @classmethod
    def _parsed(cls, raw: dict[str, Any]) -> Self:
        found = cls(Curve(**raw.pop("focus")), Curve(**raw.pop("recall")), **raw)
        curves = (found.focus, found.recall)
        numbers = [number for curve in curves for number in (curve.slope, curve.intercept)]
        if not all(isinstance(one, float | int) and math.isfinite(one) for one in numbers):
            raise ValueError("a curve has a slope and an intercept, both numbers")
        if any(curve.slope <= 0 for curve in curves):
            raise ValueError("a slope must be above 0")
        if not 0 <= found.least <= found.trusted <= 1:
            raise ValueError("0 <= least <= trusted <= 1 must hold")
        return found
