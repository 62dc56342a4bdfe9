"""What benchmarks count and how they judge, without measuring anything."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks import compute, report
from benchmarks.__main__ import _suite, table
from benchmarks.readers import Said, words_at
from benchmarks.reading_quality import Case, judged
from benchmarks.report import Figure
from benchmarks.rounds import interleaved, median_ratio

from rmt_model.errors import QuestionError
from rmt_model.pointers import Pointer
from rmt_model.span_engine import Window


def test_counted_operations_are_pytorchs_and_the_papers() -> None:
    formula = compute._LIKE_SMOLLM2.flops(256, 256, causal=False, vocabulary=False)
    assert formula == pytest.approx(compute.counted(256), rel=0.005)
    ratios = [compute.paper_ratio(compute.PAPER["OPT-125M"], 1 << exponent) for exponent in (20, 21)]
    assert ratios == pytest.approx([148, 295], rel=0.02)
    assert compute.our_ratio(compute._LIKE_SMOLLM2, 384) < 1, "a memory costs something, too"


def test_a_figure_holds_within_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    figures = [Figure("a", "b", 1.0, "s", 1.0, 1.0), Figure("c", "d", 9.9), Figure("e", "f", 2.0, most=1.9)]
    assert [one.holds for one in figures] == [True, True, False]
    assert not report.show(figures)
    assert report.show(figures[:2])
    assert capsys.readouterr().out.count("MISSED") == 1


def test_ways_are_measured_in_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: float(len(calls.append(name) or calls)) for name in "ab"}  # type: ignore[misc]
    found = interleaved(ways, 3)
    assert calls == list("ab" * 4)
    assert found == {"a": [3.0, 5.0, 7.0], "b": [4.0, 6.0, 8.0]}
    assert median_ratio(found["b"], found["a"]) == pytest.approx(6 / 5)


def test_the_table_has_what_the_files_have(tmp_path: Path) -> None:
    report.write(tmp_path / "one.json", "one", [Figure("x", "y", 1234.5, "ms", most=2000.0), Figure("z", "", 0.5)])
    known = json.loads((tmp_path / "one.json").read_text())
    assert known["machine"]["cores"] >= 1
    assert known["machine"]["versions"]["torch"]
    rows = table(tmp_path).splitlines()[2:]
    assert rows == ["| one | x | y | 1,234 ms | <= 2,000 | holds |", "| one | z |  | 0.50  |  |  |"]


def test_all_benchmarks_can_be_started() -> None:
    import argparse
    import importlib

    known = {"device": "cpu", "dtype": "float32", "data": Path("data"), "llama": Path("llama"), "quick": True}
    options = argparse.Namespace(**known, out=Path("out"))
    for command in _suite(options).values():
        assert importlib.import_module(command[0]).main


def test_any_reader_is_asked_about_the_windows_that_a_search_finds() -> None:
    filler = "Nobody came along the quiet path for a long time, and the garden stayed as it was. " * 60
    text = f"{filler}The lion is in Zürich. {filler}"
    cases = [Case("a", "Where is the lion?", ("Zürich",), text), Case("a", "Who has the zebra?", (), text)]
    seen: list[Sequence[Window]] = []

    def reads(question: str, windows: Sequence[Window]) -> Said:
        seen.append(windows)
        if "zebra" in question:
            raise QuestionError("too long")
        start = len(text[: text.index("Zürich")].encode())
        return Said(words_at(Pointer(1.0, start, start + len("Zürich.".encode()), ()), windows), known=True)

    found, withheld = judged(reads, cases, 2)
    assert 1 <= len(seen[0]) <= 2
    assert all(text.encode()[one.start :].startswith(one.text.encode()) for one in seen[0])
    assert (found.said, found.f1, found.right, withheld.known) == ("Zürich", 1.0, True, False)
    assert next(judged(reads, cases[:1], None)).right
    assert seen[-1] == [Window(text, 0)]
