import json
from functools import partial

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.model.tokenizer_families import (
    CONTROL,
    CORPUS,
    EXACT,
    TROUBLE,
    UNPROVEN,
    at_once,
    cut_at,
    make,
    read,
    reader,
)
from tokenizers import Tokenizer, decoders

from rmt_model.tokenizer import Block, InvalidUtf8Error, StreamingTokenizer, TextTokenizer, TokenizerState


def tightest_reader(family: str, text: str) -> TextTokenizer:
    """The least limit that forces no cut: there every boundary matters."""
    for exponent in range(13):
        tokenizer = reader(family, 2**exponent)
        blocks, rest = tokenizer.split(Block(text))
        if all(block.after_boundary for block in [*blocks, rest][1:]):
            return tokenizer
    raise AssertionError("no text here has so long a run without a boundary")


TEXTS = st.lists(st.sampled_from(TROUBLE) | st.text(max_size=3), max_size=40).map("".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@pytest.mark.parametrize("family", EXACT)
@settings(max_examples=120, deadline=None)
@given(text=TEXTS, cuts=CUTS)
def test_ids_are_those_of_the_whole_text(family: str, text: str, cuts: list[int]) -> None:
    tokenizer = tightest_reader(family, text)
    assert tokenizer.exact
    assert read(tokenizer, cut_at(text.encode(), cuts)) == at_once(family, text)


@pytest.mark.parametrize("family", EXACT)
@settings(max_examples=250, deadline=None)
@given(text=TEXTS)
def test_no_token_spans_a_boundary(family: str, text: str) -> None:
    """Cut at every boundary there is: a limit of one character shows them all."""
    tokenizer, pieces = reader(family, 1), [Block("")]
    blocks, rest = tokenizer.split(Block(text))
    for block in [*blocks, rest]:
        if block.after_boundary:
            pieces.append(block)
        else:
            pieces[-1] = pieces[-1]._replace(text=pieces[-1].text + block.text)
    assert tokenizer.encode(pieces) == at_once(family, text)


@pytest.mark.parametrize("family", [*EXACT, *UNPROVEN])
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, cuts=CUTS, max_held_chars=st.sampled_from([1, 2, 3, 7, 16]))
def test_ids_never_depend_on_the_cuts(family: str, text: str, cuts: list[int], max_held_chars: int) -> None:
    tokenizer, data = reader(family, max_held_chars), text.encode()
    expected = read(tokenizer, [data])

    assert read(tokenizer, cut_at(data, cuts)) == expected
    assert read(tokenizer, [bytes([byte]) for byte in data]) == expected


@pytest.mark.parametrize("family", UNPROVEN)
def test_says_when_a_boundary_is_not_proven(family: str) -> None:
    assert not reader(family).exact
    assert read(reader(family), [CORPUS[0].encode()]) == at_once(family, CORPUS[0])


@pytest.mark.parametrize("family", ["qwen2", "whole-text", "wordpiece"])
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, cuts=CUTS)
def test_goes_on_from_a_state(family: str, text: str, cuts: list[int]) -> None:
    tokenizer, state = reader(family, 16), TokenizerState()
    ids: list[int] = []
    for chunk in cut_at(text.encode(), cuts):
        stream = StreamingTokenizer(tokenizer, state)
        ids += stream.feed(chunk)
        state = stream.state
        assert len(state.held) <= 16
        assert len(state.undecoded) <= 3
    assert state.bytes_fed == len(text.encode())
    assert ids + StreamingTokenizer(tokenizer, state).finish() == read(tokenizer, [text.encode()])


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, cuts=CUTS)
def test_peek_tells_the_end_and_changes_nothing(text: str, cuts: list[int]) -> None:
    stream = StreamingTokenizer(reader("whole-text", 16))
    for chunk in cut_at(text.encode(), cuts):
        stream.feed(chunk)
        before, peeked = stream.state, stream.peek()
        assert stream.state == before
        complete = TokenizerState(before.held, before.after_boundary)
        assert peeked == StreamingTokenizer(reader("whole-text", 16), complete).finish()
    assert peeked == stream.finish()


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, bad=st.binary(min_size=1, max_size=4), after=TEXTS, cuts=CUTS)
@example(text="é", bad=b"\xe2\x82", after="", cuts=[])
@example(text="é", bad=b"\xed\xa0\x80", after="x", cuts=[4])
@example(text="", bad=b"\xf4\x90\x80\x80", after="", cuts=[1, 2, 3])
def test_invalid_utf8_is_named_and_changes_nothing(text: str, bad: bytes, after: str, cuts: list[int]) -> None:
    data = text.encode() + bad + after.encode()
    with pytest.raises(UnicodeDecodeError) as truth:
        assume(data.decode() is None)
    stream = StreamingTokenizer(reader("smollm2", 8))
    steps = [*(partial(stream.feed, chunk) for chunk in cut_at(data, cuts)), stream.finish]
    caught = None
    for step in steps:
        before = stream.state
        try:
            step()
        except InvalidUtf8Error as error:
            caught = error
            break

    assert caught is not None
    assert caught.offset == truth.value.start
    assert str(truth.value.start) in str(caught)
    assert stream.state == before


def test_goes_on_after_invalid_utf8() -> None:
    stream = StreamingTokenizer(reader("gpt2"))
    stream.feed(b"caf" + b"\xc3")
    with pytest.raises(InvalidUtf8Error, match="at byte 3"):
        stream.feed(b"(")
    stream.feed(b"\xa9")
    assert stream.finish() == at_once("gpt2", "café")


@pytest.mark.parametrize("family", EXACT)
def test_another_document_begins_afresh(family: str) -> None:
    stream = StreamingTokenizer(reader(family, 16))
    for text in (CORPUS[0], "lazy dogs", "", " 42 fox"):
        assert stream.feed(text.encode()) + stream.finish() == read(reader(family, 16), [text.encode()])
    stream.feed(b"fox")
    with pytest.raises(InvalidUtf8Error, match=f"at byte {len(CORPUS[0]) + 9 + 7 + 3}"):
        stream.feed(b"\xff")


def test_control_tokens_are_text() -> None:
    tokenizer, text = make("smollm2"), "<|im_start|>user<|endoftext|>"
    ids = read(reader("smollm2"), [text.encode()])

    assert {tokenizer.token_to_id(token) for token in CONTROL}.isdisjoint(ids)
    assert ids == at_once("smollm2", text)
    assert decoders.ByteLevel().decode([tokenizer.id_to_token(token) for token in ids]) == text


def test_the_tokenizer_given_stays_as_it_is() -> None:
    tokenizer = Tokenizer.from_str(make("smollm2").to_str())
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=5)
    before = tokenizer.to_str()
    text = " ".join(CORPUS)

    assert read(TextTokenizer(tokenizer), [text.encode()]) == at_once("smollm2", text)
    assert tokenizer.to_str() == before
    assert not tokenizer.encode_special_tokens


def test_merges_left_out_at_random_in_training_are_not_here() -> None:
    spec = json.loads(make("gpt2").to_str())
    spec["model"]["dropout"] = 0.9
    tokenizer = TextTokenizer(Tokenizer.from_str(json.dumps(spec)))
    assert read(tokenizer, [CORPUS[0].encode()]) == at_once("gpt2", CORPUS[0])


@pytest.mark.parametrize("max_held_chars", [0, -1])
def test_refuses_to_hold_nothing(max_held_chars: int) -> None:
    with pytest.raises(ValueError, match="max_held_chars"):
        reader("gpt2", max_held_chars)


@pytest.mark.parametrize("family", ["smollm2", "qwen2", "whole-text", "unigram", "wordpiece"])
@pytest.mark.parametrize(
    "unit", ["x", " ", "\n", "\r\n", "\0", "\u0301", "公园", "👩\u200d💻\u200d", "ا", "<|im_start|>"]
)
def test_a_long_run_is_cut_at_the_limit(family: str, unit: str) -> None:
    tokenizer, data = reader(family, 256), (unit * 3000).encode()
    stream, ids = StreamingTokenizer(tokenizer), []
    for start in range(0, len(data), 1000):
        ids += stream.feed(data[start : start + 1000])
        assert len(stream.state.held) <= 256
    assert ids + stream.finish() == read(tokenizer, [data])


@pytest.mark.parametrize("unit", ["\r\n", "e\u0301", "👩\u200d💻", "👍🏽", "☂\ufe0f"])
def test_a_forced_cut_tears_no_character(unit: str) -> None:
    for max_held_chars in (8, 9, 10):
        blocks, rest = reader("gpt2", max_held_chars).split(Block(unit * 20))
        assert len(blocks) > 1
        assert all(block.text == unit * (len(block.text) // len(unit)) for block in [*blocks, rest])


def test_a_run_as_long_as_the_limit_is_not_cut() -> None:
    for word, longest in (("x" * 16, 16), ("x" * 17, 16)):
        blocks, rest = reader("metaspace-always", 17).split(Block(f"{word} {word} {word}"))
        forced = not all(block.after_boundary for block in [*blocks, rest][1:])
        assert forced == (len(word) > longest)


def test_smollm2_reads_alike_however_cut(smollm2_tokenizer: Tokenizer) -> None:
    tokenizer = TextTokenizer(smollm2_tokenizer)
    text = "".join(CORPUS * 50 + TROUBLE * 20)
    whole = Tokenizer.from_str(smollm2_tokenizer.to_str())
    whole.encode_special_tokens = True
    expected = whole.encode(text, add_special_tokens=False).ids

    assert tokenizer.exact
    for size in (1, 7, 64, 1024, 65536):
        data = text.encode()
        assert read(tokenizer, [data[start : start + size] for start in range(0, len(data), size)]) == expected
