"""The benchmark BABILong's own files: samples as they are published, and results as its scripts write and read them.

Samples lie in `FOLDER/qa1/4k.json`, or in its folder `data`, as at Hugging Face (RMT-team/babilong): records with
`input`, `question` and `target`, as a JSON array or one a line. Results are `qa1_4k_CONFIGURATION.csv` with columns
`target`, `output` and `question`, and a JSON file beside it; the scripts of github.com/booydar/babilong score them.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmt_model.data.story import Mode
from rmt_model.errors import DataError
from rmt_model.evaluation.examples import Encode, Example, short_digest
from rmt_model.evaluation.lengths import Unit, length_label, parse_length
from rmt_model.evaluation.results import ResultsFile
from rmt_model.evaluation.scoring import babilong_labels, is_babilong_right

__all__ = ["LABELS", "SampleExamples", "find_samples", "write_results"]

_PLACES = "bathroom,bedroom,garden,hallway,kitchen,office"
LABELS: Mapping[str, str] = {
    **dict.fromkeys(("qa1", "qa2", "qa3", "qa4"), _PLACES),
    "qa5": "Bill,Fred,Jeff,Mary,apple,football,milk",
    "qa6": "yes,no",
    "qa7": "none,one,two,three",
    "qa8": "apple,football,milk,nothing",
    "qa9": "yes,no",
    "qa10": "yes,no,maybe",
}
"""All answers to the tasks that the benchmark has."""
_CONFIGURATION = "instruction_no_examples_no_post_prompt_no_chat_template_no"
"""What the scripts call a run that is given nothing but the text and the question."""


@dataclass(frozen=True, slots=True)
class _Sample:
    text: str
    question: str
    target: str


def find_samples(folder: Path, task: str, label: str) -> Path:
    """The file of a task at a length, `label` as `4k` or `1M`.

    Raises:
        DataError: There is none.
    """
    names = [f"{task}/{label}.json", f"{task}/{label}.jsonl"]
    for path in [parent / name for parent in (folder, folder / "data") for name in names]:
        if path.is_file():
            return path
    raise DataError(f"{folder} has no {names[0]}, neither itself nor in a folder `data`: these are BABILong's samples")


class SampleExamples:
    """The samples of one file, in its order.

    Raises:
        DataError: The file cannot be read, or is none of BABILong's.
    """

    task = "babilong"
    unit: Unit = "tokens"
    seed = 0

    def __init__(self, path: Path, task: str, label: str, encode: Encode) -> None:
        if task not in LABELS:
            raise DataError(f"{task} is no task of BABILong's files: they are {', '.join(LABELS)}")
        self.group = task
        self.length = parse_length(label)
        self._samples = _read(path)
        self.settings: Mapping[str, str] = {"samples": short_digest(path.read_bytes())}
        self.available: int | None = len(self._samples)
        self._encode = encode
        self._labels = babilong_labels([LABELS[task]])

    def example(self, number: int) -> Example:
        """The number-th sample."""
        one = self._samples[number]
        ids = np.asarray(self._encode(one.text), dtype=np.int32)
        return Example(number, self.group, self.length, one.question, (one.target,), ids, (), one.text)

    def scores(self, example: Example, answer: str) -> dict[str, float]:
        """BABILong's accuracy."""
        right = is_babilong_right(answer, example.answers[0], example.question, self._labels)
        return {"accuracy": float(right)}


def write_results(folder: Path, file: ResultsFile, mode: Mode) -> Path:
    """Write the results of a series as the benchmark's scripts read them; returns the table's path."""
    series = file.series
    table = folder / f"{series.group}_{length_label(series.length, series.unit)}_{_CONFIGURATION}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("", "target", "output", "question"))
        for number, result in sorted(file.results.items()):
            rows.writerow((number, ",".join(result.answers), result.answer, result.question))
    prompt = {"instruction": "", "examples": "", "post_prompt": "", "template": "{context}", "chat_template": False}
    reader = {"mode": mode, "checkpoint": series.fingerprint, "dtype": series.dtype}
    table.with_suffix(".json").write_text(json.dumps({"prompt": prompt, "reader": reader}, indent=4), "utf-8")
    return table


def _read(path: Path) -> list[_Sample]:
    try:
        text = path.read_text(encoding="utf-8")
        records = json.loads(text) if text.lstrip().startswith("[") else list(map(json.loads, _lines(text)))
        samples = [_sample(one) for one in records]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no file of BABILong's samples {{input, question, target}}: {error!r}") from error
    if not samples:
        raise DataError(f"{path} holds no samples")
    return samples


def _lines(text: str) -> Sequence[str]:
    return [line for line in text.split("\n") if line.strip()]


def _sample(record: dict[str, Any]) -> _Sample:
    return _Sample(record["input"].strip(), record["question"].strip(), record["target"].strip())
