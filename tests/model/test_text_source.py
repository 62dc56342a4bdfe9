"""Text into segments: whatever the cuts, and wherever it was put down, the same segments, places and state."""

import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.tiny_models import build_word_pieces
from tokenizers import Tokenizer

from rmt_model import text_source
from rmt_model.state import ReaderState
from rmt_model.text_source import VIEW_CHARS, SegmentCutter, TextSegment, TextSource
from rmt_model.tokenizer import InvalidUtf8Error

S = 12
MEMORY = np.zeros((1, 3, 128), np.float32)
FRESH = ReaderState("f", (), MEMORY)
END = None
"""Stands between the pieces for the end of a document."""
Place = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...], int, int]


@contextmanager
def a_view_of(chars: int) -> Iterator[None]:
    """Inside, a cut looks so far ahead: short texts meet all that megabytes would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_source, "VIEW_CHARS", chars)
        yield


@pytest.fixture(scope="module")
def cutter() -> SegmentCutter:
    """Short segments; words of more than 20 characters are unknown."""
    return SegmentCutter(build_word_pieces(most_word_chars=20), S)


@pytest.fixture(scope="module")
def wide(word_pieces: Tokenizer) -> SegmentCutter:
    """Segments as long as those of a real model."""
    return SegmentCutter(word_pieces, 384)


def place(segment: TextSegment) -> Place:
    """All that a segment says."""
    starts, ends = tuple(segment.starts.tolist()), tuple(segment.ends.tolist())
    return segment.start, tuple(segment.token_ids), starts, ends, segment.chars, segment.size_bytes


@dataclass
class Bench:
    """Reads pieces with one source, or with a new one from a stored state before each piece."""

    cutter: SegmentCutter
    always_put_down: bool = False
    take_at_once: bool = True
    segments: list[TextSegment] = field(default_factory=list)
    state: ReaderState = FRESH

    def read(self, *pieces: bytes | None) -> "Bench":
        source = TextSource(self.cutter, self.state)
        for piece in pieces:
            source.finish_document() if piece is END else source.feed(piece)
            while self.take_at_once and source.waiting:
                self._take(source)
            if self.always_put_down:
                source = TextSource(self.cutter, stored(source))
        while source.waiting:
            self._take(source)
        self.state = source.state(MEMORY)
        return self

    def _take(self, source: TextSource) -> None:
        self.segments.append(source.take())
        assert source.end_byte == self.segments[-1].end

    @property
    def places(self) -> list[Place]:
        return [place(segment) for segment in self.segments]


def stored(source: TextSource) -> ReaderState:
    """A source's state, by way of its bytes."""
    return ReaderState.from_bytes(source.state(MEMORY).to_bytes())


def segments_of(cutter: SegmentCutter, *documents: str) -> list[TextSegment]:
    return Bench(cutter).read(*(part for text in documents for part in (text.encode(), END))).segments


WORDS = st.sampled_from(
    [
        "Mary went ",
        "to the bathroom. ",
        "Where? ",
        '"Who?" he said. ',
        "é",
        "e\u0301 ",
        "\u0301\u0302",
        "Мэри ",
        "🐘",
        "👩🏽‍🚀 ",
        "नमस्ते ",
        "北京。",
        "한국",
        "x" * 19 + "\u0301" * 4,
        "x" * 45,
        "\n\n",
        "\n",
        " ",
        " " * 30,
        "\t",
        "\0",
        "\x1c",
        "\x85",
        "ﷺ",
        "\r\n",
        "…",
        "[SEP]",
        "##s",
        ".",
    ]
)
TEXTS = st.lists(WORDS, max_size=40).map("".join)


@st.composite
def documents_and_cuts(draw: st.DrawFn) -> tuple[list[bytes], list[bytes | None]]:
    """Documents, and the pieces that they are cut into, each followed by its end."""
    documents = [text.encode() for text in draw(st.lists(TEXTS, min_size=1, max_size=3))]
    pieces: list[bytes | None] = []
    for document in documents:
        cuts = sorted(draw(st.lists(st.integers(0, len(document)), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(document)], strict=True):
            pieces.append(document[start:end])
        pieces.append(END)
    return documents, pieces


@settings(max_examples=200, deadline=None)
@given(documents_and_cuts(), st.booleans(), st.booleans(), st.sampled_from([40, 80, 160]))
@example(([b"x" * 50], [b"x" * 50, END]), True, False, 40)
@example(([b" " * 40 + b"x"], [b" " * 40, b"x", END]), True, True, 40)
def test_any_cut_and_any_rest_give_the_same_segments_and_state(
    cutter: SegmentCutter,
    given_: tuple[list[bytes], list[bytes | None]],
    always_put_down: bool,
    take_at_once: bool,
    view: int,
) -> None:
    documents, pieces = given_
    with a_view_of(view):
        whole = Bench(cutter).read(*(part for document in documents for part in (document, END)))
        found = Bench(cutter, always_put_down, take_at_once).read(*pieces)
    assert found.places == whole.places
    assert found.state.to_bytes() == whole.state.to_bytes()
    assert found.state.bytes_read == sum(map(len, documents))
    assert found.state.documents_read == len(documents)
    assert found.state.segments_read == len(found.segments)
    assert found.state.tokens_read == sum(map(len, found.segments))
    assert (found.state.pending, found.state.tokenizer.held, found.state.tokenizer.undecoded) == ((), "", b"")


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=3), st.sampled_from([40, 80, 160]))
def test_segments_cover_every_byte_once_and_in_order(cutter: SegmentCutter, texts: list[str], view: int) -> None:
    documents = [text.encode() for text in texts]
    with a_view_of(view):
        segments = segments_of(cutter, *texts)
    borders = [0, *(segment.end for segment in segments)]
    assert [segment.start for segment in segments] == borders[:-1]
    assert borders[-1] == sum(map(len, documents))
    data = b"".join(documents)
    for segment in segments:
        text = data[segment.start : segment.end].decode()
        assert 0 < len(text) == segment.chars <= view
        assert len(segment) <= S
    ends = {sum(map(len, documents[:number])) for number in range(len(documents) + 1)}
    assert ends <= set(borders), "no segment reaches across the end of a document"


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from([40, 80, 160]))
def test_the_tokens_of_a_segment_are_those_of_its_text_and_lie_in_it_in_order(
    cutter: SegmentCutter, text: str, view: int
) -> None:
    data = text.encode()
    with a_view_of(view):
        segments = segments_of(cutter, text)
    for segment in segments:
        own = data[segment.start : segment.end].decode()
        assert list(segment.token_ids) == cutter.encode(own)
        assert place(segment) == place(cutter.alone(own, segment.start))
        assert (segment.starts <= segment.ends).all()
        assert (np.diff(segment.starts) >= 0).all()
        assert not len(segment) or (segment.starts[0] >= 0 and segment.ends[-1] <= segment.size_bytes)


@pytest.mark.parametrize("length", [VIEW_CHARS - 1, VIEW_CHARS, VIEW_CHARS + 1, 2 * VIEW_CHARS, 2 * VIEW_CHARS + 1])
@pytest.mark.parametrize("unit", ["Mary went. ", "x", " ", "é🐘 "])
def test_at_the_borders_of_the_view(wide: SegmentCutter, unit: str, length: int) -> None:
    text = (unit * length)[:length]
    wanted = segments_of(wide, text)
    data = text.encode()
    cut = Bench(wide, always_put_down=True).read(data[:-1], data[-1:], END)
    assert cut.places == [place(one) for one in wanted]
    assert sum(one.size_bytes for one in wanted) == len(data)


# ---------------------------------------------------------------------------- places of tokens


def spelled(token: str) -> str:
    return token.removeprefix("##")


def normalised(text: str) -> str:
    """What BERT makes of a text, here by other means."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return "".join(c for c in bare.lower() if unicodedata.category(c)[0] != "C")


@pytest.mark.parametrize(
    "text",
    [
        "Mary went to the office; John stayed (or not).",
        "Crème brûlée, naïve Ångström café",
        "Cre\u0301me bru\u0302le\u0301e e\u0301\u0302\u0323 x",
        "北京 大人。中国人！",
        "नमस्ते हिसाब",
        "Мэри пошла в сад…",
        "she\u200dsaid no\u00adone zero\u200bwidth",
        "tabs\tand\r\nlines\x00 and \x1c more",
        "He said: “Where is İstanbul?” — it’s [SEP] here [UNK].",
    ],
)
@pytest.mark.parametrize("before", ["", "é🐘 ", "한 ", "  \n"])
def test_the_bytes_of_a_token_say_the_token(
    wide: SegmentCutter, word_pieces: Tokenizer, text: str, before: str
) -> None:
    data = (before + text).encode()
    (segment,) = segments_of(wide, before + text)
    tokens = [word_pieces.id_to_token(token_id) for token_id in segment.token_ids]
    assert tokens.count("[UNK]") <= before.count("🐘")
    skipped = len(wide.encode(before))
    for token, start, end in list(zip(tokens, segment.starts, segment.ends, strict=True))[skipped:]:
        assert normalised(data[start:end].decode()) == spelled(token), token
    said = "".join(spelled(token) for token in tokens[skipped:])
    assert said == "".join(normalised(text).split())


def test_what_is_no_letter_of_the_model_has_its_place_too(wide: SegmentCutter, word_pieces: Tokenizer) -> None:
    text = "Mary 👩🏽‍🚀 went 🐘🐘 in 漢字 to"
    (segment,) = segments_of(wide, text)
    unknown = [
        text.encode()[start:end].decode()
        for token_id, start, end in zip(segment.token_ids, segment.starts, segment.ends, strict=True)
        if word_pieces.id_to_token(token_id) == "[UNK]"
    ]
    assert unknown == ["👩🏽‍🚀", "🐘🐘", "漢", "字"]


def test_syllables_that_normalise_to_several_letters_are_not_torn(word_pieces: Tokenizer) -> None:
    """A token may end with the first letter of a syllable, and the next one begin within it."""
    for segment_tokens in range(6, 14):
        cutter, text = SegmentCutter(word_pieces, segment_tokens), "한국" * 15 + " " + "국한" * 15
        segments = segments_of(cutter, text)
        assert len(segments) > 10
        for segment in segments:
            own = text.encode()[segment.start : segment.end].decode()
            assert place(segment) == place(cutter.alone(own, segment.start))
            assert word_pieces.token_to_id("[UNK]") not in segment.token_ids


# ---------------------------------------------------------------------------- where segments end


def test_segments_end_where_sentences_end(wide: SegmentCutter) -> None:
    sentences = [
        "Mary went to the garden. ",
        'He asked: "Where is John?" ',
        "北京中国人。",
        "No! ",
        "Yes…\n",
        "It is.”  ",
    ]
    text = "".join(sentences[number * number % 6] for number in range(900))
    segments = segments_of(wide, text)
    assert len(segments) > 10
    for segment in segments:
        said = text.encode()[segment.start : segment.end].decode()
        assert said.rstrip().rstrip("\"'”’)").endswith((".", "?", "!", "。", "…")), said[-20:]
    assert all(200 < len(one) <= 384 for one in segments[:-1])


def test_segments_end_behind_a_word_where_no_sentence_ends(wide: SegmentCutter) -> None:
    text = "mary went to the garden and " * 300
    for segment in segments_of(wide, text):
        assert text[segment.start : segment.end].endswith(" ")
        assert text[segment.end : segment.end + 1] in ("", *"mwtga")


def test_few_tokens_in_much_text_end_behind_a_word_too(wide: SegmentCutter) -> None:
    """Words that the model does not know are one token each, however long they are."""
    text = ("🐘" * 90 + " ") * 200
    for segment in segments_of(wide, text):
        assert text.encode()[segment.start : segment.end].decode().endswith("🐘 ")


def test_the_last_segment_of_a_document_is_whole(wide: SegmentCutter) -> None:
    text = "Mary went. " * 20 + "then nothing more"
    (segment,) = segments_of(wide, text)
    assert segment.size_bytes == len(text)


def test_documents_are_read_apart(wide: SegmentCutter) -> None:
    segments = segments_of(wide, "Mary went", "", " to the bathroom", "", "")
    assert [(one.start, one.end) for one in segments] == [(0, 9), (9, 25)]
    bench = Bench(wide).read(b"Mary went", END, END, b" to the bathroom", END)
    assert bench.state.documents_read == 3
    assert Bench(wide).read(END, END).state.documents_read == 2
    assert Bench(wide).read(END).segments == []


MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("unit", "most_tokens"),
    [("x", 1), (" ", 0), ("\n", 0), ("\t", 0), ("\u0301", 0), ("🐘", 1), (".", 384), ("北", 384), ("a b", 384)],
    ids=repr,
)
def test_a_megabyte_of_one_thing(wide: SegmentCutter, unit: str, most_tokens: int) -> None:
    size = MEGABYTE // (1 if most_tokens < 384 else 8)
    text = unit * (size // len(unit.encode()))
    began = time.process_time()
    bench = Bench(wide)
    data = text.encode()
    bench.read(*(data[start : start + 65_536] for start in range(0, len(data), 65_536)))
    assert time.process_time() - began < 10
    assert 0 < len(bench.state.tokenizer.held) < VIEW_CHARS, "some text of a document that goes on is held back"
    bench.read(END)
    assert sum(one.size_bytes for one in bench.segments) == len(data)
    assert max(map(len, bench.segments)) == most_tokens
    assert max(one.chars for one in bench.segments) < VIEW_CHARS


def test_a_forced_cut_tears_no_character_from_its_marks(wide: SegmentCutter) -> None:
    text = "🐘" + "e\u0301\u0302\u0323" * 5000
    for segment in segments_of(wide, text)[:-1]:
        assert text.encode()[segment.end :].decode()[0] == "e"


def test_a_long_word_is_cut_into_words_that_the_model_may_know(cutter: SegmentCutter) -> None:
    """A part of an unknown word is read as what it is, and as it is when the segment is read again."""
    with a_view_of(40):
        for spaces in range(10, 39):
            text = " " * spaces + "x" * 200
            for segment in segments_of(cutter, text):
                assert list(segment.token_ids) == cutter.encode(text[segment.start : segment.end])
                assert len(segment) <= S


# ---------------------------------------------------------------------------- states


def test_what_is_held_back_stays_bounded(wide: SegmentCutter) -> None:
    """With segments taken as they come, a state is as large after a megabyte as at the beginning."""
    source = TextSource(wide, FRESH)
    sizes = set()
    for number in range(27):
        source.feed("Mary went to the bathroom. Élan! 北京。\n".encode() * 400)
        while source.waiting:
            source.take()
        state = source.state(MEMORY)
        assert len(state.tokenizer.held) < VIEW_CHARS
        assert source.within_document
        sizes.add(len(state.to_bytes()))
        if number % 9 == 8:
            source.finish_document()
            while source.waiting:
                source.take()
            assert not source.within_document
            assert source.state(MEMORY).tokenizer.held == ""
    assert len(sizes) == 1


@pytest.mark.parametrize("space", [" ", "\n", "\t", "🐘"])
def test_within_a_document_something_is_always_held_back(cutter: SegmentCutter, space: str) -> None:
    with a_view_of(40):
        source = TextSource(cutter, FRESH)
        assert not source.within_document
        for _ in range(200):
            source.feed(space.encode())
            assert source.within_document
        source.finish_document()
        assert not source.within_document


def test_segments_that_wait_lie_in_the_state_across_the_end_of_a_document(wide: SegmentCutter) -> None:
    first, second = "Mary went to the bathroom. Élan! " * 150, "北京。 John moved. " * 200
    wanted = [place(one) for one in segments_of(wide, first, second)]
    source = TextSource(wide, FRESH)
    source.feed(first.encode())
    taken = [place(source.take())]
    source.finish_document()
    source.feed(second.encode())
    waiting = source.waiting
    assert waiting > 4
    state = stored(source)
    assert (len(state.pending), state.documents_read, state.segments_read) == (waiting, 1, 1)
    assert sum(state.pending) < len(state.tokenizer.held)
    again = TextSource(wide, state)
    assert (again.waiting, again.bytes_read, again.end_byte) == (waiting, source.bytes_read, source.end_byte)
    assert again.state(MEMORY).to_bytes() == state.to_bytes()
    again.finish_document()
    taken += [place(again.take()) for _ in range(again.waiting)]
    assert taken == wanted


def test_a_document_that_was_cancelled_within_a_character(wide: SegmentCutter) -> None:
    """What is behind it has its place in the text, also when the segments before it still wait."""
    documents = ["Mary went. " * 400 + "x", "John moved to the office. "]
    torn = documents[0].encode() + "北".encode()[:2]
    sources = []
    for put_down in (False, True):
        source = TextSource(wide, FRESH)
        source.feed(torn)
        source.finish_document()
        source = TextSource(wide, stored(source)) if put_down else source
        source.feed(documents[1].encode())
        source = TextSource(wide, stored(source)) if put_down else source
        source.finish_document()
        sources.append(source)
    plain, again = ([place(one.take()) for _ in range(one.waiting)] for one in sources)
    assert again == plain
    assert sources[0].state(MEMORY).to_bytes() == sources[1].state(MEMORY).to_bytes()
    last = plain[-1]
    assert (last[0], last[-1]) == (len(torn), len(documents[1]))
    assert last[1] == tuple(wide.encode(documents[1]))


def test_bytes_that_are_not_text_change_nothing(wide: SegmentCutter) -> None:
    source = TextSource(wide, FRESH)
    source.feed("Mary é".encode() + "北".encode()[:1])
    before = source.state(MEMORY).to_bytes()
    read = source.bytes_read
    for bad, offset in ((b"\xff", read - 1), (b"abc", read - 1), ("北".encode()[1:] + b"to \xc0\x80", read + 5)):
        with pytest.raises(InvalidUtf8Error) as caught:
            source.feed(bad)
        assert caught.value.offset == offset
        assert source.state(MEMORY).to_bytes() == before
        assert source.waiting == 0
    source.feed("北".encode()[1:])
    source.finish_document()
    assert source.take().size_bytes == len("Mary é北".encode())


def test_half_a_character_is_within_a_document(wide: SegmentCutter) -> None:
    source = TextSource(wide, FRESH)
    source.feed("北".encode()[:1])
    assert source.within_document
    assert TextSource(wide, stored(source)).within_document


@pytest.mark.parametrize("text", ["", " ", "\n \n", "\0"])
def test_a_document_without_a_word_has_no_token(wide: SegmentCutter, text: str) -> None:
    segments = segments_of(wide, text)
    assert [(len(one), one.chars, one.start, one.end) for one in segments] == [
        (0, len(text), 0, len(text)) for _ in text[:1]
    ]


def test_a_single_word(wide: SegmentCutter) -> None:
    (segment,) = segments_of(wide, "Mary")
    assert (segment.starts.tolist(), segment.ends.tolist(), len(segment)) == ([0], [4], 1)


def test_control_tokens_in_a_text_are_text(wide: SegmentCutter, word_pieces: Tokenizer) -> None:
    ids = wide.encode("[SEP] [CLS] [PAD][MASK]")
    assert not set(ids) & {word_pieces.token_to_id(one) for one in ("[SEP]", "[CLS]", "[PAD]", "[MASK]")}
    assert 0 not in ids


def test_a_text_that_is_too_long_to_be_alone_keeps_its_first_tokens(cutter: SegmentCutter) -> None:
    text = "Mary went to the garden. " * 20
    segment = cutter.alone(text, 7)
    assert (segment.start, segment.size_bytes, len(segment)) == (7, len(text), S)
    assert list(segment.token_ids) == cutter.encode(text)[:S]


def test_the_tokenizer_given_is_not_changed(word_pieces: Tokenizer) -> None:
    own = Tokenizer.from_str(word_pieces.to_str())
    own.enable_truncation(4)
    own.enable_padding()
    before = own.to_str()
    assert len(SegmentCutter(own, S).encode("Mary went to the garden. ")) == 6
    assert own.to_str() == before


def test_borders_grow(wide: SegmentCutter) -> None:
    """The source says behind which byte the last taken segment ends, from a state on as well."""
    source = TextSource(wide, FRESH)
    assert source.end_byte == 0
    source.feed(b"Mary went to the bathroom. " * 600)
    ends: list[int] = [0]
    while source.waiting:
        source.take()
        ends.append(source.end_byte)
        assert TextSource(wide, stored(source)).end_byte == source.end_byte
    assert all(a < b for a, b in pairwise(ends))


def test_no_token_is_lost_between_two_segments(wide: SegmentCutter) -> None:
    """Where segments end behind words, their tokens together are those of the whole text."""
    text = "Mary went to the bathroom; John moved, it seems, to the hallway. " * 200
    segments = segments_of(wide, text)
    assert [token for one in segments for token in one.token_ids] == wide.encode(text)
    assert sum(map(len, segments)) == Bench(wide).read(text.encode(), END).state.tokens_read
