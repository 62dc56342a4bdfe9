"""A hidden story: its statements in order, the text around them untouched, and exactly so many tokens."""

from random import Random

import pytest
from tokenizers import Tokenizer

from rmt_model.data.background import Background, split_by_author
from rmt_model.data.haystack import DoesNotFitError, Layout, cut_out, hide
from rmt_model.data.story import Asked, Kept, Story

PROSE = "It was the best of times. It was the worst of times; nobody knew. The age of wisdom came, and went.\n" * 40
STATEMENTS = tuple(f"Fact number {number} is here." for number in range(4))
ASKED = (Asked("Which?", "one", (Kept(2, 0, "one", 16),)),)


@pytest.fixture(scope="module")
def background(tiny_tokenizer: Tokenizer) -> Background:
    return Background.of([PROSE], tiny_tokenizer)


@pytest.fixture(scope="module")
def encode(tiny_tokenizer: Tokenizer):
    return lambda text: tiny_tokenizer.encode(text, add_special_tokens=False).ids


def is_window(part: list[int], whole: list[int]) -> bool:
    """Whether `part` stands in `whole`, which begins again at its end."""
    twice = whole + whole
    return any(twice[start : start + len(part)] == part for start in range(len(whole)))


@pytest.mark.parametrize("scattered", [True, False])
def test_order_length_and_background(background, encode, tiny_tokenizer, scattered: bool) -> None:
    story = Story(STATEMENTS, ASKED, scattered=scattered)
    for seed in range(60):
        rng = Random(seed)
        length = rng.randint(300, 900)
        hidden = hide(rng, story, background, encode, Layout(length, own_lines=0.5, segment_tokens=64, moved_share=0.5))

        assert len(hidden.ids) == length
        rest, taken = [], 0
        for statement, span in zip(STATEMENTS, hidden.spans, strict=True):
            assert tiny_tokenizer.decode(hidden.ids[span.start : span.stop]).strip() == statement
            assert span.start >= taken
            assert scattered or span.start == taken or taken == 0
            rest += hidden.ids[taken : span.start]
            taken = span.stop
        assert is_window(rest + hidden.ids[taken:], background.ids.tolist())


def test_statements_stand_at_sentence_gaps(background, encode, tiny_tokenizer) -> None:
    for seed in range(40):
        hidden = hide(Random(seed), Story(STATEMENTS[:1], ASKED), background, encode, Layout(500))
        before = tiny_tokenizer.decode(hidden.ids[: hidden.spans[0].start]).rstrip()
        assert before == "" or before[-1] in ".!?" or hidden.spans[0].stop == 500


def test_statements_begin_within_reach(background, encode) -> None:
    for seed in range(40):
        hidden = hide(Random(seed), Story(STATEMENTS, ASKED), background, encode, Layout(2000, reach=300))
        assert hidden.spans[-1].start < 450


def test_a_story_at_the_start_begins_the_document(background, encode) -> None:
    hidden = hide(Random(1), Story(STATEMENTS[:2], ASKED, at_start=True), background, encode, Layout(400))

    assert hidden.spans[0].start == 0
    assert hidden.spans[1].start == hidden.spans[0].stop


def test_statements_that_would_be_cut_are_moved(background, encode) -> None:
    def cut(moved_share: float) -> int:
        layout = Layout(1000, segment_tokens=64, moved_share=moved_share)
        hidden = [hide(Random(seed), Story(STATEMENTS, ASKED), background, encode, layout) for seed in range(60)]
        return sum(span.start // 64 != (span.stop - 1) // 64 for one in hidden for span in one.spans)

    assert cut(0.0) > 20
    assert cut(1.0) < cut(0.0) / 4


def test_a_document_may_be_nothing_but_the_story(background, encode) -> None:
    whole = sum(len(encode(f" {statement}")) for statement in STATEMENTS)
    hidden = hide(Random(1), Story(STATEMENTS, ASKED), background, encode, Layout(whole))

    assert [span.start for span in hidden.spans] == [0, *(span.stop for span in hidden.spans[:-1])]
    with pytest.raises(DoesNotFitError, match=f"{whole} tokens do not fit into {whole - 1}"):
        hide(Random(1), Story(STATEMENTS, ASKED), background, encode, Layout(whole - 1))


def test_what_is_needed_is_cut_out_of_a_long_document(encode, tiny_tokenizer) -> None:
    sentences = tuple(f"Sentence {number} stands in this document." for number in range(60))
    story = Story(sentences, (Asked("Which?", "30", (Kept(30, 0, "30", 16),)),), scattered=False, name="mine.jsonl:7")
    whole = encode(" ".join(sentences))
    starts = set()
    for seed in range(40):
        hidden = cut_out(Random(seed), story, encode, 256, reach=128)
        text = tiny_tokenizer.decode(hidden.ids)
        assert len(hidden.ids) == 256
        assert sentences[30] in text
        assert hidden.spans[30].start < 128
        assert (
            tiny_tokenizer.decode(hidden.ids[hidden.spans[30].start : hidden.spans[30].stop]).strip() == sentences[30]
        )
        assert is_window(hidden.ids, whole)
        starts.add(hidden.spans[30].start)
    assert len(starts) > 10
    with pytest.raises(DoesNotFitError, match=r"mine.jsonl:7 has \d+ tokens, 99999 are asked for"):
        cut_out(Random(1), story, encode, 99_999, reach=1)


def test_short_sentences_are_left_out_of_a_background(tiny_tokenizer, encode) -> None:
    text = "It was the best of times for all of them, and for others. No. Never! It was the worst of times, they said."
    background = Background.of_sentences([text], tiny_tokenizer, least_tokens=10)

    kept = tiny_tokenizer.decode(background.ids.tolist())
    assert "best of times" in kept
    assert "worst of times" in kept
    assert "Never" not in kept
    assert int(background.gaps.sum()) == 2


def test_a_mention_is_a_whole_sentence_with_the_word(background, encode, tiny_tokenizer) -> None:
    def mention(word: str, longest: int = 80) -> str | None:
        found = background.mention(Random(3), encode(f" {word}"), longest)
        return found and tiny_tokenizer.decode(found).strip()

    assert mention("wisdom") == "The age of wisdom came, and went."
    assert mention("worst") == "It was the worst of times; nobody knew."
    assert mention("wisdom", longest=3) is None
    assert mention("zebra") is None


def test_authors_are_not_shared_between_the_splits() -> None:
    from pathlib import Path

    books = [Path(f"{first}_{last}_Book_{n}.txt") for first in "ABCDEFGH" for last in "XYZ" for n in range(2)]
    train, held_out = split_by_author(books)

    assert sorted(train + held_out) == sorted(books)
    assert held_out
    assert not {b.name[:3] for b in train} & {b.name[:3] for b in held_out}
