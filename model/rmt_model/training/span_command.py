"""`rmt-model train-reader CONFIG`."""

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmt_model.training.command import told_to_stop

if TYPE_CHECKING:
    from rmt_model.training.span_run import ReaderRun

__all__ = ["add_train_reader"]


def add_train_reader(commands: Any) -> None:
    """Add the command to `rmt-model`."""
    about = "Train an encoder with memory to point at answers; started again, it goes on where it was."
    parser = commands.add_parser("train-reader", help=about, description=about)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file; docs/training.md")
    parser.add_argument(
        "--export", action="store_true", help="write the checkpoint of the state as it was last saved; train no further"
    )
    parser.set_defaults(run=_train_reader)


def _train_reader(options: argparse.Namespace) -> None:
    # Imported here: torch takes seconds, and --help does not need it.
    import torch

    from rmt_model.allocator import keep_freed_memory
    from rmt_model.training.span_config import ReaderConfig
    from rmt_model.training.span_run import ReaderRun

    config = ReaderConfig.read(options.config)
    keep_freed_memory()
    torch.set_num_threads(config.threads)
    run = ReaderRun(config)
    if not options.export and not _trained_to_the_end(run):
        sys.stderr.write(f"saved at step {run.steps_done} of {run.steps}; the same command goes on from there\n")
        return
    sys.stdout.write(f"{run.save_checkpoint()}\n")


def _trained_to_the_end(run: "ReaderRun") -> bool:
    """Train, with a progress bar; False if a signal to stop came first, and then it has saved."""
    from tqdm import tqdm

    bar = tqdm(initial=run.steps_done, total=run.steps, unit="step", file=sys.stderr, mininterval=1.0)
    with told_to_stop() as told, bar, closing(run.train()) as records:
        for record in records:
            bar.set_postfix_str(
                f"stage {record['stage']}, {record['segments']} x {record['tokens']}: "
                f"loss {record['loss']:.3f}, right {record['right']:.2f}"
            )
            bar.update()
            if told.is_set() and bar.n < run.steps:
                return False
    return True
