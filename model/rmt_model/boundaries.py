"""Where a text may be cut so that a tokenizer gives the same ids: *boundaries*, places that no token spans.

A boundary is told by the character before it and the one after it. That no token spans it, and that nothing
behind it changes the tokens before it, follows from the parts of a tokenizer and not from trials: from a
regular expression none of whose matches holds the two side by side, or from a vocabulary without such a
token. Where tokens depend on whether the text begins there (SentencePiece puts "▁" before it), a block is
read behind a short context, whose ids are dropped.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

__all__ = ["Boundaries", "Spec", "forced_cut"]

Spec = dict[str, Any]
"""A part of a tokenizer, as `Tokenizer.to_str` writes it."""


@dataclass(frozen=True, slots=True)
class Boundaries:
    """The boundaries of one tokenizer.

    Attributes:
        last: Matches up to the last boundary within a stretch of text.
        context: What is read before a block that follows a boundary, and its ids dropped.
        proven: Whether no token is proven to span a boundary; else it is only likely.
    """

    last: re.Pattern[str]
    context: str
    proven: bool

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """The boundaries that follow from a tokenizer's parts."""
        rule = _find_rule(spec)
        return cls(
            last=_last_boundary(rule or _UNPROVEN, spec["added_tokens"]),
            context=(rule or _UNPROVEN).context,
            proven=rule is not None,
        )


def forced_cut(text: str, start: int, end: int) -> int:
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


def _find_rule(spec: Spec) -> _CutRule | None:
    """The rule that is proven for a tokenizer, or None.

    A pre-tokenizer works on each part that the one before it left, by itself: the first one that splits at a
    boundary decides, if those before it look at single characters only.
    """
    pre_tokenizers = _parts(spec["pre_tokenizer"], "pretokenizers")
    while pre_tokenizers and pre_tokenizers[0]["type"] == "Digits":
        pre_tokenizers.pop(0)
        if any(part.get("add_prefix_space") for part in pre_tokenizers):
            return None  # each part between digits would begin with a space that a block's beginning lacks
    normalizers = {_kind(part) for part in _parts(spec["normalizer"], "normalizers")}
    for token in spec["added_tokens"]:
        rewritten = token["normalized"] and normalizers and token["content"].strip()
        if not token["special"] and (token["single_word"] or rewritten):
            return None
    rule, allowed = _rule_by_pre_tokenizer(pre_tokenizers, spec["model"], "Replace" in normalizers)
    return rule if normalizers <= {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", *allowed} else None


def _parts(part: Spec | None, members: str) -> list[Spec]:
    """A normalizer or pre-tokenizer, or the members of a sequence of them, nested ones too."""
    if part is None:
        return []
    if members not in part:
        return [part]
    return [leaf for member in part[members] for leaf in _parts(member, members)]


def _kind(normalizer: Spec) -> str:
    spaces_replaced = normalizer.get("pattern") == {"String": " "} and normalizer["content"] == "▁"
    return str(normalizer["type"]) if normalizer["type"] != "Replace" or spaces_replaced else "Replace other"


def _rule_by_pre_tokenizer(
    pre_tokenizers: list[Spec], model: Spec, spaces_replaced: bool
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


def _rule_by_merges(model: Spec) -> _CutRule | None:
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


def _last_boundary(rule: _CutRule, added_tokens: list[Spec]) -> re.Pattern[str]:
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
