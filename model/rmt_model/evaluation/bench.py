"""Bench: a loaded checkpoint with the folder where its results go. What all evaluation commands have in common."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from rmt_model.allocator import keep_freed_memory
from rmt_model.data.background import Background
from rmt_model.data.story import Mode
from rmt_model.encoder_checkpoint import EncoderCheckpoint
from rmt_model.engine import Engine
from rmt_model.engines import load_any_checkpoint
from rmt_model.errors import DataError
from rmt_model.evaluation.asking import Asking, dtype_of
from rmt_model.evaluation.books import Books
from rmt_model.evaluation.examples import Encode, Examples
from rmt_model.evaluation.figures import figures_of, sentence_of
from rmt_model.evaluation.pointing import Pointing
from rmt_model.evaluation.report import Served, table_of, write_report
from rmt_model.evaluation.results import ResultsFile
from rmt_model.evaluation.runner import Measurement, run_series
from rmt_model.span_engine import SpanEngine

__all__ = ["Bench"]


@dataclass(frozen=True)
class Bench:
    """Measures with one engine.

    Attributes:
        engine: The checkpoint, of either kind, with a slot for each lane.
        samples: Samples for each figure.
        lanes: Documents read side by side.
        folder: Where results and the report go.
    """

    engine: Engine | SpanEngine
    samples: int
    lanes: int
    folder: Path

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """Load what the options name.

        Raises:
            CheckpointError: The checkpoint cannot be loaded.
        """
        keep_freed_memory()
        options.out.mkdir(parents=True, exist_ok=True)
        checkpoint = load_any_checkpoint(options.checkpoint, device=options.device, dtype=options.dtype)
        sizes = {"slots": options.lanes, "max_batch_lanes": options.lanes}
        if isinstance(checkpoint, EncoderCheckpoint):
            return cls(SpanEngine(checkpoint, **sizes), options.samples, options.lanes, options.out)
        return cls(Engine(checkpoint, **sizes), options.samples, options.lanes, options.out)

    @property
    def encode(self) -> Encode:
        """Text to token ids, as questions and documents are served."""
        return self.engine.cutter.encode if isinstance(self.engine, SpanEngine) else self.engine.prompts.encode

    @property
    def points(self) -> bool:
        """Whether answers are places of the text."""
        return isinstance(self.engine, SpanEngine)

    @property
    def decoder(self) -> Engine:
        """The engine, of a checkpoint that predicts text.

        Raises:
            DataError: It is an encoder's.
        """
        if isinstance(self.engine, SpanEngine):
            raise DataError(f"{self.engine.checkpoint.name} is an encoder, which predicts no text: name a decoder")
        return self.engine

    def books(self, options: argparse.Namespace) -> Books:
        """The books that the options name.

        Raises:
            DataError: There are none.
        """
        if options.books is None:
            raise DataError("documents longer than their story need other text: name a folder of texts with --books")
        return Books(options.books, self.engine.checkpoint.tokenizer, all_books=options.all_books)

    def haystack(self, books: Books | None, length: int) -> tuple[Background | None, str]:
        """The text that documents of so many tokens are hidden in, and its digest; none at length 0.

        Raises:
            DataError: All books together are shorter.
        """
        return (books.sentences(length), books.digest) if books and length else (None, "")

    def ask(self, examples: Examples, mode: Mode) -> ResultsFile:
        """Read the examples of a series and ask their questions."""
        engine = self.engine
        kind = Pointing(engine, examples, mode) if isinstance(engine, SpanEngine) else Asking(engine, examples, mode)
        return self.run(kind)

    def run(self, measurement: Measurement) -> ResultsFile:
        """Measure a series as far as that was not done before, and say on stderr what came out."""
        if measurement.available is not None and measurement.available < self.samples:
            series = measurement.series
            missing = f"there are {measurement.available} examples for {self.samples} samples"
            sys.stderr.write(f"{series.task} {series.group}: {missing}\n")
        file = run_series(measurement, samples=self.samples, lanes=self.lanes, folder=self.folder)
        sys.stderr.writelines(f"{sentence_of(figure)}\n" for figure in figures_of([file]))
        return file

    def report(self) -> str:
        """Write the report anew, and return its table."""
        checkpoint = self.engine.checkpoint
        served = Served(
            checkpoint=checkpoint.name,
            fingerprint=checkpoint.fingerprint,
            dtype=dtype_of(self.engine),
            device=str(self.engine.device),
            torch_version=torch.__version__,
        )
        return table_of(write_report(self.folder, served))
