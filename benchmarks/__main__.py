"""All benchmarks, one after another, and one table of what they found.

    python -m benchmarks [--device cuda] [--dtype fast] [--data DATA] [--llama FOLDER] [--quick] [--out FOLDER]

Each writes its JSON into the folder, with the machine, the versions and the commit; `table.md` has all figures beside
the wanted ones. Those that need real books and questions run where `--data` says where they are (docs/training.md);
llama.cpp is measured where `--llama` names a folder that `python -m benchmarks.llama` made. Nothing else should run
meanwhile: on two cores it takes about three quarters of an hour, and with `--data` an hour more. Exit code 1 where a
figure is missed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SMALL, _LARGE = "rmt-smollm2-small", "rmt-smollm2-135m"


def _suite(options: argparse.Namespace) -> dict[str, list[str]]:
    """Arguments of each benchmark by the name of what it writes."""
    on = ["--device", options.device, "--dtype", options.dtype]
    lanes = ["1", "4", "16"] if options.device == "cpu" else ["1", "8", "32", "128"]
    runs, tokens, longest = ("2", "20000", "2048") if options.quick else ("5", "1000000", "16384")
    llama = ["--llama", str(options.llama)] if options.llama else []
    texts = ["--texts", str(options.data / "books")] if options.data else []
    quick = ["--quick"] if options.quick else []
    lengths = [str(length) for length in (1024, 2048, 4096, 8192, 16_384) if length <= int(longest)]
    times, pictures = options.out / "answer_time.json", ["--plot", str(options.out / "time-to-answer.svg")]
    suite = {
        "reading": ["benchmarks.reading", "--checkpoint", _SMALL, "--runs", runs, *on],
        "reading-large": [
            *["benchmarks.reading", "--checkpoint", _LARGE, "--runs", runs, "--segments", "8", "--no-server"],
            *on,
        ],
        "lanes": [
            *["benchmarks.lanes", "--checkpoint", _SMALL, "--tokens", tokens, "--lanes", *lanes],
            *on,
        ],
        "service": ["benchmarks.service", "--checkpoint", _SMALL, "--runs", runs, *on],
        "commits": ["benchmarks.commits", "--checkpoint", _SMALL, "--kilobytes", "20" if options.quick else "400"],
        "search": ["benchmarks.search", "--megabytes", "5" if options.quick else "46", *texts],
        "answer_time": [
            *["benchmarks.answer_time", "--checkpoint", _LARGE, "--runs", runs, "--lengths", *lengths],
            *[*llama, *pictures, *on],
        ],
        "compute": ["benchmarks.compute", "--times", str(times), "--plot", str(options.out / "compute.svg")],
    }
    if options.data:
        suite["evidence"] = ["benchmarks.evidence", str(options.data), *llama, *quick, "--dtype", options.dtype]
    return suite


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--data", type=Path, help="folder of data sets: then answers about real text are measured")
    parser.add_argument("--llama", type=Path, help="folder of benchmarks.llama: then llama.cpp is measured, too")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run?")
    parser.add_argument("--only", nargs="+", help="names of those to run")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for the results")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    missed = []
    for name, command in _suite(options).items():
        if options.only and name not in options.only:
            continue
        print(f"== {name}", flush=True)
        out = ["--out", str(options.out / f"{name}.json")]
        if subprocess.run([sys.executable, "-m", *command, *out], check=False).returncode:
            missed.append(name)
    (options.out / "table.md").write_text(table(options.out))
    if missed:
        print(f"missed or failed: {', '.join(missed)}")
    return int(bool(missed))


def table(folder: Path) -> str:
    """All figures of a folder as Markdown."""
    lines = ["| benchmark | what | against | found | wanted | |", "|---|---|---|---|---|---|"]
    for file in sorted(folder.glob("*.json")):
        for one in json.loads(file.read_text()).get("figures", ()):
            bounds = [(">=", one["least"]), ("<=", one["most"])]
            wanted = " and ".join(f"{sign} {bound:,g}" for sign, bound in bounds if bound is not None)
            found = f"{one['value']:,.2f}" if abs(one["value"]) < 100 else f"{one['value']:,.0f}"
            verdict = "" if not wanted else "holds" if one["holds"] else "**missed**"
            lines.append(
                f"| {file.stem} | {one['what']} | {one['against']} | {found} {one['unit']} | {wanted} | {verdict} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
