"""`rmt-model train CONFIG`."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmt_model.training.run import TrainingRun

__all__ = ["add_train", "told_to_stop"]


def add_train(commands: Any) -> None:
    """Add the command to `rmt-model`."""
    about = "Train memory into a backbone, or a checkpoint further; started again, it goes on where it was."
    parser = commands.add_parser("train", help=about, description=about)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file; docs/training.md")
    parser.add_argument(
        "--export", action="store_true", help="write the checkpoint of the state as it was last saved; train no further"
    )
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    # Imported here: torch and transformers take seconds, and --help needs none.
    from rmt_model.allocator import keep_freed_memory
    from rmt_model.errors import TrainingError
    from rmt_model.training.config import TrainingConfig
    from rmt_model.training.run import prepare

    keep_freed_memory()
    run = prepare(TrainingConfig.read(options.config))
    if options.export:
        if run.trainer.progress.step == 0:
            raise TrainingError(f"{run.trainer.state_file} is not there yet: nothing was trained")
    elif not _trained_to_the_end(run):
        run.trainer.save()
        sys.stderr.write(f"saved at step {run.trainer.progress.step}; the same command goes on from there\n")
        return
    sys.stdout.write(f"{run.save_checkpoint()}\n")


def _trained_to_the_end(run: "TrainingRun") -> bool:
    """Train, with a progress bar; False if a signal to stop came first."""
    from tqdm import tqdm

    done = run.trainer.progress.step
    bar = tqdm(initial=done, total=done + run.steps_left, unit="step", file=sys.stderr, mininterval=1.0)
    with told_to_stop() as told, bar:
        for record in run.trainer.train():
            bar.total = max(bar.n + 1, run.trainer.progress.step + run.steps_left)
            bar.set_postfix_str(
                f"stage {record['stage']}, {record['mode']} over {record['segments']} x {record['segment_tokens']}: "
                f"loss {record['loss']:.3f}, right {record['accuracy']:.2f}"
            )
            bar.update()
            if told.is_set() and run.steps_left:
                return False
    return True


@contextmanager
def told_to_stop() -> Iterator[Event]:
    """Set by the first SIGINT or SIGTERM, so that the step under way is finished; a second one ends the process."""
    told = Event()

    def stop(number: int, _: object) -> None:
        told.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
