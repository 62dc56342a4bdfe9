"""`rmt-model`: backbones and checkpoints, and documents read and asked without a server.

Results go to stdout, progress and errors to stderr; an error is one sentence and exit status 1.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rmt_model.config import DtypeName, RMTConfig
from rmt_model.errors import RmtModelError
from rmt_model.evaluation.command import add_calibrate, add_eval
from rmt_model.training.command import add_train
from rmt_model.training.span_command import add_train_reader

if TYPE_CHECKING:
    from rmt_model.lane_engine import LaneEngine

# Each command imports what it needs when it runs: torch and transformers take seconds, and --help needs none.

__all__ = ["DEFAULT_BACKBONE", "DEFAULT_CHECKPOINT", "main"]

DEFAULT_BACKBONE = "smollm2-135m-instruct"
DEFAULT_CHECKPOINT = "auto"
DEFAULT_DECODER = "rmt-smollm2-small"
"""What the evaluation of answers that are written takes."""

Commands = Any  # argparse names the type of `add_subparsers` in private only


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="rmt-model", description=__doc__.splitlines()[0].split(": ", 1)[1])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    own = (_add_pull, _add_inspect, _add_import, _add_read, _add_ask)
    for add in (*own, add_train, add_train_reader, _add_eval, _add_calibrate):
        add(commands)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("rmt_model").setLevel(logging.INFO)
    try:
        options.run(options)
    except RmtModelError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130
    return 0


def _failed(message: str) -> int:
    sys.stderr.write(f"rmt-model: {' '.join(message.split())}\n")
    return 1


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def _add_pull(commands: Commands) -> None:
    parser = _command(commands, "pull", _pull, "Bring a backbone onto this machine and print where it lies.")
    parser.add_argument("name", nargs="?", default=DEFAULT_BACKBONE, metavar="NAME", help="default: %(default)s")


def _pull(options: argparse.Namespace) -> None:
    from rmt_model.pull import pull

    sys.stdout.write(f"{pull(options.name)}\n")


def _add_inspect(commands: Commands) -> None:
    parser = _command(commands, "inspect", _inspect, "Show what a checkpoint is.")
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT_CHECKPOINT, metavar="NAME_OR_DIR")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _inspect(options: argparse.Namespace) -> None:
    from rmt_model.engines import load_any_checkpoint
    from rmt_model.recurrent import RecurrentMemoryTransformer

    checkpoint = load_any_checkpoint(options.checkpoint)
    model = checkpoint.model
    body = model.backbone if isinstance(model, RecurrentMemoryTransformer) else model.encoder
    facts = {
        "name": checkpoint.name,
        "fingerprint": checkpoint.fingerprint,
        "hidden": model.cell.initial.shape[1],
        "backbone_parameters": sum(parameter.numel() for parameter in body.parameters()),
        "memory_parameters": sum(parameter.numel() for parameter in model.cell.parameters()),
        "state_bytes_per_lane": model.cell.initial.numel() * 4,
        **asdict(checkpoint.config),
    }
    texts = {name: isinstance(value, str) and value.isprintable() for name, value in facts.items()}
    lines = [f"{name:22}{value if texts[name] else json.dumps(value)}" for name, value in facts.items()]
    sys.stdout.write(json.dumps(facts) + "\n" if options.json else "\n".join(lines) + "\n")


def _add_import(commands: Commands) -> None:
    about = "Turn a state dict of the official RMT code into a checkpoint directory."
    parser = _command(commands, "import-official", _import, about)
    parser.add_argument("source", type=Path, metavar="FILE", help="pytorch_model.bin or model.safetensors")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--base", required=True, help="backbone that was trained: a name, or a model directory")
    parser.add_argument("--memory-tokens", type=int, required=True, help="number of memory vectors")
    parser.add_argument(
        "--segment-tokens",
        type=int,
        required=True,
        help="document tokens in a segment, memory vectors not counted",
    )
    parser.add_argument("--layers", type=_layers, help="indices of the base's layers that were kept, as 0,1,2")
    parser.add_argument("--lora-alpha", type=float, help="as in training, for a file with LoRA matrices")
    parser.add_argument("--question-template", help="text with {question} that asks, as in training")
    parser.add_argument("--stop", help="text that ends an answer")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of stored weights")


def _layers(text: str) -> tuple[int, ...]:
    return tuple(int(index) for index in text.split(","))


def _import(options: argparse.Namespace) -> None:
    import torch

    from rmt_model.backbone import BACKBONES
    from rmt_model.official import import_official

    config = RMTConfig(
        base=options.base if options.base in BACKBONES else str(Path(options.base).resolve()),
        layers=options.layers,
        memory_tokens=options.memory_tokens,
        segment_tokens=options.segment_tokens,
    )
    given = {name: getattr(options, name) for name in ("question_template", "stop")}
    config = replace(config, **{name: value for name, value in given.items() if value is not None})
    dtype = getattr(torch, options.dtype)
    made = import_official(options.source, config, options.out_dir, lora_alpha=options.lora_alpha, dtype=dtype)
    sys.stdout.write(f"{made}\n")


def _add_read(commands: Commands) -> None:
    parser = _command(commands, "read", _read, "Read a text into a memory and print where the memory lies.")
    parser.add_argument("file", metavar="FILE", help="UTF-8 text; - reads stdin")
    parser.add_argument(
        "--focus",
        action="append",
        default=[],
        metavar="QUESTION",
        help="question known beforehand; may be repeated",
    )
    parser.add_argument("--out", type=Path, metavar="STATE", help="default: the file's name with .memory.safetensors")
    _add_engine_options(parser)


def _read(options: argparse.Namespace) -> None:
    from rmt_model.offline import ProgressLine, read_document

    from_stdin = options.file == "-"
    out = options.out or Path(f"{'stdin' if from_stdin else Path(options.file).stem}.memory.safetensors")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    with sys.stdin.buffer if from_stdin else Path(options.file).open("rb") as file:
        unfinished.touch()  # hours of reading are not the time to find out that this is impossible
        try:
            engine = _engine(options, lanes=max(1, len(options.focus)))
            progress = ProgressLine(sys.stderr, 0 if from_stdin else os.fstat(file.fileno()).st_size)
            state = read_document(engine, file, options.focus, report=progress.show)
            progress.finish(state)
            unfinished.write_bytes(state.to_bytes())
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    sys.stdout.write(f"{out}\n")


def _add_ask(commands: Commands) -> None:
    parser = _command(commands, "ask", _ask, "Ask a memory questions, and print an answer a line.")
    parser.add_argument("state", type=Path, metavar="STATE", help="what `rmt-model read` wrote")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the confidence")
    _add_engine_options(parser)


def _ask(options: argparse.Namespace) -> None:
    from rmt_model.answering import Question, answer
    from rmt_model.state import ReaderState

    state = ReaderState.from_bytes(options.state.read_bytes())
    engine = _engine(options, lanes=state.lanes)
    engine.check(state)
    answers = answer(engine, state, [Question(text) for text in options.questions])
    for question, found in zip(options.questions, answers, strict=True):
        facts = {"question": question, "lane": found.lane, "confidence": found.confidence, "known": found.known}
        line = json.dumps(facts | asdict(found.generation), ensure_ascii=False)
        said = " ".join(found.generation.text.split())
        plain = said if found.known else f"(not found; at best: {said})"
        sys.stdout.write(f"{line if options.json else plain}\n")


def _add_calibrate(commands: Commands) -> None:
    add_calibrate(commands, checkpoint=DEFAULT_DECODER)


def _add_eval(commands: Commands) -> None:
    add_eval(commands, checkpoint=DEFAULT_DECODER)


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, metavar="NAME_OR_DIR", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto; default: %(default)s")
    parser.add_argument("--dtype", choices=get_args(DtypeName), default="auto", help="default: %(default)s")


def _engine(options: argparse.Namespace, lanes: int) -> "LaneEngine":
    from rmt_model.allocator import keep_freed_memory
    from rmt_model.engines import load_engine

    keep_freed_memory()
    return load_engine(options.checkpoint, device=options.device, dtype=options.dtype, slots=lanes)


if __name__ == "__main__":
    sys.exit(main())
