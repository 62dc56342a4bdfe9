"""`rmt-model eval`: one subcommand for each task. Results, table, JSON and plot go to `--out`, the table to stdout."""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rmt_model.config import DtypeName
from rmt_model.data.paper import PAPER_TASKS
from rmt_model.errors import DataError
from rmt_model.evaluation.lengths import length_label, parse_length

if TYPE_CHECKING:
    from rmt_model.data.documents import Document
    from rmt_model.evaluation.bench import Bench

# Each command imports what it needs when it runs: torch and transformers take seconds, and --help needs none.

__all__ = ["add_calibrate", "add_eval"]

Commands = Any  # argparse names the type of `add_subparsers` in private only


def add_eval(commands: Commands, *, checkpoint: str) -> None:
    """Add `eval` with its tasks to the program's commands; `checkpoint` is measured unless another is named."""
    about = "Measure what a checkpoint can answer and predict, against length."
    parser = commands.add_parser("eval", help=about, description=about)
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    for add in (_add_paper, _add_babilong, _add_samples, _add_qa, _add_lm, _add_planted):
        _add_common(add(tasks), checkpoint)


def _task(tasks: Commands, name: str, run: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = tasks.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser


def _add_common(parser: argparse.ArgumentParser, checkpoint: str) -> None:
    add = parser.add_argument
    add("--checkpoint", default=checkpoint, metavar="NAME_OR_DIR", help="default: %(default)s")
    add("--out", type=Path, required=True, help="folder of results; the same one resumes, and joins all its figures")
    add("--samples", type=_positive, default=100, help="samples for each figure; default: %(default)s")
    add("--seed", type=int, default=1, help="chooses the examples; default: %(default)s")
    add("--lanes", type=_positive, default=8, help="documents read side by side; default: %(default)s")
    add("--device", default="auto", help="cpu, cuda or auto; default: %(default)s")
    add("--dtype", choices=get_args(DtypeName), default="auto", help="default: %(default)s")


def _add_mode(parser: argparse.ArgumentParser) -> None:
    about = "question before every segment (focus), behind the last only (recall), or first and last (both)"
    parser.add_argument("--mode", choices=("focus", "recall", "both"), default="focus", help=f"{about}; %(default)s")


def _add_books(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    about = "folder of texts First_Last_Title.txt; those of held-out authors are used"
    parser.add_argument("--books", type=Path, required=required, metavar="FOLDER", help=about)
    parser.add_argument("--all-books", action="store_true", help="use the books of all authors")


def _add_lengths(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--lengths", type=_length, nargs="+", required=True, metavar="TOKENS", help=about)


def _add_segments(parser: argparse.ArgumentParser, least: Callable[[str], int], about: str) -> None:
    parser.add_argument("--segments", type=least, nargs="+", required=True, metavar="N", help=about)


def _add_paper(tasks: Commands) -> argparse.ArgumentParser:
    parser = _task(tasks, "paper", _paper, "The paper's three memory tasks, by number of segments.")
    names = ", ".join(PAPER_TASKS)
    parser.add_argument(
        "--tasks", nargs="+", choices=PAPER_TASKS, default=PAPER_TASKS, metavar="TASK", help=f"{names}; default: all"
    )
    _add_segments(parser, _positive, "segments of the checkpoint's own length, as 1 4 16 64")
    _add_books(parser)
    _add_mode(parser)
    return parser


def _paper(options: argparse.Namespace) -> None:
    from rmt_model.evaluation.paper import PaperExamples

    with _bench(options) as bench:
        books, size = bench.books(options), bench.engine.checkpoint.config.segment_tokens
        for task in options.tasks:
            for segments in options.segments:
                text = books.sentences(segments * size)
                given = {"segment_tokens": size, "seed": options.seed, "books": books.digest}
                bench.ask(PaperExamples(task, segments, text, bench.encode, **given), options.mode)


def _add_babilong(tasks: Commands) -> argparse.ArgumentParser:
    parser = _task(tasks, "babilong", _babilong, "BABILong: stories of bAbI scattered in books, by tokens.")
    parser.add_argument("--babi", type=Path, required=True, metavar="FOLDER", help="folder of bAbI's qa*_train.txt")
    parser.add_argument("--tasks", nargs="+", type=_babi_task, required=True, metavar="TASK", help="as qa1 qa2")
    parser.add_argument(
        "--split",
        choices=("validation", "all"),
        default="validation",
        help="every tenth story, or all of a folder that is not trained on; default: %(default)s",
    )
    _add_lengths(parser, "tokens of the documents, as 0k 4k 128k 1M; 0k is the story alone")
    _add_books(parser, required=False)
    _add_mode(parser)
    return parser


def _babilong(options: argparse.Namespace) -> None:
    from rmt_model.evaluation.babilong import BabilongExamples, BabiTask

    with _bench(options) as bench:
        books = bench.books(options) if any(options.lengths) else None
        for number in options.tasks:
            babi = BabiTask(options.babi, number, options.split, bench.encode)
            for length in options.lengths:
                text, digest = bench.haystack(books, length)
                given = {"seed": options.seed, "books": digest, "pointed": bench.points}
                examples = BabilongExamples(babi, length, text, **given)
                for count, why in (
                    (examples.left_out, "stories are longer, and left out"),
                    (examples.unsaid, "answers are no word of the story, and left out"),
                ):
                    if count:
                        left_out = f"{count} of {len(babi.questions)} {why}"
                        sys.stderr.write(f"babilong qa{number} {length_label(length)}: {left_out}\n")
                bench.ask(examples, options.mode)


def _add_samples(tasks: Commands) -> argparse.ArgumentParser:
    about = "BABILong's own samples, as they are published; writes results as its scripts read them."
    parser = _task(tasks, "babilong-samples", _samples, about)
    about = "folder of RMT-team/babilong: files qa1/4k.json, there or in `data`"
    parser.add_argument("--files", type=Path, required=True, metavar="FOLDER", help=about)
    parser.add_argument("--tasks", nargs="+", type=_babi_task, required=True, metavar="TASK", help="as qa1 qa2")
    _add_lengths(parser, "lengths that there are files of, as 0k 4k 128k 1M")
    _add_mode(parser)
    return parser


def _samples(options: argparse.Namespace) -> None:
    from rmt_model.evaluation.samples import SampleExamples, find_samples, write_results

    files = [(f"qa{number}", length_label(length)) for number in options.tasks for length in options.lengths]
    found = [(find_samples(options.files, *one), *one) for one in files]
    with _bench(options) as bench:
        folder = options.out / "babilong_evals" / bench.engine.served.name
        for path, task, label in found:
            file = bench.ask(SampleExamples(path, task, label, bench.encode), options.mode)
            sys.stderr.write(f"{write_results(folder, file, options.mode)}\n")


def _add_qa(tasks: Commands) -> argparse.ArgumentParser:
    parser = _task(tasks, "qa", _qa, "F1 and exact match on real documents, alone or in a haystack.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--squad", type=Path, metavar="FILE", help="JSON in the form of SQuAD 1.1")
    source.add_argument("--lines", type=Path, metavar="FILE", help="JSON lines {document, question, answer}")
    source.add_argument("--fairytaleqa", type=Path, metavar="FOLDER", help="section-stories and questions")
    parser.add_argument("--part", default="val", help="part of FairytaleQA; default: %(default)s")
    parser.add_argument(
        "--articles",
        choices=("all", "first-half", "second-half"),
        default="all",
        help="all, those at even places (which are trained on), or at odd ones; default: %(default)s",
    )
    _add_lengths(parser, "0 reads each document alone; 16k in a haystack of so many tokens")
    _add_books(parser, required=False)
    _add_mode(parser)
    return parser


def _qa(options: argparse.Namespace) -> None:
    from rmt_model.evaluation.qa import DocumentExamples, chosen

    with _bench(options) as bench:
        group, every = _documents(options)
        documents = chosen(every, options.articles)
        books = bench.books(options) if any(options.lengths) else None
        settings = {"articles": options.articles} | ({"part": options.part} if options.fairytaleqa else {})
        for length in options.lengths:
            text, digest = bench.haystack(books, length)
            given = {**settings, "books": digest}
            examples = DocumentExamples(group, documents, length, text, bench.encode, seed=options.seed, settings=given)
            bench.ask(examples, options.mode)


def _documents(options: argparse.Namespace) -> "tuple[str, list[Document]]":
    from rmt_model.data.documents import read_fairytales, read_lines, read_squad

    if options.squad:
        return "squad", read_squad(options.squad)
    if options.lines:
        return "lines", read_lines(options.lines)
    return "fairytaleqa", read_fairytales(options.fairytaleqa, options.part)


def _add_lm(tasks: Commands) -> argparse.ArgumentParser:
    parser = _task(tasks, "lm", _lm, "Perplexity of a segment, by number of segments that were read before it.")
    _add_segments(parser, _count, "segments read before, as 0 1 2 4 8; improvement is against 0")
    about = "targets stand so many segments into a book; default: the most of --segments"
    parser.add_argument("--reach", type=_count, metavar="N", help=about)
    _add_books(parser)
    return parser


def _lm(options: argparse.Namespace) -> None:
    from rmt_model.evaluation.lm import Perplexity

    with _bench(options) as bench:
        books = bench.books(options)
        reach = max(options.segments) if options.reach is None else options.reach
        for segments in options.segments:
            bench.run(Perplexity(bench.decoder, books, segments, reach=reach, seed=options.seed))


def _add_planted(tasks: Commands) -> argparse.ArgumentParser:
    parser = _task(tasks, "planted", _planted, "Planted facts anywhere in books, with words that are not trained on.")
    about = "kinds of facts: those that are trained on, those that never are, or all; default: %(default)s"
    parser.add_argument("--kinds", choices=("seen", "unseen", "all"), default="seen", help=about)
    about = "other facts in each document; default: %(default)s"
    parser.add_argument("--others", type=_count, default=4, metavar="N", help=about)
    about = "leave the fact out that is asked for: nothing is scored, but `rmt-model calibrate` learns from it"
    parser.add_argument("--absent", action="store_true", help=about)
    _add_lengths(parser, "tokens of the documents, as 1k 16k")
    _add_books(parser)
    _add_mode(parser)
    return parser


def _planted(options: argparse.Namespace) -> None:
    from rmt_model.data.facts import KINDS, SEEN_KINDS, UNSEEN_KINDS
    from rmt_model.evaluation.planted import PlantedExamples

    kinds = {"seen": SEEN_KINDS, "unseen": UNSEEN_KINDS, "all": tuple(KINDS)}[options.kinds]
    with _bench(options) as bench:
        books = bench.books(options)
        for length in options.lengths:
            text = books.sentences(length)
            given = {"others": options.others, "seed": options.seed, "books": books.digest, "absent": options.absent}
            bench.ask(PlantedExamples(options.kinds, kinds, length, text, bench.encode, **given), options.mode)


def add_calibrate(commands: Commands, *, checkpoint: str) -> None:
    """Add `calibrate` to the program's commands."""
    about = "Learn from results of `eval` what a checkpoint's probabilities mean; half of them are for the report."
    parser = commands.add_parser("calibrate", help=about, description=about)
    parser.add_argument("results", type=Path, metavar="FOLDER", help="the --out of `eval`")
    parser.add_argument("--checkpoint", default=checkpoint, metavar="NAME_OR_DIR", help="default: %(default)s")
    about = "below this confidence an answer counts as not in the document; default: %(default)s"
    parser.add_argument("--least", type=_share, default=0.33, metavar="CONFIDENCE", help=about)
    about = "from this confidence on `auto` does not reread; default: %(default)s"
    parser.add_argument("--trusted", type=_share, default=0.8, metavar="CONFIDENCE", help=about)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="reliability diagram, .svg or .png")
    parser.add_argument("--write", action="store_true", help="write calibration.json into the checkpoint")
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    _require_matplotlib()
    from rmt_model.calibration import CALIBRATION_FILE
    from rmt_model.checkpoint import find_checkpoint, load_checkpoint
    from rmt_model.evaluation.calibrating import calibrate, plot_reliability, table_of_calibration

    directory = find_checkpoint(options.checkpoint)
    fingerprint = load_checkpoint(directory).fingerprint
    calibration, files = calibrate(options.results, fingerprint, least=options.least, trusted=options.trusted)
    if options.plot:
        plot_reliability(calibration, files, options.plot, title=f"{directory.name}, examples that were not fitted to")
    if options.write:
        whole = directory / f"{CALIBRATION_FILE}.new"
        whole.write_text(calibration.to_json(), "utf-8")
        whole.replace(directory / CALIBRATION_FILE)
    sys.stdout.write(table_of_calibration(calibration, files))


def _require_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError("matplotlib, which draws the plot, is not installed: pip install 'rmt-model[train]'")


@contextmanager
def _bench(options: argparse.Namespace) -> "Iterator[Bench]":
    """What measures; its report is written at the end, also where something failed before."""
    _require_matplotlib()
    from rmt_model.evaluation.bench import Bench

    bench = Bench.of(options)
    try:
        yield bench
    finally:
        table = bench.report()
    sys.stdout.write(table)


def _length(text: str) -> int:
    try:
        return parse_length(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("a number from 1 is wanted, not 0")
    return int(text)


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 to 1")
    return number


def _babi_task(text: str) -> int:
    number = text.removeprefix("qa")
    if not number.isdecimal() or not 1 <= int(number) <= 20:
        raise argparse.ArgumentTypeError(f"'{text}' is no task of bAbI: they are qa1 to qa20")
    return int(number)
