"""How well questions about real text are answered: SQuAD, FairytaleQA, COVID-QA, Molweni, and ordinary questions.

    python -m benchmarks.reading_quality DATA [--checkpoint rmt-minilm] [--llama FOLDER] [--focus] [--whole]
        [--windows 8] [--only squad] [--most 200] [--ordinary FOLDER] [--answers FILE] [--out FILE]

DATA has the data sets under the names that docs/training.md gives them; only what was held out of training is asked.
Texts are indexed as the server does, in this process. Who reads the windows that a search finds:

* a checkpoint that points: each window alone, as the server does; with `--focus` one after another, with the question
  as the focus;
* a checkpoint that writes: one after another, with the question as the focus;
* `--llama`: llama.cpp with a small language model; `python -m benchmarks.llama FOLDER` makes the folder.

With `--whole` the whole text is read instead of windows. Every share has n and a 95 % interval.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import torch
from benchmarks import report
from benchmarks.llama import LlamaReader
from benchmarks.ordinary.judge import is_right, load_documents, load_questions
from benchmarks.readers import Focused, Pointing, Reader, Said

from rmt_model.allocator import keep_freed_memory
from rmt_model.data.background import split_by_author
from rmt_model.data.corpora import read_fairytales, read_molweni, read_squad
from rmt_model.data.passages import Passage
from rmt_model.engines import load_engine
from rmt_model.errors import QuestionError
from rmt_model.evaluation.scoring import exact_match, token_f1, wilson
from rmt_model.span_engine import SpanEngine, Window
from rmt_server.search.text_index import TextIndex
from rmt_server.search.words import query_words
from rmt_server.service.evidence import WINDOWS

PARAGRAPH = "squad paragraph"
"""Questions of which the paragraph is given: it is read whole."""
_SEED = 2304


@dataclass(frozen=True)
class Case:
    """A question, what counts as right (nothing: it has no answer here), and the text that is asked."""

    group: str
    question: str
    answers: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Judged:
    """What came back for a case: the best place's words, how sure, and how good they are."""

    group: str
    question: str
    answers: tuple[str, ...]
    said: str
    known: bool
    score: float
    margin: float
    f1: float
    exact: float
    right: bool
    seconds: float


class IndexedText:
    """A text as the server indexes it."""

    def __init__(self, text: str) -> None:
        self._data = text.encode()
        self._index = TextIndex(None)
        self._index.feed(self._data, [len(self._data)])
        self._index.commit()

    def windows(self, question: str, count: int) -> list[Window]:
        """The passages that match a question best, the best first."""
        words = query_words(question)
        hits = self._index.search(words, count, None) if words else []
        places = [hit.place for hit in hits]
        return [Window(self._data[one.start : one.end].decode(errors="replace"), one.start) for one in places]


def judged(reader: Reader, cases: Sequence[Case], windows: int | None) -> Iterator[Judged]:
    """Ask each case: what a search finds is read, so many windows; None: the whole text.

    Cases of one text follow one another, so that it is indexed once.
    """
    text, indexed = "", IndexedText("")
    for case in cases:
        if case.text != text and windows is not None:
            text, indexed = case.text, IndexedText(case.text)
        started_s = time.perf_counter()
        found = [Window(case.text, 0)] if windows is None else indexed.windows(case.question, windows)
        try:
            said = reader(case.question, found)
        except QuestionError:  # too long to be asked
            said = Said("", known=False)
        yield _judged(case, said, time.perf_counter() - started_s)


def _judged(case: Case, said: Said, seconds: float) -> Judged:
    right, f1, exact = False, 0.0, 0.0
    if case.answers:
        right, f1 = is_right(said.text, case.answers), token_f1(said.text, case.answers)
        exact = float(exact_match(said.text, case.answers))
    return Judged(
        group=case.group,
        question=case.question,
        answers=case.answers,
        said=said.text,
        known=said.known,
        score=said.score,
        margin=said.margin,
        f1=f1,
        exact=exact,
        right=right,
        seconds=seconds,
    )


def cases_of(group: str, passages: Sequence[Passage], most: int) -> list[Case]:
    """Answerable questions of some passages, as many as wanted, each text's together."""
    asked = [
        (number, one) for number, passage in enumerate(passages) for one in passage.questions if passage.answers(one)
    ]
    drawn = Random(_SEED).sample(asked, min(most, len(asked)))
    drawn.sort(key=lambda pair: pair[0])
    return [Case(group, one.text, passages[number].answers(one), passages[number].text) for number, one in drawn]


def unanswerable_cases(passages: Sequence[Passage], most: int) -> Iterator[Case]:
    """Questions of another document, and questions whose paragraph was taken out of their own."""
    rng = Random(_SEED)
    for group in ("foreign", "paragraph out"):
        for _ in range(most):
            passage = rng.choice(passages)
            asked = rng.choice([one for one in passage.questions if one.spans])
            other = rng.choice([one for one in passages if one is not passage]) if group == "foreign" else passage
            text = other.text if group == "foreign" else _without(passage.text, asked.spans[0][0])
            yield Case(group, asked.text, (), text)


def _without(text: str, place: int) -> str:
    start, end = text.rfind("\n\n", 0, place), text.find("\n\n", place)
    return text[: max(0, start)] + (text[end:] if end >= 0 else "")


def measurements(data: Path, most: int) -> Iterator[tuple[str, list[Case]]]:
    """Name and cases of each measurement."""
    file = data / "squad" / "squad-v1.1-dev-36-articles.json"
    yield PARAGRAPH, cases_of("squad", read_squad(file, "squad", "validation", joined=False), most)
    articles = read_squad(file, "squad", "validation")
    yield "squad article", cases_of("squad", articles, most)
    yield "squad all articles and a novel", in_one_document(articles, data / "books", most)
    for explicit in (False, True):
        stories = read_fairytales(data / "fairytaleqa", "validation", explicit_only=explicit)
        yield f"fairytaleqa {'explicit' if explicit else 'all'}", cases_of("fairytaleqa", stories, most)
    papers = read_squad(data / "covidqa" / "covid-qa-70-papers.json", "covidqa", "validation", one_in=7)
    yield "covidqa", cases_of("covidqa", papers, most)
    chats = read_molweni(data / "molweni" / "molweni-mrc-70-dialogues.json", "validation")
    yield "molweni", cases_of("molweni", chats, most)
    yield "unanswerable", sorted(unanswerable_cases(articles, most // 2), key=lambda one: one.text)


def in_one_document(articles: Sequence[Passage], books: Path, most: int) -> list[Case]:
    """Questions of articles that are asked of all of them in one document, with a held-out novel behind them."""
    novel = next(path for path in split_by_author(books.glob("*.txt"))[1] if path.stat().st_size > 400_000)
    joined = "\n\n".join(one.text for one in articles) + "\n\n" + novel.read_text(encoding="utf-8")
    return [replace(one, text=joined) for one in cases_of("squad", articles, most)]


def ordinary_cases(data: Path) -> list[Case]:
    """The 80 ordinary questions."""
    texts = load_documents(data)
    return [Case(one.document, one.question, one.answers, texts[one.document]) for one in load_questions()]


def summary(found: Sequence[Judged]) -> dict[str, object]:
    """Figures of a measurement."""
    answerable = [one for one in found if one.answers]
    rest = [one for one in found if not one.answers]
    seconds = sorted(one.seconds for one in found)
    figures: dict[str, object] = {"n": len(found), "median_s": round(seconds[len(seconds) // 2], 3)}
    if answerable:
        figures["f1"] = f1_of(answerable)
        figures["exact_match"] = round(100 * sum(one.exact for one in answerable) / len(answerable), 1)
        figures["right"] = _share([one.right and one.known for one in answerable])
        figures["wrong and asserted"] = _share([not one.right and one.known for one in answerable])
        figures["right ones withheld"] = _share([not one.known for one in answerable if one.right])
    for group in sorted({one.group for one in rest}):
        figures[f"withheld: {group}"] = _share([not one.known for one in rest if one.group == group])
    return figures


def f1_of(found: Sequence[Judged]) -> tuple[float, float]:
    """Mean F1 in percent, and half of its 95 % interval."""
    values = torch.tensor([one.f1 for one in found])
    return round(100 * float(values.mean()), 1), round(196 * float(values.std()) / math.sqrt(len(values)), 1)


def _share(values: Sequence[bool]) -> list[float]:
    low, high = wilson(sum(values), len(values)) if values else (0.0, 1.0)
    return [round(100 * one, 1) for one in (sum(values) / max(1, len(values)), low, high)] + [len(values)]


def reader_of(options: argparse.Namespace) -> Reader:
    """Who reads, by the arguments."""
    if options.llama:
        return LlamaReader(options.llama, torch.get_num_threads())
    engine = load_engine(options.checkpoint, dtype=options.dtype)
    return Pointing(engine) if isinstance(engine, SpanEngine) and not options.focus else Focused(engine)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", default="auto")
    parser.add_argument("--llama", type=Path, help="folder that benchmarks.llama made: llama.cpp reads, no checkpoint")
    parser.add_argument("--focus", action="store_true", help="read for the question, also where the checkpoint points")
    parser.add_argument("--whole", action="store_true", help="read the whole text, and search nothing")
    parser.add_argument("--dtype", default="fast")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--most", type=int, default=200, help="questions of each measurement")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="names of measurements, or their first words")
    parser.add_argument("--ordinary", type=Path, help="folder of the ordinary questions' documents")
    parser.add_argument("--answers", type=Path, help="write every question with what was answered")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    reader = reader_of(options)
    everything = list(measurements(options.data, options.most))
    if options.ordinary:
        everything.append(("ordinary", ordinary_cases(options.ordinary)))
    results: dict[str, object] = {}
    answers: dict[str, object] = {}
    for name, cases in everything:
        if options.only and name not in options.only and name.split()[0] not in options.only:
            continue
        windows = None if options.whole or name == PARAGRAPH else options.windows
        found = list(judged(reader, cases, windows))
        results[name], answers[name] = summary(found), [asdict(one) for one in found]
        sys.stdout.write(f"{name}: {json.dumps(results[name])}\n")
        sys.stdout.flush()
        known = {key: str(value) for key, value in vars(options).items()}
        report.write(options.out, "reading_quality", options=known, measurements=results)
        if options.answers:
            options.answers.write_text(json.dumps(answers, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
