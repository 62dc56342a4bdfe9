"""`rmt-model train CONFIG`."""

import argparse
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_train"]


def add_train(commands: Any) -> None:
    """Add the command to `rmt-model`."""
    about = "Train memory into a backbone, or a checkpoint further; started again, it goes on where it was."
    parser = commands.add_parser("train", help=about, description=about)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file; docs/training.md")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    # Imported here: torch and transformers take seconds, and --help needs none.
    from tqdm import tqdm

    from rmt_model.allocator import keep_freed_memory
    from rmt_model.training.config import TrainingConfig
    from rmt_model.training.run import prepare

    keep_freed_memory()
    run = prepare(TrainingConfig.read(options.config))
    done = run.trainer.progress.step
    with tqdm(initial=done, total=done + run.steps_left, unit="step", file=sys.stderr, mininterval=1.0) as bar:
        for record in run.trainer.train():
            bar.total = max(bar.n + 1, run.trainer.progress.step + run.steps_left)
            bar.set_postfix_str(
                f"stage {record['stage']}, {record['mode']} over {record['segments']} x {record['segment_tokens']}: "
                f"loss {record['loss']:.3f}, right {record['accuracy']:.2f}"
            )
            bar.update()
    sys.stdout.write(f"{run.save_checkpoint()}\n")
