import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre

from rmt_model.tokenizer import Block, InvalidUtf8Error, StreamingTokenizer, TextTokenizer, TokenizerState

CONTROL = ["<|im_start|>", "<|endoftext|>"]
CORPUS = [
    "The quick brown fox, who's 42 years old, doesn't jump over 1,234 lazy dogs; they'll say: \"no!\"\n",
    "def read(path):\n    with open(path) as file:\n\treturn file.read()  # it's all\r\n\r\n",
    "Быстрая лиса прыгает. الكلب الكسول ينام. הכלב העצלן. धीमा कुत्ता सोता है।\n",
    "我们今天去公园，然后回家。\n\n　　天气很好！素早い茶色の狐が「犬」を飛び越える。빠른 갈색 여우.\n",
    "naïve café e\u0301te\u0301 👩\u200d💻 👍🏽 🇫🇷 ½ Ⅷ ﬁ x² 100% a_b <b>bold</b> http://x.y/z?q=1\n\n\n   ...   !!!\n",
    "Yes.\nNo!\n\nWhy?\n{\n},\r\nEnd.\n\n<b>\n//\n1.\n公园。\n",
]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}", r"[^\s\p{L}\p{M}")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_level(*pre_tokenizers: Any, normalizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre.Sequence(list(pre_tokenizers)), normalizer
    alphabet = pre.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, special_tokens=CONTROL, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


def by_regex(regex: str, normalizer: Any = None) -> Tokenizer:
    split = pre.Split(Regex(regex), "isolated")
    return byte_level(split, pre.ByteLevel(add_prefix_space=False, use_regex=False), normalizer=normalizer)


def with_added_tokens(*more: AddedToken, normalizer: Any = None) -> Tokenizer:
    """Words and runs of spaces that are tokens of their own, as in GPT-NeoX and Qwen 3."""
    tokenizer = by_regex(QWEN2, normalizer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("  ", "<think>", "brown fox", "\n\n")])
    ends = [AddedToken("tail", rstrip=True, normalized=False), AddedToken("head", lstrip=True, normalized=False)]
    tokenizer.add_tokens([*ends, *more])
    return tokenizer


def sentence_bpe(*pre_tokenizers: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre.Sequence(list(pre_tokenizers))
    trainer = trainers.BpeTrainer(vocab_size=450, special_tokens=["<unk>", *CONTROL], show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


def whole_text_bpe(*more_merges: tuple[str, str], pre_tokenizer: Any = None) -> Tokenizer:
    """Llama 2's pipeline: the text is one word, unknown characters are bytes, runs of spaces are tokens."""
    trained = json.loads(sentence_bpe(pre.Split("\n", "isolated"), pre.Metaspace()).to_str())["model"]
    merges = [*more_merges, ("▁", "▁"), ("▁▁", "▁▁"), ("\n", "\n"), *map(tuple, trained["merges"])]
    tokens = chain(trained["vocab"], (f"<0x{byte:02X}>" for byte in range(256)), map("".join, merges))
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", *CONTROL])
    return tokenizer


def unigram(pre_tokenizer: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", *CONTROL], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[UNK]", *CONTROL], show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


EXACT: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": lambda: byte_level(pre.ByteLevel(add_prefix_space=False)),
    "gpt2-prefix-space": lambda: byte_level(pre.ByteLevel(add_prefix_space=True)),
    "gpt2-split": lambda: by_regex(GPT2, normalizers.NFC()),
    "smollm2": lambda: byte_level(pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)),
    "qwen2": lambda: by_regex(QWEN2, normalizers.NFC()),
    "qwen3.5": lambda: by_regex(QWEN35, normalizers.NFC()),
    "llama3": lambda: by_regex(LLAMA3),
    "added-tokens": with_added_tokens,
    "metaspace-always": lambda: sentence_bpe(pre.Metaspace(prepend_scheme="always")),
    "metaspace-first": lambda: sentence_bpe(pre.Metaspace(prepend_scheme="first")),
    "metaspace-never": lambda: sentence_bpe(pre.Metaspace(prepend_scheme="never")),
    "whole-text": whole_text_bpe,
    "whole-text-lines": lambda: whole_text_bpe((".", "\n")),
    "unigram": lambda: unigram(pre.Metaspace()),
    "unigram-words": lambda: unigram(pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])),
    "wordpiece": word_piece,
}
UNPROVEN: dict[str, Callable[[], Tokenizer]] = {
    "whole-text-crossing": lambda: whole_text_bpe(("e", "▁")),
    "whole-text-unigram": lambda: unigram(pre.Metaspace(split=False)),
    "digits-prefix-space": lambda: byte_level(pre.Digits(), pre.ByteLevel(add_prefix_space=True)),
    "unknown-regex": lambda: by_regex(r"\w+ \w+|\s+|\S"),
    "unknown-normalizer": lambda: by_regex(GPT2, normalizers.Strip()),
    "added-single-word": lambda: with_added_tokens(AddedToken("fox", single_word=True)),
    "added-normalized": lambda: with_added_tokens(AddedToken("big fox"), normalizer=normalizers.NFC()),
}


@cache
def make(family: str) -> Tokenizer:
    return (EXACT | UNPROVEN)[family]()


@cache
def reader(family: str, max_held_chars: int = 4096) -> TextTokenizer:
    return TextTokenizer(make(family), max_held_chars=max_held_chars)


@cache
def plain(family: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(make(family).to_str())
    tokenizer.encode_special_tokens = True
    return tokenizer


def at_once(family: str, text: str) -> list[int]:
    return list(plain(family).encode(text, add_special_tokens=False).ids)


def cut_at(data: bytes, places: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def read(tokenizer: TextTokenizer, chunks: Sequence[bytes]) -> list[int]:
    stream = StreamingTokenizer(tokenizer)
    return [token for chunk in chunks for token in stream.feed(chunk)] + stream.finish()


def tightest_reader(family: str, text: str) -> TextTokenizer:
    """The least limit that forces no cut: there every boundary matters."""
    for exponent in range(13):
        tokenizer = reader(family, 2**exponent)
        blocks, rest = tokenizer.split(Block(text))
        if all(block.after_boundary for block in [*blocks, rest][1:]):
            return tokenizer
    raise AssertionError("no text here has so long a run without a boundary")


TROUBLE = [
    *(" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", " \n ", "\0", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff"),
    *("fox\n", ".\n", "!\n\n", ",\r\n", "/\n", "。\n", "\nfox", "\n.", "\n/", "fox ", "! ", " fox", " !", "\t1"),
    *("a", "fox", "Hello", "İ", "ß", "1", "234", "½", "²", "'s", "'T", "'ll", "'", "!", ",", "...", "/", "_", "<b>"),
    *("e\u0301", "\u0301", "\u0338", "🇫🇷", "👩\u200d💻", "👍🏽", "\u200d", "\u200b", "\ufe0f", "𝒳", "\U0010ffff"),
    *("الكلب", "\u0600", "ﷺ", "\ufc5e", "הכלב", "कुत्ता", "ไทย", "公园", "。", "！", "、", "狐が", "ｶﾞ", "여우", "각"),
    *("▁", "▁▁", "Ġ", "Ċ", "##a", "<0x0A>", "<unk>", "[UNK]", *CONTROL, "<think>", "brown fox", "tail", "head"),
]
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
