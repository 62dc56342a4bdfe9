"""How much slower is a text that comes in chunks than the same text tokenised at once?

    python -m benchmarks.tokenizer [--tokenizer tokenizer.json] [--text FILE] [--megabytes 10] [--out FILE]

Without a tokenizer one with SmolLM2's pipeline is trained on a part of the text; without a text, Python's own
library is read. Every round times all ways one after the other; the table shows medians over the rounds.
On a busy machine the CPU time (of all threads) tells more than the time on the wall. Exit code 1 where chunks of
any size take more than twice the time of `Tokenizer.encode` on the whole text.
"""

import argparse
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks import report
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rmt_model.reader import MAX_HELD_CHARS
from rmt_model.tokenizer import StreamingTokenizer, TextTokenizer

CHUNK_BYTES = (1, 7, 64, 1024, 65536)
MOST = 2.0
AT_ONCE, WITHOUT_OFFSETS = "at once", "at once, no offsets"


def library_text(size_bytes: int) -> str:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py"))
    text = "".join(file.read_text(errors="ignore") for file in files)
    return (text * (size_bytes // len(text) + 1))[:size_bytes]


def train(text: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=16384, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def read(tokenizer: TextTokenizer, chunks: Sequence[bytes]) -> list[int]:
    stream, ids = StreamingTokenizer(tokenizer), []
    for chunk in chunks:
        ids += stream.feed(chunk)
    return ids + stream.finish()


def ways(tokenizer: Tokenizer, text: str) -> dict[str, Callable[[], list[int]]]:
    """The ways to tokenise the text, by name."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    streaming, data = TextTokenizer(tokenizer, max_held_chars=MAX_HELD_CHARS), text.encode()

    def in_chunks(size: int) -> Callable[[], list[int]]:
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        return lambda: read(streaming, chunks)

    at_once = {
        AT_ONCE: lambda: plain.encode(text, add_special_tokens=False).ids,
        WITHOUT_OFFSETS: lambda: plain.encode_batch_fast([text], add_special_tokens=False)[0].ids,
    }
    return at_once | {f"{size} B chunks": in_chunks(size) for size in CHUNK_BYTES}


def measure(timed: dict[str, Callable[[], list[int]]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of every way; an untimed round first warms caches and compares the ids."""
    expected = timed[AT_ONCE]()
    for name, way in timed.items():
        if way() != expected:
            raise SystemExit(f"{name}: other ids than at once")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, way in timed.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (median(wall), median(cpu)) for name in timed for wall, cpu in [zip(*times[name], strict=True)]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json")
    parser.add_argument("--text", type=Path, help="a text in UTF-8")
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    options = parser.parse_args()

    size_bytes = int(options.megabytes * 1e6)
    text = options.text.read_bytes()[:size_bytes].decode(errors="ignore") if options.text else library_text(size_bytes)
    tokenizer = Tokenizer.from_file(str(options.tokenizer)) if options.tokenizer else train(text[:2_000_000])
    seconds = measure(ways(tokenizer, text), options.rounds)
    results = [
        {"way": name, "wall_s": wall, "cpu_s": cpu, "wall_ratio": wall / base_wall, "cpu_ratio": cpu / base_cpu}
        for base_wall, base_cpu in [seconds[AT_ONCE]]
        for name, (wall, cpu) in seconds.items()
    ]
    print(f"{'way':22}{'wall s':>8}{'ratio':>7}{'CPU s':>8}{'ratio':>7}")
    for row in results:
        print("{way:22}{wall_s:8.2f}{wall_ratio:7.2f}{cpu_s:8.2f}{cpu_ratio:7.2f}".format_map(row))
    report.write(options.out, "tokenizer", text_bytes=len(text.encode()), rounds=options.rounds, results=results)
    return int(any(row["wall_ratio"] > MOST for row in results))


if __name__ == "__main__":
    sys.exit(main())
