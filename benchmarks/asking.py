"""Asking: what do focuses cost, does an answer take longer after a million tokens, and is a chat read once?

    python -m benchmarks.asking --books FOLDER [--tokens 1000000] [--checkpoint NAME] [--out FILE]

A real server with a bundled checkpoint, `fast` where the processor has bfloat16; every figure is taken by HTTP.

* focuses: a text of 12,000 tokens with 1, 4 and 16 of them; `ratio` is against as many readings with one.
* first word: of a streamed answer after 1,000 tokens and after `--tokens`, in turns, the median of 15.
* questions: 64 in one call against 64 calls.
* chat: OpenAI's form, a first message of 200,000 tokens; then another question on the same messages, the median of 5.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from benchmarks import report, serving

from rmt_model.backbone import load_tokenizer
from rmt_model.evaluation.books import Books

_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
_QUESTIONS = [f"Who has the {colour} key?" for colour in ("red", "blue", "green", "black")]
_TURNS = 15


class Asked:
    """A server that is asked, and the text that it reads."""

    def __init__(self, http: httpx.Client, ids: list[int], decode: Callable[[list[int]], str]) -> None:
        self._http = http
        self._ids = ids
        self._decode = decode
        self._taken = 0

    def text(self, tokens: int) -> str:
        """So many tokens of text that nobody has read yet, from its beginning again when there is no more."""
        if self._taken + tokens > len(self._ids):
            self._taken = 0
        self._taken += tokens
        return self._decode(self._ids[self._taken - tokens : self._taken])

    def read(self, tokens: int, focus: list[str]) -> tuple[str, float]:
        """A session that has read so many tokens, and how long that took in seconds."""
        sid = self._http.post("/v1/sessions", json={"focus": focus}).raise_for_status().json()["id"]
        content = self.text(tokens).encode()
        started = time.monotonic()
        url = f"/v1/sessions/{sid}/documents"
        self._http.post(url, params={"wait": True}, content=content, headers=_PLAIN).raise_for_status()
        while self._http.get(f"/v1/sessions/{sid}").json()["status"] != "idle":
            time.sleep(0.05)
        return str(sid), time.monotonic() - started

    def first_word(self, sid: str) -> float:
        """Seconds until the first event of a streamed answer has come."""
        body = {"question": _QUESTIONS[0], "stream": True, "max_tokens": 2, "wait": False}
        started = time.monotonic()
        with self._http.stream("POST", f"/v1/sessions/{sid}/answers", json=body) as answer:
            next(answer.iter_lines())
            return time.monotonic() - started

    def ask(self, sid: str, questions: list[str]) -> float:
        """Seconds for a call with these questions."""
        started = time.monotonic()
        body = {"questions": questions, "max_tokens": 8}
        self._http.post(f"/v1/sessions/{sid}/answers", json=body).raise_for_status()
        return time.monotonic() - started

    def chat(self, text: str, question: str) -> tuple[float, int, int]:
        """Seconds for a chat, its prompt's tokens, and those of them that had been read before."""
        model = self._http.get("/v1/models").json()["data"][0]["id"]
        messages = [{"role": "user", "content": text}, {"role": "user", "content": question}]
        started = time.monotonic()
        answer = self._http.post("/v1/chat/completions", json={"model": model, "messages": messages})
        seconds = time.monotonic() - started
        usage = answer.raise_for_status().json()["usage"]
        return seconds, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def focuses(asked: Asked) -> list[dict[str, float]]:
    """What readings with several focuses cost."""
    asked.read(3000, _QUESTIONS[:1])  # warm
    alone = statistics.median(asked.read(12_000, _QUESTIONS[:1])[1] for _ in range(3))
    rows = []
    for count in (1, 4, 16):
        wanted = [f"Who has the {number}th key?" for number in range(count)]
        taken = alone if count == 1 else statistics.median(asked.read(12_000, wanted)[1] for _ in range(3))
        rows.append({"focuses": count, "seconds": taken, "ratio": taken / (count * alone)})
    return rows


def first_words(asked: Asked, tokens: int) -> dict[str, float]:
    """How long the first word takes, early and late."""
    early, (late, read_s) = asked.read(1000, [])[0], asked.read(tokens, [])
    pairs = [(asked.first_word(early), asked.first_word(late)) for _ in range(_TURNS + 1)][1:]
    short, long = (statistics.median(one) for one in zip(*pairs, strict=True))
    return {"after_1000_s": short, f"after_{tokens}_s": long, "ratio": long / short, "tokens_per_s": tokens / read_s}


def questions(asked: Asked) -> dict[str, float]:
    """64 questions in one call, and in 64."""
    sid, _ = asked.read(2000, [])
    wanted = [f"Who has the {number}th key?" for number in range(64)]
    together = statistics.median(asked.ask(sid, wanted) for _ in range(3))
    return {"one_call_s": together, "64_calls_s": sum(asked.ask(sid, [one]) for one in wanted)}


def chats(asked: Asked) -> dict[str, float]:
    """A chat with a long text, and further questions on it."""
    text = asked.text(200_000)
    first, tokens, _ = asked.chat(text, "Who has the red key?")
    later = [asked.chat(text, f"Who has the {number}th key?") for number in range(5)]
    cached = min(one[2] for one in later)
    return {
        "prompt_tokens": tokens,
        "first_s": first,
        "second_s": statistics.median(one[0] for one in later),
        "slowest_later_s": max(one[0] for one in later),
        "cached_tokens": cached,
    }


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--checkpoint", default="rmt-smollm2-small")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tokenizer = load_tokenizer("smollm2-135m-instruct")
    ids = Books(options.books, tokenizer, all_books=True).sentences(options.tokens + 500_000).ids.tolist()
    figures: dict[str, object] = {"checkpoint": options.checkpoint}
    with (
        serving.server(options.checkpoint, dtype="fast", read_wait_s=7200, max_unread_bytes=1 << 30) as served,
        httpx.Client(base_url=served.url, timeout=None) as http,
    ):
        asked = Asked(http, ids, lambda some: str(tokenizer.decode(some)))
        parts: dict[str, Callable[[], object]] = {
            "focuses": lambda: focuses(asked),
            "questions": lambda: questions(asked),
            "chat": lambda: chats(asked),
            "first word": lambda: first_words(asked, options.tokens),
        }
        for name, measure in parts.items():
            figures[name] = measure()
            print(f"{name}: {json.dumps(figures[name], default=float)}", flush=True)
    report.write(options.out, "asking", **figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
