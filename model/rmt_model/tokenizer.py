"""Bytes in, stable token ids out, whatever the cuts.

    bytes --StreamingTokenizer--> characters --TextTokenizer--> blocks --> token ids

A text that arrives in pieces is tokenised in blocks, and where a block ends depends on the text alone: once
more than `max_held_chars` characters are held, that many of them are cut at the last *boundary* among them,
a place that no token spans. So the ids are the same however the bytes were cut and, where the boundary is
proven (`TextTokenizer.exact`), the same as those of the whole text tokenised at once. A run of more than
`max_held_chars` characters without a boundary is cut at that length: its ids still depend on the text alone.

A boundary is told by the character before it and the one after it. That no token spans it, and that nothing
behind it changes the tokens before it, follows from the parts of a tokenizer and not from trials: from a
regular expression none of whose matches holds the two side by side, or from a vocabulary without such a
token. Where tokens depend on whether the text begins there (SentencePiece puts "▁" before it), a block is
read behind a short context, whose ids are dropped.
"""

import json
import re
import unicodedata
from codecs import utf_8_decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from rmt_model.errors import RmtModelError

__all__ = ["Block", "InvalidUtf8Error", "StreamingTokenizer", "TextTokenizer", "TokenizerState"]

_Spec = dict[str, Any]  # a part of a tokenizer, as `Tokenizer.to_str` writes it


class InvalidUtf8Error(RmtModelError, ValueError):
    """The bytes are not UTF-8.

    Attributes:
        offset: Where the bad character begins, in bytes from the first one ever fed.
        reason: What is wrong with it.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"invalid UTF-8 at byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class Block(NamedTuple):
    """Text that is tokenised in one go; without a boundary before it, as if a document began there."""

    text: str
    after_boundary: bool = False


@dataclass(frozen=True, slots=True)
class TokenizerState:
    """All that a stream needs to go on elsewhere, with the same tokenizer and limit.

    Attributes:
        held: Text that has no token ids yet.
        after_boundary: Whether a boundary comes before it; else a document begins or a cut was forced.
        undecoded: Up to 3 bytes of an unfinished character behind the held text.
        bytes_fed: All bytes ever fed, of this document and of those before it.
    """

    held: str = ""
    after_boundary: bool = False
    undecoded: bytes = b""
    bytes_fed: int = 0


class TextTokenizer:
    """A tokenizer to which control tokens are text like any other, and that knows where text may be cut.

    Made once for a model and shared by its streams, on any thread. The tokenizer given is not changed.

    Args:
        tokenizer: The backend of a Hugging Face tokenizer.
        max_held_chars: Most characters that a stream holds back; at least 1.

    Attributes:
        max_held_chars: As given.
        exact: Whether blocks are proven to give the ids of the whole text, but for forced cuts.

    Raises:
        ValueError: The limit is below 1.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_held_chars: int = 4096) -> None:
        if max_held_chars < 1:
            raise ValueError(f"max_held_chars must be at least 1, not {max_held_chars}")
        spec: _Spec = json.loads(tokenizer.to_str())
        spec |= {"truncation": None, "padding": None}
        if spec["model"].get("dropout"):
            spec["model"]["dropout"] = None  # random while training, not here
        self._backend = Tokenizer.from_str(json.dumps(spec))
        self._backend.encode_special_tokens = True
        rule = _find_rule(spec)
        self.exact = rule is not None
        self.max_held_chars = max_held_chars
        self._context = (rule or _UNPROVEN).context
        self._context_tokens = len(self.encode([Block(self._context)]))
        self._last_boundary = _last_boundary(rule or _UNPROVEN, spec["added_tokens"])

    def encode(self, blocks: Sequence[Block]) -> list[int]:
        """The token ids of blocks that follow one another."""
        texts = [self._context + text if after_boundary else text for text, after_boundary in blocks]
        if len(texts) > 1:
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        else:  # a batch hands over to other threads: one block is read sooner on this one
            encodings = [self._backend.encode(text, add_special_tokens=False) for text in texts]
        ids: list[int] = []
        for block, encoding in zip(blocks, encodings, strict=True):
            ids += encoding.ids[self._context_tokens :] if block.after_boundary else encoding.ids
        return ids

    def split(self, held: Block) -> tuple[list[Block], Block]:
        """Cuts held text into blocks that no further text changes, and at most `max_held_chars` more."""
        text, after_boundary = held
        blocks, start = [], 0
        while len(text) - start > self.max_held_chars:
            end = start + self.max_held_chars
            boundary = self._last_boundary.match(text, start, end + 1)
            cut = boundary.end() if boundary else _forced_cut(text, start, end)
            blocks.append(Block(text[start:cut], after_boundary))
            start, after_boundary = cut, boundary is not None
        return blocks, Block(text[start:], after_boundary)


class StreamingTokenizer:
    """Turns the bytes of documents into token ids as they come; the ids depend on the bytes alone.

    The time is linear in the bytes. What is held back is bounded by the tokenizer's `max_held_chars`.

    Args:
        tokenizer: Shared by all streams of a model.
        state: Where another stream stopped; a fresh start unless given.
    """

    def __init__(self, tokenizer: TextTokenizer, state: TokenizerState = TokenizerState()) -> None:
        self._tokenizer = tokenizer
        self._max_held_chars = tokenizer.max_held_chars
        self._undecoded = state.undecoded
        self._bytes_fed = state.bytes_fed
        self._hold(Block(state.held, state.after_boundary))

    @property
    def state(self) -> TokenizerState:
        """All that is needed to go on in another process."""
        held = self._held_block()
        return TokenizerState(held.text, held.after_boundary, self._undecoded, self._bytes_fed)

    def feed(self, data: bytes) -> list[int]:
        """Takes further bytes and returns the token ids that are fixed now, whatever follows.

        Raises:
            InvalidUtf8Error: The bytes are no text; the state is what it was before.
        """
        plain = not self._undecoded and data.isascii()  # one byte at a time, this is the time it takes
        text = data.decode() if plain else self._decode(data)
        self._bytes_fed += len(data)
        if not text:
            return []
        self._held.append(text)
        self._held_chars += len(text)
        return self._release() if self._held_chars > self._max_held_chars else []

    def peek(self) -> list[int]:
        """The token ids of the held text if the document ended with it; changes nothing."""
        return self._tokenizer.encode([self._held_block()])

    def finish(self) -> list[int]:
        """Ends the document and returns its last token ids; the next bytes begin another one.

        Raises:
            InvalidUtf8Error: The document ends within a character; the state is what it was before.
        """
        if self._undecoded:
            raise InvalidUtf8Error(self._bytes_fed - len(self._undecoded), "unexpected end of data")
        ids = self.peek()
        self._hold(Block(""))
        return ids

    def _decode(self, data: bytes) -> str:
        raw = self._undecoded + data
        try:
            text, decoded_bytes = utf_8_decode(raw, "strict", False)
        except UnicodeDecodeError as error:
            offset = self._bytes_fed - len(self._undecoded) + error.start
            raise InvalidUtf8Error(offset, error.reason) from None
        self._undecoded = raw[decoded_bytes:]
        return text

    def _release(self) -> list[int]:
        blocks, rest = self._tokenizer.split(self._held_block())
        ids = self._tokenizer.encode(blocks)
        self._hold(rest)
        return ids

    def _hold(self, block: Block) -> None:
        self._held = [block.text]
        self._held_chars = len(block.text)
        self._after_boundary = block.after_boundary

    def _held_block(self) -> Block:
        return Block("".join(self._held), self._after_boundary)


def _forced_cut(text: str, start: int, end: int) -> int:
    """The last place up to `end` that tears no character from its marks, if one is near; else `end`."""
    near = range(end, max(start, end - 32), -1)
    return next((cut for cut in near if not _belong_together(text[cut - 1], text[cut])), end)


def _belong_together(before: str, after: str) -> bool:
    joined = "\u200d" in (before, after) or (before, after) == ("\r", "\n")
    return joined or "\U0001f3fb" <= after <= "\U0001f3ff" or unicodedata.category(after).startswith("M")


class _CutRule(NamedTuple):
    boundary: str  # a regular expression without width that looks at one character on either side
    context: str = ""  # what is read before a block; between the two there is a boundary


# The last character of a word: never white space, and no normalizer makes white space of it or drops it.
_WORD_END = r"(?<=[\w!-~、-〟！-｠])"
# Letters and digits before punctuation.
_BEFORE_MARK = r"(?<=[0-9A-Za-z一-龥ぁ-ゖァ-ヺ가-힣])(?=[!-/:-@\[-`{-~、。，！？：；])"

_GAPS = _CutRule(rf"{_WORD_END}(?=[ \t\r\n])")
_WORDS = _CutRule(rf"{_GAPS.boundary}|{_BEFORE_MARK}", "a")
_LINES = _CutRule(rf"{_WORD_END}(?=[ \t])|(?<=[\r\n])(?=\w)|{_BEFORE_MARK}")
_SPACES = _CutRule(rf"{_WORD_END}(?= )", "a")
_SPACES_AND_NEWLINES = _CutRule(rf"{_WORD_END}(?=[ \n])", "a")
_UNPROVEN = _CutRule(_SPACES.boundary)


def _joining_lines(words: str, numbers: str, letters: str = r"\p{L}") -> str:
    """A regular expression of GPT-4's family, in which punctuation takes line ends with it."""
    short = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    marks = rf" ?[^\s{letters}\p{{N}}]+[\r\n]*"
    return rf"{short}|[^\r\n\p{{L}}\p{{N}}]?{words}|{numbers}|{marks}|\s*[\r\n]+|\s+(?!\S)|\s+"


_REGEX_RULES = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": _WORDS,  # GPT-2
    _joining_lines(r"\p{L}+", r"\p{N}{1,3}"): _LINES,  # Llama 3
    _joining_lines(r"\p{L}+", r"\p{N}"): _LINES,  # Qwen 2
    _joining_lines(r"[\p{L}\p{M}]+", r"\p{N}", r"\p{L}\p{M}"): _LINES,  # Qwen 3.5
}


def _find_rule(spec: _Spec) -> _CutRule | None:
    """The rule that is proven for a tokenizer, or None.

    A pre-tokenizer works on each part that the one before it left, by itself: the first one that splits at a
    boundary decides, if those before it look at single characters only.
    """
    pre_tokenizers = _parts(spec["pre_tokenizer"], "pretokenizers")
    while pre_tokenizers and pre_tokenizers[0]["type"] == "Digits":
        pre_tokenizers.pop(0)
    normalizers = {_kind(part) for part in _parts(spec["normalizer"], "normalizers")}
    for token in spec["added_tokens"]:
        rewritten = token["normalized"] and normalizers and token["content"].strip()
        if not token["special"] and (token["single_word"] or rewritten):
            return None
    rule, allowed = _rule_by_pre_tokenizer(pre_tokenizers, spec["model"], "Replace" in normalizers)
    return rule if normalizers <= {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", *allowed} else None


def _parts(part: _Spec | None, members: str) -> list[_Spec]:
    """A normalizer or pre-tokenizer, or the members of a sequence of them, nested ones too."""
    if part is None:
        return []
    if members not in part:
        return [part]
    return [leaf for member in part[members] for leaf in _parts(member, members)]


def _kind(normalizer: _Spec) -> str:
    spaces_replaced = normalizer.get("pattern") == {"String": " "} and normalizer["content"] == "▁"
    return str(normalizer["type"]) if normalizer["type"] != "Replace" or spaces_replaced else "Replace other"


def _rule_by_pre_tokenizer(
    pre_tokenizers: list[_Spec], model: _Spec, spaces_replaced: bool
) -> tuple[_CutRule | None, set[str]]:
    """The rule, and the normalizers it allows besides those that only change letters."""
    match pre_tokenizers:
        case [{"type": "ByteLevel", "use_regex": True}, *_]:
            return _WORDS, set()
        case [{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}, *_]:
            return _REGEX_RULES.get(regex), set()
        case [{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Removed", "invert": True}, *_]:
            return _REGEX_RULES.get(regex), set()
        case [{"type": "BertPreTokenizer"}, *_]:
            return _WORDS, {"BertNormalizer"}
        case [{"type": "WhitespaceSplit" | "Whitespace"}, *_]:
            return _GAPS, set()
        case [{"type": "Metaspace", "split": True}, *_]:
            return _SPACES, {"Prepend", "Replace"}
        case [{"type": "Metaspace", "split": False, "replacement": "▁"}]:
            return _rule_by_merges(model), {"Prepend", "Replace"}
        case [] | [{"type": "Split", "pattern": {"String": " "}}] if spaces_replaced:
            return _rule_by_merges(model), {"Prepend", "Replace"}
    return None, set()


def _rule_by_merges(model: _Spec) -> _CutRule | None:
    """The rule for byte-pair encoding of a text as one word: no merge may lead to a token across a space."""
    if model["type"] != "BPE" or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        return None
    vocab = model["vocab"]
    has_bytes = model["byte_fallback"] and all(f"<0x{byte:02X}>" in vocab for byte in range(256))
    if not has_bytes and model["unk_token"] not in vocab:
        return None  # an unknown character vanishes, and its neighbours meet

    def begins_tokens(char: str) -> bool:
        crossing = re.compile(rf"[^{char}]{char}|.<0x[0-9A-F]{{2}}>", re.DOTALL)
        return (has_bytes or char in vocab) and not any(map(crossing.search, vocab))

    if not begins_tokens("▁"):
        return None
    return _SPACES_AND_NEWLINES if begins_tokens("\n") else _SPACES


def _last_boundary(rule: _CutRule, added_tokens: list[_Spec]) -> re.Pattern[str]:
    """Finds the last boundary that is not within an added token, nor at the end of one that is not special."""
    within, ends = set(), set()
    for token in added_tokens:
        content = token["content"]
        within |= {content[at.end() - 1 : at.end() + 1] for at in re.finditer(rule.boundary, content)}
        if not token["special"]:
            ends |= {content[-1], *("\r\n" if token["lstrip"] else "")}
    guards = [rf"(?!(?<={re.escape(a)}){re.escape(b)})" for a, b in sorted(within)]
    guards += [rf"(?<!{re.escape(char)})" for char in sorted(ends)]
    return re.compile(rf"(?s:.+)(?:{rule.boundary}){''.join(guards)}")
