"""Tiny tokenizers of all families that there are, text that is hard for them, and how a text is read in pieces."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain, pairwise
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre

from rmt_model.tokenizer import StreamingTokenizer, TextTokenizer

CONTROL = ["<|im_start|>", "<|endoftext|>"]
CORPUS = [
    "The quick brown fox, who's 42 years old, doesn't jump over 1,234 lazy dogs; they'll say: \"no!\"\n",
    "def read(path):\n    with open(path) as file:\n\treturn file.read()  # it's all\r\n\r\n",
    "Быстрая лиса прыгает. الكلب الكسول ينام. הכלב העצלן. धीमा कुत्ता सोता है।\n",
    "我们今天去公园，然后回家。\n\n　　天气很好！素早い茶色の狐が「犬」を飛び越える。빠른 갈색 여우.\n",
    "naïve café e\u0301te\u0301 👩\u200d💻 👍🏽 🇫🇷 ½ Ⅷ ﬁ x² 100% a_b <b>bold</b> http://x.y/z?q=1\n\n\n   ...   !!!\n",
    "Yes.\nNo!\n\nWhy?\n{\n},\r\nEnd.\n\n<b>\n//\n1.\n公园。\n",
]
TROUBLE = [
    *(" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", " \n ", "\0", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff"),
    *("fox\n", ".\n", "!\n\n", ",\r\n", "/\n", "。\n", "\nfox", "\n.", "\n/", "fox ", "! ", " fox", " !", "\t1"),
    *("a", "fox", "Hello", "İ", "ß", "1", "234", "½", "²", "'s", "'T", "'ll", "'", "!", ",", "...", "/", "_", "<b>"),
    *("e\u0301", "\u0301", "\u0338", "🇫🇷", "👩\u200d💻", "👍🏽", "\u200d", "\u200b", "\ufe0f", "𝒳", "\U0010ffff"),
    *("الكلب", "\u0600", "ﷺ", "\ufc5e", "הכלב", "कुत्ता", "ไทย", "公园", "。", "！", "、", "狐が", "ｶﾞ", "여우", "각"),
    *("▁", "▁▁", "Ġ", "Ċ", "##a", "<0x0A>", "<unk>", "[UNK]", *CONTROL, "<think>", "brown fox", "tail", "head"),
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
