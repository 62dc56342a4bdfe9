"""Calibration: what probabilities mean, learned from results, kept beside a checkpoint, not in its fingerprint."""

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rmt_model.calibration import CALIBRATION_FILE, Calibration, Curve
from rmt_model.checkpoint import load_checkpoint, save_checkpoint
from rmt_model.cli import main
from rmt_model.errors import CheckpointError
from rmt_model.evaluation.calibrating import calibrate
from rmt_model.evaluation.results import Result, ResultsFile, Series


def test_without_one_a_probability_is_its_own_confidence() -> None:
    plain = Calibration()
    for probability in (1e-6, 0.2, 0.5, 0.99):
        assert plain.confidence(probability, "focus") == pytest.approx(probability)
    assert 0 <= plain.confidence(0.0, "recall") < 1e-8
    assert 1 - 1e-8 < plain.confidence(1.0, "recall") <= 1
    assert plain.least == 0.0


@pytest.mark.parametrize("curve", [Curve(0.7, -1.4), Curve(3.0, 2.0), Curve(50.0, 0.0)])
def test_what_is_likelier_is_never_trusted_less(curve: Curve) -> None:
    trusted = [curve.confidence(step / 1000) for step in range(1001)]
    assert trusted == sorted(trusted)
    assert 0 <= trusted[0] <= trusted[-1] <= 1


def test_it_is_read_from_the_checkpoint_and_changes_no_fingerprint(tiny_checkpoint: Any, tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "own", load_checkpoint(tiny_checkpoint()).model)
    before = load_checkpoint(directory)
    wanted = Calibration(Curve(0.9, -1.0), Curve(0.8, -1.5), 0.3, 0.8, {"results": ["x"]})
    (directory / CALIBRATION_FILE).write_text(wanted.to_json())
    after = load_checkpoint(directory)
    assert (after.calibration, after.fingerprint) == (wanted, before.fingerprint)
    assert before.calibration == Calibration()
    save_checkpoint(directory, after.model)  # other weights, as far as anybody knows
    assert load_checkpoint(directory).calibration == Calibration()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "5",
        "null",
        '"focus"',
        '{"focus": 5, "recall": {}}',
        '{"focus": {"slope": true}, "recall": {}}',
        '{"focus": {"slope": 1' + "0" * 400 + '}, "recall": {}}',
        '{"focus": {}, "recall": {}, "provenance": 5}',
        '{"focus": {}, "recall": {}, "least": "0.1"}',
        '{"focus": {}, "recall": {}, "surprise": 1}',
        '{"focus": {"slope": 0}, "recall": {}}',
        '{"focus": {"slope": -1}, "recall": {}}',
        '{"focus": {"slope": "1"}, "recall": {}}',
        '{"focus": {"slope": NaN}, "recall": {}}',
        '{"focus": {}, "recall": {}, "least": 0.9, "trusted": 0.5}',
        '{"focus": {}, "recall": {}, "least": -1}',
        '{"focus": {}, "recall": {}, "search": 5}',
        '{"focus": {}, "recall": {}, "search": {"slope": 0}}',
        '{"focus": {}, "recall": {}, "rank_weight": "0.1"}',
        '{"focus": {}, "recall": {}, "rank_weight": -0.1}',
        '{"focus": {}, "recall": {}, "rank_weight": NaN}',
    ],
)
def test_a_damaged_one_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=CALIBRATION_FILE):
        Calibration.of(tmp_path)


def test_places_that_were_looked_up_have_a_curve_of_their_own(tmp_path: Path) -> None:
    """A file from before there was one leaves their probabilities as they are."""
    (tmp_path / CALIBRATION_FILE).write_text('{"focus": {"intercept": -1}, "recall": {"intercept": 1}}')
    old = Calibration.of(tmp_path)
    assert (old.search, old.rank_weight) == (Curve(), 0.0)
    assert old.confidence(0.3, "search") == pytest.approx(0.3)
    new = Calibration(Curve(0.9, -1.0), Curve(0.8, 0.1), search=Curve(0.7, 0.4), rank_weight=0.2)
    (tmp_path / CALIBRATION_FILE).write_text(new.to_json())
    assert Calibration.of(tmp_path) == new
    assert new.confidence(0.5, "search") == pytest.approx(1 / (1 + math.exp(-0.4)))
    assert [new.is_trusted(0.1, way) for way in ("focus", "recall", "search")] == [True, False, True]


def write_results(folder: Path, fingerprint: str, *, absent: bool = True, samples: int = 400) -> None:
    """Answers whose probability says too much: of those at p, only p to the power of three is right."""
    folder.mkdir(exist_ok=True)
    rng = Random(7)
    kinds = [("focus", ""), ("recall", "")] + ([("focus", "yes"), ("recall", "yes")] if absent else [])
    for mode, without in kinds:
        settings = {"others": "1"} | ({"absent": "yes"} if without else {})
        group = "all absent" if without else "all"
        series = Series("planted", group, mode, 1000, "tokens", 1, settings, fingerprint, "float32")
        results = []
        for number in range(samples):
            probability = rng.random() * (0.5 if without else 1.0)
            right = not without and rng.random() < probability**3 * (1.0 if mode == "focus" else 0.6)
            scores = {} if without else {"accuracy": float(right)}
            results.append(Result(number, scores, "Who?", ("Mary",), "Mary" if right else "John", probability))
        ResultsFile.of(folder, series).append(results)


def write_certain_results(folder: Path, fingerprint: str, seed: int) -> None:
    """Answers that are nearly all certain, and right two times in three: Newton's whole steps run away from those."""
    folder.mkdir()
    rng = Random(seed)
    for mode in ("focus", "recall"):
        series = Series("planted", "all", mode, 1000, "tokens", 1, {}, fingerprint, "float32")
        results = []
        for number in range(800):
            logit = rng.gauss(4, 3)
            right = rng.random() < 1 / (1 + math.exp(-(0.5 * logit - 1.2)))
            probability = 1 / (1 + math.exp(-logit))
            results.append(Result(number, {"accuracy": float(right)}, "Who?", ("Mary",), "Mary", probability))
        ResultsFile.of(folder, series).append(results)


@pytest.mark.parametrize("seed", range(5))
def test_certain_and_wrong_answers_are_fitted_to_the_end(tmp_path: Path, seed: int) -> None:
    write_certain_results(tmp_path / "results", "its", seed)
    found, _ = calibrate(tmp_path / "results", "its", least=0.3, trusted=0.8)
    for curve in (found.focus, found.recall):
        assert curve.slope == pytest.approx(0.5, abs=0.15)
        assert curve.intercept == pytest.approx(-1.2, abs=0.6)


def test_thresholds_that_contradict_each_other_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "results", load_checkpoint(checkpoint).fingerprint)
    command = ["calibrate", str(tmp_path / "results"), "--checkpoint", str(checkpoint), "--write", "--least", "0.9"]
    assert main(command) == 1
    assert "least <= trusted" in capsys.readouterr().err
    assert not (checkpoint / CALIBRATION_FILE).exists()


@pytest.fixture
def checkpoint(tiny_checkpoint: Any, tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoint", load_checkpoint(tiny_checkpoint()).model)


def test_it_is_learned_from_results(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = load_checkpoint(checkpoint).fingerprint
    results = tmp_path / "results"
    write_results(results, fingerprint)
    write_results(results, "another")  # of another checkpoint: not looked at
    command = ["calibrate", str(results), "--checkpoint", str(checkpoint), "--plot", str(tmp_path / "plot.svg")]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert not (checkpoint / CALIBRATION_FILE).exists()
    focus, recall = (line.split() for line in table.splitlines()[1:3])
    for way, line in (("focus", focus), ("recall", recall)):
        assert (line[0], line[1]) == (way, "400")  # the odd ones of 800
        before, after = float(line[3]), float(line[4])
        assert after < before / 2
        assert after < 0.06
    (series,) = [line.split() for line in table.splitlines() if line.startswith("planted all 1000")]
    recalled, auto, reread = (float(share.rstrip("%")) for share in series[-4:-1])
    assert auto >= recalled
    assert reread >= recalled
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")
    assert main([*command, "--write", "--least", "0.2", "--trusted", "0.9"]) == 0
    written = load_checkpoint(checkpoint).calibration
    assert (written.least, written.trusted) == (0.2, 0.9)
    assert written.provenance["fitted_to"] == {"focus": 400, "recall": 400}
    assert written.focus.confidence(0.9) > written.recall.confidence(0.9)
    assert json.loads((checkpoint / CALIBRATION_FILE).read_text())["provenance"]["results"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--least", "2"], "no number from 0 to 1"), (["--least", "x"], "no number"), ([], "holds no results by focus")],
)
def test_errors_are_one_sentence(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    (tmp_path / "empty").mkdir()
    try:
        status = main(["calibrate", str(tmp_path / "empty"), "--checkpoint", str(checkpoint), *arguments])
    except SystemExit as usage:
        status = int(usage.code or 0)
    assert status in (1, 2)
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rmt-smollm2-small", "rmt-smollm2-135m"])
def test_the_bundled_checkpoints_have_one(name: str) -> None:
    from rmt_model.checkpoint import find_checkpoint

    calibration = Calibration.of(find_checkpoint(name))
    assert 0 < calibration.least < calibration.trusted < 1
    assert calibration.provenance["fitted_to"]["focus"] > 100
