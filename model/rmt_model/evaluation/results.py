"""ResultsFile: what came out of a series of examples, one JSON line each, so that a run goes on where it was.

The first line is the series. A line that a kill left unfinished is dropped; any other damage is an error.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from rmt_model.errors import DataError
from rmt_model.evaluation.examples import short_digest
from rmt_model.evaluation.lengths import Unit, length_label

__all__ = ["Result", "ResultsFile", "Series"]


@dataclass(frozen=True, slots=True)
class Series:
    """Everything that a result depends on, besides its number.

    Attributes:
        task: Name of the task.
        group: Part of the task.
        mode: How documents are read: `focus`, `recall` or `both`; `-` where nothing is asked.
        length: Length of the documents, in `unit`.
        unit: Tokens or segments.
        seed: Seed of all examples.
        settings: Other settings of the task, digests of its data included.
        fingerprint: The checkpoint.
        dtype: Type of the backbone's weights.
    """

    task: str
    group: str
    mode: str
    length: int
    unit: Unit
    seed: int
    settings: Mapping[str, str]
    fingerprint: str
    dtype: str

    @property
    def file_name(self) -> str:
        """Readable, and another one for every other series."""
        label = f"{length_label(self.length, self.unit)}{'seg' if self.unit == 'segments' else ''}"
        digest = short_digest(json.dumps(asdict(self), sort_keys=True).encode())
        parts = (self.task, self.group, self.mode.strip("-"), label, f"seed{self.seed}")
        served = (self.fingerprint[:8], self.dtype, digest)
        return "-".join(re.sub(r"[^\w.]+", "_", part) for part in (*parts, *served) if part) + ".jsonl"


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one example.

    Attributes:
        number: The example's number.
        scores: By metric; from 0 to 1, or nats a token for `nll`.
        question: What was asked, if anything was.
        answers: Right answers.
        answer: What was answered.
        confidence: Probability of the answer's tokens, 0 to 1.
    """

    number: int
    scores: Mapping[str, float]
    question: str = ""
    answers: tuple[str, ...] = field(default=())
    answer: str = ""
    confidence: float = 0.0


class ResultsFile:
    """The results of one series, by number. One process writes to a file at a time.

    Attributes:
        path: Where it lies; it is there once something was appended.
        series: What the results belong to.
        results: All that is in it.
    """

    def __init__(self, path: Path, series: Series, results: Iterable[Result], whole_bytes: int) -> None:
        self.path = path
        self.series = series
        self.results = {result.number: result for result in results}
        self._whole_bytes = whole_bytes

    @classmethod
    def of(cls, folder: Path, series: Series) -> Self:
        """The file of a series in a folder, with what is in it already.

        Raises:
            DataError: A line is damaged, or the file belongs to another series.
        """
        path = folder / series.file_name
        found = cls.read(path) if path.exists() else None
        if found is not None and found.series != series:
            raise DataError(f"{path} holds results of something else: remove it, or take another --out")
        return found or cls(path, series, (), 0)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """A file that lies there; None if not even its first line was finished.

        Raises:
            DataError: The file cannot be read, or a line is damaged.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        whole = data[: data.rfind(b"\n") + 1]  # a line without its end is one that a kill tore
        rows = [_parsed(line, f"{path}:{at}") for at, line in enumerate(whole.splitlines(), 1)]
        if not rows:
            return None
        try:
            series = Series(**rows[0])
            results = [Result(**{**row, "answers": tuple(row["answers"])}) for row in rows[1:]]
        except (TypeError, KeyError) as error:
            raise DataError(f"{path} is no file of results: {error}; remove it") from error
        return cls(path, series, results, len(whole))

    def append(self, results: Iterable[Result]) -> None:
        """Write results behind those that are there."""
        new = list(results)
        rows: list[Series | Result] = [*([] if self._whole_bytes else [self.series]), *new]
        data = "".join(f"{json.dumps(asdict(row), ensure_ascii=False)}\n" for row in rows).encode(errors="replace")
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self._whole_bytes)
            file.seek(self._whole_bytes)
            file.write(data)
        self._whole_bytes += len(data)
        self.results |= {result.number: result for result in new}


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is damaged: {error}; remove the line, or the file") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is damaged: an object is wanted; remove the line, or the file")
    return row
