"""How text is cut into passages, and into words. Run: pytest tests/server/test_search_passages.py."""

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmt_server.search.passages import (
    MAX_OVERLAP_WORDS,
    MAX_PASSAGE_CHARS,
    MAX_WORDS,
    MIN_WORDS,
    Passage,
    PassageCutter,
    cut_text,
)
from rmt_server.search.words import MAX_QUERY_WORDS, NAME_WEIGHT, QueryWord, query_words, words_of

SENTENCES = (
    "Mary went to the garden. ",
    "“Is it there?” he asked.\n",
    "Dr. Watson met J. Smith at 3.14 p.m. in St. Ives! ",
    "A Heading\n\n",
    "2026-11-30 12:00:01 INFO read 17 bytes\n",
    "Mary: I am here\n",
    "他走进了花园。她说：“我在这里！”",
    "वह बगीचे में गया। ",
    "הַמֶּלֶךְ הָלַךְ. ",
    "wrapped at seventy characters as books\nare, in the middle of a sentence ",
    "x" * 700,
    " \n\n \t ",
    "é\u0301🐘 ",
    "... ",
    "\r\n",
)
TEXTS = st.lists(st.sampled_from(SENTENCES), max_size=120).map("".join)


def grown(text: str, source: random.Random, most: int) -> list[Passage]:
    """The passages of a text that comes in pieces and is looked at in between."""
    cutter, found, start = PassageCutter(), [], 0
    while start < len(text):
        size = source.randint(1, most)
        found += cutter.feed(text[start : start + size])
        start += size
        assert found + cutter.unfinished() == cut_text(text[:start])
    return found + cutter.finish_document()


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, seed=st.integers(0, 1 << 20), most=st.sampled_from([40, 900, 20_000]))
def test_any_pieces_are_cut_as_the_whole(text: str, seed: int, most: int) -> None:
    assert grown(text, random.Random(seed), max(most, len(text) // 40)) == cut_text(text)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_offsets_are_exact_and_everything_is_in_a_passage(text: str) -> None:
    data, covered, before = text.encode(), 0, -1
    for one in cut_text(text):
        assert one.text == text[one.start_char : one.end_char] == data[one.start : one.end].decode()
        assert one.text == one.text.strip()
        assert 0 < len(one.text) <= MAX_PASSAGE_CHARS
        assert one.start > before
        assert not text[covered : one.start_char].strip(), "text between two passages"
        before, covered = one.start, max(covered, one.end_char)
    assert not text[covered:].strip()


def prose(sentences: int, seed: int = 1) -> str:
    source = random.Random(seed)
    words = "the garden was old and nobody knew who had planted its trees".split()  # noqa: SIM905
    made = (" ".join(source.choices(words, k=source.randint(5, 30))).capitalize() + "." for _ in range(sentences))
    return " ".join(made)


def test_windows_end_at_sentences_and_share_one() -> None:
    passages = cut_text(prose(400))
    assert len(passages) > 30
    for one, following in pairwise(passages):
        assert MIN_WORDS <= len(one.text.split()) <= MAX_WORDS
        assert one.text.endswith(".")
        shared = one.text[following.start_char - one.start_char :]
        assert following.text.startswith(shared)
        assert 1 <= shared.count(".") <= 1
        assert len(shared.split()) <= MAX_OVERLAP_WORDS


def test_a_heading_goes_with_the_text_behind_it() -> None:
    text = "".join(f"{prose(4 + number % 5, number)}\n\nChapter {number}\n\n" for number in range(200)) + prose(5)
    passages = cut_text(text)
    assert not [one for one in passages if one.text.splitlines()[-1].startswith("Chapter")]
    assert sum(one.text.startswith("Chapter") for one in passages) > 10


@pytest.mark.parametrize(
    "line",
    ["2026-01-01 12:00:00 INFO rmt something happened with {}", "Mary: I am here for the {} time", "row,{},7"],
)
def test_lines_without_full_stops_are_not_torn(line: str) -> None:
    text = "".join(line.format(number) + "\n" for number in range(2000))
    lines = set(text.splitlines())
    passages = cut_text(text)
    assert len(passages) > 10
    assert all(set(one.text.splitlines()) <= lines for one in passages)


@pytest.mark.parametrize("abbreviated", ["Mr. Smith", "J. R. Smith", "U.S. Army", "e.g. Smith", "No. 7", "z.B. Rom"])
def test_an_abbreviation_ends_no_sentence(abbreviated: str) -> None:
    text = " ".join(f"we saw {abbreviated} once more" for _ in range(60)) + "."
    assert all(not one.text.endswith(abbreviated.rpartition(" ")[0]) for one in cut_text(text))


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("他走进了花园。她说：“我在这里！”" * 1000, 5 * MAX_WORDS // 4),
        ("彼は庭に入った" * 1000, MAX_WORDS),
        ("x" * 100_000, MAX_PASSAGE_CHARS),
        ("ไม่มีช่องว่าง" * 5000, MAX_PASSAGE_CHARS),
        ("word " * 50_000, MAX_PASSAGE_CHARS),
    ],
)
def test_without_spaces_or_sentences_passages_are_bounded(text: str, most: int) -> None:
    passages = cut_text(text)
    assert max(len(one.text) for one in passages) <= most
    assert sum(len(one.text) for one in passages) >= 0.9 * len(text)


@pytest.mark.parametrize("text", ["", " \n\t", "\n" * 5000])
def test_nothing_gives_no_passage(text: str) -> None:
    assert cut_text(text) == []


@pytest.mark.parametrize("unit", ["abcd ", "x", " ", "\n", "."])
def test_odd_texts_take_no_more_time_the_longer_they_are(unit: str) -> None:
    def took_s(size: int) -> float:
        since_s = time.thread_time()
        cut_text(unit * (size // len(unit)))
        return time.thread_time() - since_s

    assert took_s(400_000) < 20 * took_s(50_000) + 0.1


# ---------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Mary's well-known max_unread_bytes=4,096",
            ["mary", "s", "well", "known", "max", "unread", "bytes", "4", "096"],
        ),
        ("Straße Äpfel naïve ÉTÉ", ["strasse", "apfel", "naive", "ete"]),
        ("“quoted” — dash…", ["quoted", "dash"]),
        ("शहर की नदी", ["शहर", "की", "नदी"]),
        ("שָׁלוֹם", ["שלום"]),
        ("مُحَمَّد", ["محمد"]),
        ("Ёлка", ["елка"]),
        ("花园", ["花", "园", "花园"]),
        ("ab花园12", ["ab", "花", "园", "花园", "12"]),
        ("ﬁne ２０２６", ["fine", "2026"]),
        ("", []),
        ("?!…", []),
    ],
)
def test_words_are_folded_in_any_script(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_question_words_go_and_names_and_numbers_weigh() -> None:
    assert query_words("Where did the captain meet Napoleon in 1812?") == [
        QueryWord("captain", 1.0),
        QueryWord("meet", 1.0),
        QueryWord("napoleon", NAME_WEIGHT),
        QueryWord("1812", NAME_WEIGHT),
    ]
    assert [one.weight for one in query_words("WHERE IS NAPOLEON BURIED")] == [1.0, 1.0]
    assert [one.text for one in query_words("Wo liegt der Schlüssel für die Tür?")] == ["liegt", "schlussel", "tur"]
    assert [one.text for one in query_words("When did Smith die?")] == ["smith", "die"]
    assert "花园" in [one.text for one in query_words("谁在花园？")]
    assert query_words("园") == [QueryWord("园", 1.0)]


def test_of_stop_words_alone_all_count() -> None:
    assert [one.text for one in query_words("Who is it?")] == ["who", "is", "it"]
    assert query_words("...") == []


def test_a_query_has_a_largest_number_of_words() -> None:
    assert len(query_words(" ".join(f"word{number}" for number in range(2000)))) == MAX_QUERY_WORDS
