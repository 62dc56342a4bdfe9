"""The reader: whatever the cuts, and wherever it was put down, the same segments and the same state."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rmt_model.reader import DOCUMENT_SEPARATOR, MAX_HELD_CHARS, Reader
from rmt_model.state import ReaderState
from rmt_model.tokenizer import Block, InvalidUtf8Error, TextTokenizer

S = 16
MEMORY = np.zeros((1, 4, 32), np.float32)
END = None
"""Stands between the pieces for the end of a document."""


@dataclass
class Bench:
    """Reads pieces with one reader, or with a new one from a stored state before each piece."""

    tokenizer: TextTokenizer
    always_put_down: bool = False
    segments: list[tuple[int, ...]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    state: ReaderState = field(default_factory=lambda: ReaderState("f", (), MEMORY))
    take_at_once: bool = True

    def read(self, *pieces: bytes | None) -> "Bench":
        reader = Reader(self.tokenizer, S, self.state)
        for piece in pieces:
            if piece is END:
                reader.finish_document()
            else:
                reader.feed(piece)
            while self.take_at_once and reader.waiting:
                self._take(reader)
            if self.always_put_down:
                reader = Reader(self.tokenizer, S, ReaderState.from_bytes(reader.state(MEMORY).to_bytes()))
        while reader.waiting:
            self._take(reader)
        self.state = reader.state(MEMORY)
        return self

    def _take(self, reader: Reader) -> None:
        self.segments.append(tuple(reader.take()))
        self.ends.append(reader.end_byte)

    @property
    def tokens(self) -> list[int]:
        return [token for segment in self.segments for token in segment] + list(self.state.pending)


@pytest.fixture(scope="session")
def text_tokenizer(tiny_tokenizer: Tokenizer) -> TextTokenizer:
    return TextTokenizer(tiny_tokenizer, max_held_chars=40)


WORDS = st.sampled_from(
    ["Mary went ", "to the bathroom. ", "é", "Мэри", "🐘", "\n\n", " ", "x" * 90, "\0", "ﷺ", "\r\n"]
)
TEXTS = st.lists(WORDS, max_size=25).map("".join)


@st.composite
def documents_and_cuts(draw: st.DrawFn) -> tuple[list[bytes], list[bytes | None]]:
    """Documents, and the pieces that they are cut into, each followed by its end."""
    documents = [text.encode() for text in draw(st.lists(TEXTS, min_size=1, max_size=4))]
    pieces: list[bytes | None] = []
    for document in documents:
        cuts = sorted(draw(st.lists(st.integers(0, len(document)), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(document)], strict=True):
            pieces.append(document[start:end])
        pieces.append(END)
    return documents, pieces


@settings(max_examples=120, deadline=None)
@given(documents_and_cuts(), st.booleans(), st.booleans())
def test_any_cut_and_any_rest_give_the_same_segments_and_state(
    text_tokenizer: TextTokenizer,
    given_: tuple[list[bytes], list[bytes | None]],
    always_put_down: bool,
    take_at_once: bool,
) -> None:
    documents, pieces = given_
    whole = Bench(text_tokenizer).read(*(part for document in documents for part in (document, END)))
    found = Bench(text_tokenizer, always_put_down, take_at_once=take_at_once).read(*pieces)
    assert found.segments == whole.segments
    between = len(DOCUMENT_SEPARATOR) * (len(documents) - 1) if always_put_down else 0
    assert all(0 <= wanted - end <= between for end, wanted in zip(found.ends, whole.ends, strict=True))
    assert found.state.to_bytes() == whole.state.to_bytes()
    assert found.state.bytes_read == sum(map(len, documents))
    assert found.state.documents_read == len(documents)
    assert found.state.segments_read == len(found.segments)
    assert found.state.tokens_read == S * len(found.segments)
    assert len(found.state.pending) < S


@settings(max_examples=60, deadline=None)
@given(documents_and_cuts())
def test_ends_never_go_back_where_a_reader_goes_on_from_the_last_one(
    text_tokenizer: TextTokenizer, given_: tuple[list[bytes], list[bytes | None]]
) -> None:
    """With segments that wait in the state, and what stands between documents among them."""
    documents, pieces = given_
    reader = Reader(text_tokenizer, S, ReaderState("f", (), MEMORY))
    ends = [0]
    for piece in pieces:
        reader.finish_document() if piece is END else reader.feed(piece)
        if reader.waiting:
            reader.take()
            ends.append(reader.end_byte)
        reader = Reader(text_tokenizer, S, reader.state(MEMORY), reader.end_byte)
        assert reader.end_byte == ends[-1]
    while reader.waiting:
        reader.take()
        ends.append(reader.end_byte)
    assert ends == sorted(ends)
    assert ends[-1] <= sum(map(len, documents))


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_the_tokens_are_those_of_the_documents_and_what_stands_between(
    text_tokenizer: TextTokenizer, texts: list[str]
) -> None:
    """At the ends of documents nothing is held back, so the tokens can be compared with the whole text's."""
    bench = Bench(text_tokenizer).read(*(part for text in texts for part in (text.encode(), END)))
    wanted: list[int] = []
    for number, text in enumerate(texts):
        if number and text:
            wanted += text_tokenizer.encode([Block(DOCUMENT_SEPARATOR)])
        blocks, rest = text_tokenizer.split(Block(text))
        wanted += text_tokenizer.encode([*blocks, rest])
    assert bench.tokens == wanted
    spelled = [text_tokenizer.length(wanted[: S * number]) for number in range(1, len(bench.segments) + 1)]
    if len(texts) == 1:
        assert bench.ends == spelled
    assert all(
        0 <= most - end <= len(DOCUMENT_SEPARATOR) * len(texts) for end, most in zip(bench.ends, spelled, strict=True)
    )


def test_two_documents_are_not_one(text_tokenizer: TextTokenizer) -> None:
    two = Bench(text_tokenizer).read(b"Mary went", END, b" to the bathroom", END)
    one = Bench(text_tokenizer).read(b"Mary went to the bathroom", END)
    assert two.tokens != one.tokens
    assert two.state.digest == one.state.digest  # the digest is of the bytes alone


def test_the_separator_stands_in_front_of_text_only(text_tokenizer: TextTokenizer) -> None:
    bench = Bench(text_tokenizer).read(b"Mary went", END, END, b"", END)
    assert bench.tokens == Bench(text_tokenizer).read(b"Mary went", END).tokens
    assert bench.state.documents_read == 3
    separator = text_tokenizer.encode([Block(DOCUMENT_SEPARATOR)])
    assert bench.read("é".encode()[:1]).tokens == [*bench.tokens[: -len(separator)], *separator]


def test_a_document_that_ends_inside_a_character_ends_with_a_replacement(text_tokenizer: TextTokenizer) -> None:
    torn = "Mary 🐘".encode()[:-2]
    bench = Bench(text_tokenizer).read(torn, END)
    assert bench.tokens == Bench(text_tokenizer).read("Mary \ufffd".encode(), END).tokens
    assert bench.state.bytes_read == len(torn)
    assert bench.state.tokenizer.undecoded == b""
    assert Bench(text_tokenizer, True).read(torn[:-1], torn[-1:], END).state.to_bytes() == bench.state.to_bytes()


def test_bytes_that_are_no_text_change_nothing(text_tokenizer: TextTokenizer) -> None:
    reader = Reader(text_tokenizer, S, ReaderState("f", (), MEMORY))
    reader.feed(b"Mary went")
    reader.finish_document()
    before = reader.state(MEMORY).to_bytes()
    for bad in (b"\xff", b"to \xc0\x80", "é".encode()[1:]):
        with pytest.raises(InvalidUtf8Error) as caught:
            reader.feed(bad)
        assert caught.value.offset == 9 + bad.index(bad.strip(b"to "))
        assert reader.state(MEMORY).to_bytes() == before


def test_what_is_waiting_lies_in_the_state(text_tokenizer: TextTokenizer) -> None:
    reader = Reader(text_tokenizer, S, ReaderState("f", (), MEMORY))
    reader.feed(b"Mary went to the bathroom. " * 50)
    waiting = reader.waiting
    first = reader.take()
    state = ReaderState.from_bytes(reader.state(MEMORY).to_bytes())
    assert (state.segments_read, state.tokens_read) == (1, S)
    assert len(state.pending) // S == waiting - 1 > 3
    other = Reader(text_tokenizer, S, state)
    assert other.waiting == waiting - 1
    assert [first, *(other.take() for _ in range(waiting - 1))] == Bench(text_tokenizer).read(
        b"Mary went to the bathroom. " * 50
    ).segments


@pytest.mark.parametrize("unit", ["Mary went to the bathroom. ", "🐘"])
def test_a_state_is_as_large_after_ten_thousand_tokens_as_after_a_million(tiny_tokenizer: Tokenizer, unit: str) -> None:
    """At every point on the way: the remainder grows and shrinks, the counters grow, the size stays.

    The focuses are of several lengths, so that the counters' digits meet the end of the header's room in some.
    """
    tokenizer = TextTokenizer(tiny_tokenizer, max_held_chars=MAX_HELD_CHARS)
    focuses = [("x" * length,) for length in range(420, 820, 20)]
    reader = Reader(tokenizer, 1024, ReaderState("f", ("",), MEMORY))
    sizes: dict[tuple[str, ...], set[int]] = {focus: set() for focus in focuses}
    while reader.tokens_read < 1_000_000:
        reader.feed((unit * (101 if reader.tokens_read < 12_000 else 2500)).encode())
        while reader.waiting:
            reader.take()
        state = reader.state(MEMORY)
        for focus, found in sizes.items():
            found.add(len(replace(state, focus=focus).to_bytes()))
    assert {len(found) for found in sizes.values()} == {1}
    assert len(set.union(*sizes.values())) == 2
