"""Traces: of planted facts in long documents, how often is the right segment named, and how long does that take?

    python -m benchmarks.traces --books FOLDER --out FILE [--documents 25] [--facts 8] [--tokens 50000] [--afterwards]

A real server with a bundled checkpoint. Each document is text of held-out books with facts at random places, whose
words are not trained on; the questions are its focuses, or with `--afterwards` come when it is read. The segment is
right if the fact stands in it, at least in part. `--out` has a JSON line for each trace; the same command goes on where
it was.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from benchmarks import serving
from tokenizers import Tokenizer

from rmt_model.answering import bare
from rmt_model.backbone import load_tokenizer
from rmt_model.data.facts import SEEN_KINDS, Fact, draw_facts
from rmt_model.data.haystack import Layout, hide
from rmt_model.data.planted import story_of_facts
from rmt_model.evaluation.books import Books
from rmt_model.evaluation.examples import rng_of
from rmt_model.evaluation.scoring import wilson

_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Traced:
    """What came out of one fact."""

    document: int
    question: str
    expected: str
    answered: str | None
    right: bool
    segment_right: bool
    verified: bool
    excerpt: str
    probes: int
    seconds: float


def document(
    number: int, facts: int, tokens: int, books: Books, tokenizer: Tokenizer
) -> tuple[str, list[tuple[Fact, range]]]:
    """A text with facts in it, and the bytes that each takes."""
    rng = rng_of("traces", number, facts, tokens)
    planted = draw_facts(rng, "validation", facts, SEEN_KINDS)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    story = story_of_facts(planted, planted[:1])
    hidden = hide(rng, story, books.sentences(tokens), encode, Layout(tokens))
    text = tokenizer.decode(list(hidden.ids))
    places = []
    for fact in planted:
        at = text.index(fact.statement)
        start = len(text[:at].encode())
        places.append((fact, range(start, start + len(fact.statement.encode()))))
    return text, places


def traces(
    http: httpx.Client, number: int, text: str, places: Sequence[tuple[Fact, range]], *, afterwards: bool
) -> Iterator[Traced]:
    """Have the server read a document, and trace what is asked of it."""
    focus = [] if afterwards else [fact.question for fact, _ in places]
    sid = http.post("/v1/sessions", json={"focus": focus}).raise_for_status().json()["id"]
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    http.post(f"/v1/sessions/{sid}/documents", params={"wait": True}, content=text.encode(), headers=plain)
    for fact, place in places:
        started = time.monotonic()
        answer = http.post(f"/v1/sessions/{sid}/traces", json={"question": fact.question}).raise_for_status()
        found = answer.json()
        start, stop = found["bytes"] or (0, 0)
        yield Traced(
            document=number,
            question=fact.question,
            expected=fact.answer,
            answered=found["answer"],
            right=bare(found["answer"]) == bare(fact.answer),
            segment_right=max(start, place.start) < min(stop, place.stop),
            verified=found["verified"],
            excerpt=found["excerpt"],
            probes=len(found["probes"]),
            seconds=time.monotonic() - started,
        )
    http.delete(f"/v1/sessions/{sid}")


def table(done: Sequence[Traced]) -> str:
    """What came out, in lines."""
    right = [one for one in done if one.right]
    named = [one for one in right if one.segment_right]
    verified = [one for one in right if one.verified]
    shown = [one for one in named if bare(one.expected) in one.excerpt.casefold()]
    low, high = wilson(len(named), len(right))
    wrong_but_verified = sum(one.verified and not one.segment_right for one in done)
    return (
        f"facts {len(done)}, answered rightly {len(right)}\n"
        f"of the right answers: segment named rightly {len(named)} ({len(named) / max(1, len(right)):.1%}, "
        f"95 % interval {low:.1%} to {high:.1%}); verified {len(verified)}; "
        f"the fact's answer in the excerpt {len(shown)}\n"
        f"verified but not the fact's segment, of all {len(done)}: {wrong_but_verified}\n"
        f"a trace: median {statistics.median(one.seconds for one in done):.2f} s, "
        f"longest {max(one.seconds for one in done):.2f} s; "
        f"memories asked: median {statistics.median(one.probes for one in done):.0f}\n"
    )


def main() -> int:
    """Run the benchmark; 1 where fewer than 95 % of the right answers have the right segment."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=25)
    parser.add_argument("--facts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=50_000)
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--afterwards", action="store_true", help="ask when the document has been read")
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = [Traced(**json.loads(line)) for line in lines]
    tokenizer = load_tokenizer("smollm2-135m-instruct")
    books = Books(options.books, tokenizer)
    with (
        serving.server(options.checkpoint, dtype="fast") as served,
        httpx.Client(base_url=served.url, timeout=_TIMEOUT_S) as http,
    ):
        for number in range(options.documents):
            if any(one.document == number for one in done):
                continue
            text, places = document(number, options.facts, options.tokens, books, tokenizer)
            new = list(traces(http, number, text, places, afterwards=options.afterwards))
            with options.out.open("a") as file:
                file.writelines(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in new)
            done += new
            print(f"after document {number}:\n{table(done)}", file=sys.stderr)
    print(table(done), end="")
    right = [one for one in done if one.right]
    return 0 if sum(one.segment_right for one in right) >= 0.95 * len(right) else 1


if __name__ == "__main__":
    sys.exit(main())
