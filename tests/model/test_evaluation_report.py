"""Evaluation's figures: what counts as right, intervals, the published numbers, and table, JSON and plot."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from rmt_model.errors import DataError
from rmt_model.evaluation.figures import Figure, figures_of, sentence_of
from rmt_model.evaluation.lengths import Unit, length_label, parse_length
from rmt_model.evaluation.plot import plot_figures
from rmt_model.evaluation.published import CURVES, MEAN_GROUP, beside, published
from rmt_model.evaluation.report import Served, collect, table_of, write_report
from rmt_model.evaluation.results import Result, ResultsFile, Series
from rmt_model.evaluation.scoring import (
    babilong_labels,
    bootstrap_means,
    exact_match,
    interval_of,
    is_babilong_right,
    is_right,
    token_f1,
    wilson,
)

PLACES = babilong_labels(["bathroom", "bedroom", "garden", "hallway", "kitchen", "office"])
THINGS = babilong_labels(["nothing", "apple", "milk", "football", "apple,milk", "football,apple,milk"])
COUNTS = babilong_labels(["none", "one", "two", "three"])
SERVED = Served("tiny", "f" * 32, "float32", "cpu", "2.13")


def series(
    task: str, group: str, length: int, unit: Unit = "tokens", mode: str = "focus", seed: int = 1, **more: str
) -> Series:
    return Series(task, group, mode, length, unit, seed, more, SERVED.fingerprint, SERVED.dtype)


def fill(folder: Path, of: Series, **scores: list[float]) -> ResultsFile:
    file = ResultsFile.of(folder, of)
    rows = [dict(zip(scores, values, strict=True)) for values in zip(*scores.values(), strict=True)]
    file.append(Result(number, row) for number, row in enumerate(rows))
    return file


@pytest.mark.parametrize(
    ("answer", "target", "question", "labels", "right"),
    [
        ("kitchen", "kitchen", "Where is Mary?", PLACES, True),
        ("The KITCHEN.", "kitchen", "Where is Mary?", PLACES, True),
        ("Mary is in the kitchen", "kitchen", "Where is Mary?", PLACES, True),
        ("kitchen or garden", "kitchen", "Where is Mary?", PLACES, False),
        ("garden", "kitchen", "Where is Mary?", PLACES, False),
        ("", "kitchen", "Where is Mary?", PLACES, False),
        ("kitchenette", "kitchen", "Where is Mary?", PLACES, False),
        ("kitchen\ngarden", "kitchen", "Where is Mary?", PLACES, True),
        ("garden\nkitchen", "kitchen", "Where is Mary?", PLACES, False),
        ("kitchen, east of the garden", "kitchen", "What is east of the garden?", PLACES, True),
        ("the garden", "kitchen", "What is east of the garden?", PLACES, False),
        ("apple,milk", "apple,milk", "What is Mary carrying?", THINGS, True),
        ("milk and apple", "apple,milk", "What is Mary carrying?", THINGS, True),
        ("apple", "apple,milk", "What is Mary carrying?", THINGS, False),
        ("football,apple,milk", "apple,milk", "What is Mary carrying?", THINGS, False),
        ("apple,milk", "apple", "What is Mary carrying?", THINGS, False),
        ("nothing", "nothing", "What is Mary carrying?", THINGS, True),
        ("none", "none", "How many objects is Mary carrying?", COUNTS, True),
        ("one", "none", "How many objects is Mary carrying?", COUNTS, False),
        ("no", "no", "Is Mary in the office?", frozenset({"yes", "no"}), True),
        ("I do not know", "no", "Is Mary in the office?", frozenset({"yes", "no"}), False),
        ("n,w", "n,w", "How do you go from the garden to the office?", babilong_labels(["n,w", "n,n"]), True),
        ("w,n", "n,w", "How do you go from the garden to the office?", babilong_labels(["n,w", "n,n"]), False),
        ("Fred", "Fred", "Who gave the milk to Bill?", babilong_labels(["Fred", "Bill", "milk"]), True),
    ],
)
def test_babilong_scoring(answer: str, target: str, question: str, labels: frozenset[str], right: bool) -> None:
    assert is_babilong_right(answer, target, question, labels) is right


def test_babilong_labels_take_lists_apart() -> None:
    assert babilong_labels(["Apple,milk", "nothing", "n,w"]) == {"apple", "milk", "nothing", "n,w"}


@pytest.mark.parametrize(
    ("answer", "answers", "exact", "f1"),
    [
        ("Ada Quill", ["Ada Quill"], True, 1.0),
        ("the  ada quill!", ["Ada Quill"], True, 1.0),
        ("Quill", ["Ada Quill"], False, 2 / 3),
        ("Ada", ["Bob", "Ada Quill"], False, 2 / 3),
        ("to be or not to be", ["to be"], False, 2 * 2 / 8),
        ("Bob", ["Ada Quill"], False, 0.0),
        ("", ["Ada Quill"], False, 0.0),
        ("in 1,066", ["1066"], False, 2 / 3),
    ],
)
def test_squad_scoring(answer: str, answers: list[str], exact: bool, f1: float) -> None:
    assert exact_match(answer, answers) is exact
    assert token_f1(answer, answers) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("the old mill", True),
        ("The Old Mill.", True),
        ("old mill", True),
        ("the mill", False),
        ("the old mill house", False),
        ("", False),
    ],
)
def test_right(answer: str, right: bool) -> None:
    assert is_right(answer, "the old mill") is right


def test_wilson_holds_the_share_and_stays_within_bounds() -> None:
    for total in (1, 10, 200):
        for right in {0, 1, total // 2, total}:
            low, high = wilson(right, total)
            assert 0 <= low <= right / total <= high <= 1
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = interval_of(bootstrap_means(values))
    assert (low, high) == interval_of(bootstrap_means(values))
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_lengths() -> None:
    assert [parse_length(text) for text in ("0k", "1k", "128k", "1M", "5000", "0")] == [
        0,
        1000,
        128_000,
        10**6,
        5000,
        0,
    ]
    for text in ("", "k", "-1k", "1.5k", "1G", "4 k"):
        with pytest.raises(DataError, match="is no length"):
            parse_length(text)
    assert [length_label(length) for length in (0, 1000, 128_000, 10**6, 4096)] == ["0k", "1k", "128k", "1M", "4096"]
    assert length_label(1000, "segments") == "1000"


def test_published_numbers() -> None:
    assert [
        dict(curve.points)[4096] for task in ("memorize", "detect", "reasoning") for curve in published("paper", task)
    ] == [
        90.6,
        96.1,
        81.9,
    ]
    at_128k = {curve.group: curve.at(128_000) for curve in CURVES if curve.name == "RMT GPT-2"}
    assert at_128k == {"qa1": 94, "qa2": 39, "qa3": 36, "qa4": 38, "qa5": 86}
    assert beside("babilong", "qa1", 1_000_000) == "RMT GPT-2 84"
    assert beside("babilong", "qa2", 16_000) == "RMT GPT-2 94, RMT GPT-2, question first and last 99.8"
    assert beside("babilong", MEAN_GROUP, 128_000) == "ARMT 97, GPT-4 36"
    assert beside("babilong", MEAN_GROUP, 1_000_000) == "ARMT 93"
    assert beside("babilong", "qa1", 0) == "RMT GPT-2 100"
    assert beside("babilong", "qa1", 8_000) == beside("babilong", "qa6", 0) == beside("lm", "books", 16) == ""
    for curve in CURVES:
        assert list(curve.points) == sorted(curve.points)


def test_figures_have_the_value_the_interval_and_the_number_of_samples(tmp_path: Path) -> None:
    fill(tmp_path, series("babilong", "qa1", 4000), accuracy=[1.0] * 8 + [0.0] * 2)
    fill(tmp_path, series("qa", "squad", 0), f1=[0.5, 1.0, 0.0, 0.5], exact_match=[0.0, 1.0, 0.0, 0.0])
    accuracy, exact, f1 = collect(tmp_path, SERVED.fingerprint, SERVED.dtype)
    assert (accuracy.value, accuracy.samples) == (80.0, 10)
    assert (accuracy.low, accuracy.high) == pytest.approx(tuple(100 * end for end in wilson(8, 10)))
    assert (exact.metric, exact.value, f1.metric, f1.value) == ("exact_match", 25.0, "f1", 50.0)
    assert 0 <= f1.low < 50 < f1.high <= 100
    assert sentence_of(accuracy) == (
        f"babilong qa1 focus 4k tokens: accuracy 80.0 % of 10, 95 % interval {accuracy.low:.1f}..{accuracy.high:.1f}"
    )


def test_perplexity_and_its_improvement_against_no_segments(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(3, 1, 50)  # targets differ much more than what reading gains
    start = fill(tmp_path, series("lm", "books", 0, "segments", "-"), nll=hard.tolist())
    later = fill(
        tmp_path, series("lm", "books", 4, "segments", "-"), nll=(hard - 0.1 + rng.normal(0, 0.01, 50)).tolist()
    )
    other = fill(tmp_path, series("lm", "books", 4, "segments", "-", seed=2), nll=[1.0, 2.0])
    figures = figures_of([later, start, other])
    improvement = next(figure for figure in figures if figure.metric == "improvement")
    assert [figure.metric for figure in figures] == ["improvement", "perplexity", "perplexity", "perplexity"]
    assert figures[1].value == pytest.approx(np.exp(hard.mean()))
    assert figures[1].low < figures[1].value < figures[1].high
    assert improvement.value == pytest.approx(100 * (1 - np.exp(-0.1)), abs=0.5)
    assert 9 < improvement.low < improvement.value < improvement.high < 10


def test_the_mean_of_five_tasks_stands_beside_armt_and_gpt4(tmp_path: Path) -> None:
    for number in range(1, 5):
        fill(tmp_path, series("babilong", f"qa{number}", 4000, stories=str(number)), accuracy=[1.0, 0.0])
    assert MEAN_GROUP not in {figure.group for figure in collect(tmp_path, SERVED.fingerprint, "float32")}
    fill(tmp_path, series("babilong", "qa5", 4000, stories="5"), accuracy=[1.0, 1.0])
    mean = next(f for f in collect(tmp_path, SERVED.fingerprint, "float32") if f.group == MEAN_GROUP)
    assert (mean.value, mean.samples) == (60.0, 10)
    assert "ARMT 98, GPT-4 74" in table_of([mean])


def test_the_report_joins_all_results_of_one_checkpoint(tmp_path: Path) -> None:
    for length, rights in ((0, [1.0] * 4), (4000, [1.0, 1.0, 0.0, 1.0]), (128_000, [0.0, 1.0, 0.0, 1.0])):
        fill(tmp_path, series("babilong", "qa1", length, split="validation"), accuracy=rights)
    fill(tmp_path, series("paper", "memorize", 16, "segments"), accuracy=[1.0, 0.0])
    fill(tmp_path, series("babilong", "qa10", 0), accuracy=[1.0])
    others = Series("babilong", "qa1", "focus", 4000, "tokens", 1, {}, "0" * 32, "float32")
    fill(tmp_path, others, accuracy=[1.0])
    (tmp_path / "torn.jsonl").write_text('{"task": "pap')

    figures = write_report(tmp_path, SERVED)

    assert [(one.task, one.group, one.length) for one in figures] == [
        ("babilong", "qa1", 0),
        ("babilong", "qa1", 4000),
        ("babilong", "qa1", 128_000),
        ("babilong", "qa10", 0),
        ("paper", "memorize", 16),
    ]
    text = (tmp_path / "report.txt").read_text()
    table = text.split("\n\n")[1].splitlines()
    assert text.startswith(f"tiny ({'f' * 32}), float32 on cpu\n")
    assert re.split(r"  +", table[0]) == [
        "task", "group", "mode", "length", "metric", "value", "95 % interval", "samples", "published", "settings",
    ]  # fmt: skip
    assert re.split(r"  +", table[3]) == [
        "babilong", "qa1", "focus", "128k tokens", "accuracy %", "50.0", "15.0..85.0", "4", "RMT GPT-2 94",
        "seed 1, split validation",
    ]  # fmt: skip
    value = table[0].index("value") + len("value")
    assert [line[value - 4 : value] for line in table[1:3]] == ["00.0", "75.0"]

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["checkpoint"] == {
        "checkpoint": "tiny",
        "fingerprint": "f" * 32,
        "dtype": "float32",
        "device": "cpu",
        "torch_version": "2.13",
    }
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["cpu"]
    assert re.match(r"20\d\d-\d\d-\d\dT", report["date"])
    assert [Figure(**figure) for figure in report["figures"]] == figures
    assert {curve["task"] for curve in report["published"]} == {"babilong", "paper"}


def test_the_plot_shows_our_curves_and_the_published_ones(tmp_path: Path) -> None:
    files = [
        fill(tmp_path, series("babilong", "qa1", n, mode=mode), accuracy=[1.0, 0.0])
        for n in (0, 4000)
        for mode in ("focus", "recall")
    ]
    files.append(fill(tmp_path, series("lm", "books", 2, "segments", "-"), nll=[3.0, 2.0]))
    figures = figures_of(files)
    plot_figures(figures, tmp_path / "plot.svg", title="tiny in float32")
    texts = {element.text for element in ET.parse(tmp_path / "plot.svg").iter() if element.text}
    assert {"tiny in float32", "babilong: accuracy", "lm: perplexity", "accuracy, %", "length in tokens"} <= texts
    assert {"qa1, focus", "qa1, recall", "books", "0k", "4k", "1M", "10M"} <= texts
    assert {"qa1: RMT GPT-2, published", f"{MEAN_GROUP}: ARMT, published", f"{MEAN_GROUP}: GPT-4, published"} <= texts
    assert not any("qa2" in text for text in texts)
    first = (tmp_path / "plot.svg").read_bytes()
    plot_figures(figures, tmp_path / "plot.svg", title="tiny in float32")
    assert (tmp_path / "plot.svg").read_bytes() == first
    plot_figures(figures, tmp_path / "plot.png", title="tiny")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_curve_begins_with_the_story_alone_and_settings_tell_curves_apart(tmp_path: Path) -> None:
    files = [
        fill(tmp_path, series("babilong", "qa1", 0, split="all", books=""), accuracy=[1.0]),
        fill(tmp_path, series("babilong", "qa1", 4000, split="all", books="12345678"), accuracy=[0.0]),
    ]
    plot_figures(figures_of(files), tmp_path / "plot.svg", title="")
    labels = [element.text for element in ET.parse(tmp_path / "plot.svg").iter() if element.text]
    assert labels.count("qa1, focus") == 1
    files.append(fill(tmp_path, series("babilong", "qa1", 4000, seed=2, split="all", books="12345678"), accuracy=[0.0]))
    plot_figures(figures_of(files), tmp_path / "plot.svg", title="")
    labels = [element.text for element in ET.parse(tmp_path / "plot.svg").iter() if element.text]
    assert "qa1, focus" not in labels
    assert {"qa1, focus, seed 1, split all", "qa1, focus, seed 2, split all"} <= set(labels)


def test_nothing_measured_is_nothing_reported(tmp_path: Path) -> None:
    assert write_report(tmp_path, SERVED) == []
    assert list(tmp_path.iterdir()) == []
