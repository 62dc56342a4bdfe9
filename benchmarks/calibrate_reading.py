"""What the scores of an encoder's answers mean: `calibration.json`, fitted to real questions that were held out.

    python -m benchmarks.calibrate_reading DATA --checkpoint DIR [--most 200]

Questions about held-out articles, stories, papers and chats, and questions whose answer is not in the text, are asked
as the server asks. Every second text fits the weight of a place's rank and the curves from scores to confidence; the
others tell the expected calibration error, in ten bins. An answer counts as one where it is likelier right than wrong.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.readers import focused, words_at
from benchmarks.reading_quality import Case, IndexedText, cases_of, unanswerable_cases

from rmt_model.allocator import keep_freed_memory
from rmt_model.calibration import CALIBRATION_FILE, Calibration, Curve
from rmt_model.checkpoint import find_checkpoint
from rmt_model.data.corpora import read_fairytales, read_molweni, read_squad
from rmt_model.data.passages import Passage
from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.errors import QuestionError
from rmt_model.evaluation.scoring import token_f1
from rmt_model.pointers import Pointer
from rmt_model.span_engine import SpanEngine, Window, WindowReading
from rmt_server.service.evidence import WINDOWS, best_pointers

_RIGHT_F1 = 0.5
"""An answer that shares so much with an accepted one counts as right here."""
_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
_LEAST = 0.5
_AS_LIKELY = 3.0
_BINS = 10
_LONGEST_QUESTION_CHARS = 160


@dataclass(frozen=True)
class Asked:
    """A case, the windows of its text that a search found, and what was read in them."""

    case: Case
    windows: Sequence[Window]
    read: Sequence[WindowReading]
    fits: bool


def f1_of(asked: Asked, pointers: Sequence[Pointer]) -> float:
    """How good the best place is; nothing is where there is no answer."""
    if not pointers or not asked.case.answers:
        return 0.0
    return token_f1(words_at(pointers[0], asked.windows), asked.case.answers)


def best_weight(asked: Sequence[Asked]) -> float:
    """The weight of ranks under which answers are best."""
    answerable = [one for one in asked if one.case.answers]
    means = {w: float(np.mean([f1_of(one, best_pointers(one.read, w)) for one in answerable])) for w in _WEIGHTS}
    sys.stdout.write(f"F1 by weight of rank: { {w: round(100 * mean, 1) for w, mean in means.items()} }\n")
    return max(means, key=lambda w: means[w])


def fitted(scores: Sequence[float], right: Sequence[bool]) -> Curve:
    """A logistic curve from scores to how often they are right.

    What is wanted is a little less than 1 and more than 0, so that there is a curve for few scores, too. Source: Platt,
    "Probabilistic outputs for support vector machines", 1999, section 2.2.
    """
    hits = torch.tensor(right)
    count = int(hits.sum())
    x = torch.tensor(scores).clamp(-20, 20)
    y = torch.where(hits, (count + 1) / (count + 2), 1 / (len(right) - count + 2))
    slope, intercept = torch.nn.Parameter(torch.tensor(0.5)), torch.nn.Parameter(torch.tensor(0.0))
    optimizer = torch.optim.LBFGS([slope, intercept], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(slope.abs() * x + intercept, y)
        value.backward()
        return value

    optimizer.step(loss)
    return Curve(round(abs(float(slope.detach())), 4), round(float(intercept.detach()), 4))


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """The expected calibration error: how far the confidence of a bin is from how often it is right."""
    values, hits = np.array(confidences), np.array(right, dtype=float)
    bins = np.minimum((values * _BINS).astype(int), _BINS - 1)
    apart = [abs(values[bins == b].mean() - hits[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(apart))


def chance(score: float) -> float:
    """What a curve is a function of."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def passages_of(data: Path) -> dict[str, list[Passage]]:
    """What was held out, by data set."""
    squad = data / "squad" / "squad-v1.1-dev-36-articles.json"
    papers = data / "covidqa" / "covid-qa-70-papers.json"
    return {
        "squad": read_squad(squad, "squad", "validation"),
        "fairytaleqa": read_fairytales(data / "fairytaleqa", "validation"),
        "covidqa": read_squad(papers, "covidqa", "validation", one_in=7),
        "molweni": read_molweni(data / "molweni" / "molweni-mrc-70-dialogues.json", "validation"),
    }


def look_up(engine: SpanEngine, cases: Sequence[Case]) -> list[Asked]:
    """Read what a search finds for each case; texts alternate between fitting and testing."""
    asked: list[Asked] = []
    texts: dict[str, tuple[IndexedText, bool]] = {}
    for case in cases:
        if case.text not in texts:
            texts[case.text] = (IndexedText(case.text), len(texts) % 2 == 0)
        text, fits = texts[case.text]
        windows = text.windows(case.question, WINDOWS)
        try:
            asked.append(Asked(case, windows, engine.read_windows(case.question, windows), fits))
        except QuestionError:  # too long to be asked
            continue
    return asked


def search_curve(asked: Sequence[Asked], weight: float) -> tuple[Curve, dict[str, float]]:
    """The curve of answers from places that were looked up, and how well it holds."""
    rows = [(one, best_pointers(one.read, weight)) for one in asked]
    found = [(one.fits, places[0].score, f1_of(one, places) >= _RIGHT_F1) for one, places in rows if places]
    fitting, testing = ([one for one in found if one[0] == fits] for fits in (True, False))
    curve = fitted([score for _, score, _ in fitting], [right for _, _, right in fitting])
    error = calibration_error([curve.confidence(chance(s)) for _, s, _ in testing], [right for *_, right in testing])
    return curve, {"n": len(testing), "expected calibration error": round(float(error), 4)}


def focus_curve(engine: SpanEngine, cases: Sequence[Case]) -> tuple[Curve, dict[str, float]]:
    """The curve of answers of a lane that has read the whole text for its question."""
    scores, right = [], []
    for case in cases:
        if len(case.question) > _LONGEST_QUESTION_CHARS:
            continue
        places = focused(engine, case.text, case.question).pointers
        if places:
            said = words_at(places[0], [Window(case.text, 0)])
            scores.append(places[0].score)
            right.append(bool(case.answers) and token_f1(said, case.answers) >= _RIGHT_F1)
    curve = fitted(scores[::2], right[::2])
    error = calibration_error([curve.confidence(chance(one)) for one in scores[1::2]], right[1::2])
    return curve, {"n": len(scores[1::2]), "expected calibration error": round(float(error), 4)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--dtype", default="fast")
    parser.add_argument("--most", type=int, default=200, help="questions of each data set")
    parser.add_argument(
        "--focused", type=int, default=60, help="questions of each that are read for from the beginning"
    )
    options = parser.parse_args(arguments)
    keep_freed_memory()
    directory = find_checkpoint(options.checkpoint)
    checkpoint = load_encoder_checkpoint(directory, dtype=options.dtype)
    engine = SpanEngine(replace(checkpoint, calibration=Calibration()))
    passages = passages_of(options.data)
    cases = [case for name, some in passages.items() for case in cases_of(name, some, options.most)]
    for name in ("squad", "fairytaleqa"):
        cases += sorted(unanswerable_cases(passages[name], options.most // 4), key=lambda one: one.text)
    asked = look_up(engine, cases)
    weight = best_weight([one for one in asked if one.fits])
    search, held = search_curve(asked, weight)
    short = [case for case in cases if len(case.text) < 30_000]
    focus, focus_held = focus_curve(engine, short[:: max(1, len(short) // (3 * options.focused))])
    provenance = {
        "data": "held-out SQuAD, FairytaleQA, COVID-QA, Molweni; foreign questions, and paragraphs taken out",
        "right": f"token F1 of {_RIGHT_F1} and more",
        "search": held,
        "focus": focus_held,
    }
    calibration = Calibration(focus, focus, _LEAST, 0.9, provenance, search, weight, _AS_LIKELY)
    (directory / CALIBRATION_FILE).write_text(calibration.to_json())
    sys.stdout.write(f"{json.dumps(json.loads(calibration.to_json()), indent=1)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
