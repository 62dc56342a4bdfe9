"""How well questions about real text are answered: SQuAD, FairytaleQA, COVID-QA, Molweni, and ordinary questions.

    python -m benchmarks.reading_quality DATA [--checkpoint rmt-minilm] [--only squad] [--ordinary FOLDER] [--out FILE]

DATA has the data sets under the names that docs/training.md gives them; only what was held out of training is asked.
Texts are indexed and windows read as the server does, in this process. Every share has n and a 95 % interval.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import torch
from benchmarks.ordinary.judge import is_right, load_documents, load_questions

from rmt_model.allocator import keep_freed_memory
from rmt_model.answering import Answer, Question, answer, pointed_answer
from rmt_model.checkpoint import find_checkpoint
from rmt_model.data.background import split_by_author
from rmt_model.data.corpora import read_fairytales, read_molweni, read_squad
from rmt_model.data.passages import Passage
from rmt_model.encoder_checkpoint import load_encoder_checkpoint
from rmt_model.errors import QuestionError
from rmt_model.evaluation.scoring import exact_match, token_f1, wilson
from rmt_model.pointers import Pointer
from rmt_model.span_engine import SpanEngine, Window
from rmt_server.search.text_index import TextIndex
from rmt_server.search.words import query_words
from rmt_server.service.citations import trimmed
from rmt_server.service.evidence import WINDOWS, best_pointers

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
        return [Window(self.text(hit.place.start, hit.place.end), hit.place.start) for hit in hits]

    def text(self, start: int, end: int) -> str:
        """What some bytes hold."""
        return self._data[start:end].decode(errors="replace")

    def answer(self, pointer: Pointer) -> str:
        """A pointer's words, as they are written."""
        inside = self.text(pointer.start, pointer.end)
        first, last = trimmed(inside, 0, len(inside))
        return inside[first:last]


def searched(engine: SpanEngine, text: IndexedText, question: str, windows: int) -> Answer:
    """What the server's search answers."""
    stretches = text.windows(question, windows)
    read = engine.read_windows(question, stretches) if stretches else []
    places = best_pointers(read, engine.checkpoint.calibration.rank_weight)
    return pointed_answer(engine, places, way="search")


def gold(engine: SpanEngine, text: IndexedText, question: str, _: int) -> Answer:
    """A paragraph that is read whole, as one window."""
    read = engine.read_windows(question, [Window(text.text(0, 1 << 40), 0)])
    return pointed_answer(engine, best_pointers(read, 0.0), way="search")


def focused(engine: SpanEngine, text: IndexedText, question: str, _: int) -> Answer:
    """The whole text read with the question in front of every segment."""
    data, state = text.text(0, 1 << 40).encode(), engine.fresh_state([question])
    source, slots, prefixes = engine.source(state), engine.open(state.memory), engine.prefixes(state)
    try:
        source.feed(data)
        source.finish_document()
        while source.waiting:
            engine.read(engine.segment_rows(slots, prefixes, source.take()))
        return answer(engine, source.state(engine.memory(slots)), [Question(question)])[0]
    finally:
        engine.close(slots)


def judged(
    engine: SpanEngine, cases: Sequence[Case], way: Callable[..., Answer], windows: int = WINDOWS
) -> Iterator[Judged]:
    """Ask each case; cases of one text follow one another, so that it is indexed once."""
    text, indexed = "", IndexedText("")
    for case in cases:
        if case.text != text:
            text, indexed = case.text, IndexedText(case.text)
        started_s = time.perf_counter()
        try:
            found = way(engine, indexed, case.question, windows)
        except QuestionError:  # too long to be asked
            found = pointed_answer(engine, [], way="search")
        seconds = time.perf_counter() - started_s
        said = indexed.answer(found.pointers[0]) if found.pointers else ""
        scores = [one.score for one in found.pointers] or [-30.0]
        margin = scores[0] - scores[1] if len(scores) > 1 else 10.0
        right = is_right(said, case.answers) if case.answers else False
        f1 = token_f1(said, case.answers) if case.answers else 0.0
        exact = float(exact_match(said, case.answers)) if case.answers else 0.0
        yield Judged(
            case.group, case.question, case.answers, said, found.known, scores[0], margin, f1, exact, right, seconds
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


def measurements(data: Path, most: int) -> Iterator[tuple[str, list[Case], Callable[..., Answer]]]:
    """Name, cases and way of each measurement."""
    file = data / "squad" / "squad-v1.1-dev-36-articles.json"
    paragraphs, articles = (read_squad(file, "squad", "validation", joined=joined) for joined in (False, True))
    yield "squad paragraph", cases_of("squad", paragraphs, most), gold
    yield "squad article", cases_of("squad", articles, most), searched
    novel = next(path for path in split_by_author((data / "books").glob("*.txt"))[1] if path.stat().st_size > 400_000)
    joined = "\n\n".join(one.text for one in articles) + "\n\n" + novel.read_text(encoding="utf-8")
    yield (
        "squad all articles and a novel",
        [replace(one, text=joined) for one in cases_of("squad", articles, most)],
        searched,
    )
    for explicit in (False, True):
        stories = read_fairytales(data / "fairytaleqa", "validation", explicit_only=explicit)
        yield f"fairytaleqa {'explicit' if explicit else 'all'}", cases_of("fairytaleqa", stories, most), searched
    papers = read_squad(data / "covidqa" / "covid-qa-70-papers.json", "covidqa", "validation", one_in=7)
    yield "covidqa", cases_of("covidqa", papers, most), searched
    chats = read_molweni(data / "molweni" / "molweni-mrc-70-dialogues.json", "validation")
    yield "molweni", cases_of("molweni", chats, most), searched
    yield "unanswerable", sorted(unanswerable_cases(articles, most // 2), key=lambda one: one.text), searched


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
        values = torch.tensor([one.f1 for one in answerable])
        spread = 1.96 * float(values.std()) / math.sqrt(len(values))
        figures["f1"] = [round(100 * float(values.mean()), 1), round(100 * spread, 1)]
        figures["exact_match"] = round(100 * sum(one.exact for one in answerable) / len(answerable), 1)
        figures["right"] = _share([one.right and one.known for one in answerable])
        figures["wrong and asserted"] = _share([not one.right and one.known for one in answerable])
        figures["right ones withheld"] = _share([not one.known for one in answerable if one.right])
    for group in sorted({one.group for one in rest}):
        figures[f"withheld: {group}"] = _share([not one.known for one in rest if one.group == group])
    return figures


def _share(values: Sequence[bool]) -> list[float]:
    low, high = wilson(sum(values), len(values)) if values else (0.0, 1.0)
    return [round(100 * one, 1) for one in (sum(values) / max(1, len(values)), low, high)] + [len(values)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", default="auto")
    parser.add_argument("--dtype", default="fast")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--ordinary", type=Path, help="folder of the ordinary questions' documents")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    directory = find_checkpoint(options.checkpoint)
    engine = SpanEngine(load_encoder_checkpoint(directory, dtype=options.dtype))
    everything = list(measurements(options.data, options.most))
    if options.ordinary:
        everything.append(("ordinary", ordinary_cases(options.ordinary), searched))
    results: dict[str, object] = {}
    for name, cases, way in everything:
        if options.only and name not in options.only and name.split()[0] not in options.only:
            continue
        found = list(judged(engine, cases, way, options.windows))
        results[name] = {"summary": summary(found), "cases": [asdict(one) for one in found]}
        sys.stdout.write(f"{name}: {json.dumps(results[name]['summary'])}\n")  # type: ignore[index]
        sys.stdout.flush()
        if options.out:
            options.out.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
