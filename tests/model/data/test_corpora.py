"""Data sets with spans: spans are the answers, documents are held out whole, and other files are refused.

Run with `pytest tests/model/data/test_corpora.py`.
"""

import csv
import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmt_model.data.corpora import best_overlap, is_held_out, read_fairytales, read_molweni, read_squad
from rmt_model.data.passages import Passage, SpanQuestion
from rmt_model.data.story import Split
from rmt_model.errors import DataError

SPLITS: tuple[Split, Split] = ("train", "validation")


def asked(context: str, question: str, *answers: str, shift: int = 0, **more: Any) -> dict[str, Any]:
    """A question in SQuAD's form, each answer where it first stands."""
    places = [{"text": one, "answer_start": context.index(one) + shift} for one in answers]
    return {"question": question, "answers": places, "id": question, **more}


def said(passage: Passage) -> dict[str, list[str]]:
    """What the spans of each question say."""
    return {one.text: [passage.text[start:end] for start, end in one.spans] for one in passage.questions}


# ---------------------------------------------------------------------------- SQuAD

RIVER = "The river Oder rises in the mountains, and flows into the Baltic Sea. It is 840 km long."
TOWN = "Vltava (the longest one) passes Prague. Its name was written by a monk in 1118."


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    rivers = [
        {
            "context": RIVER,
            "qas": [
                asked(RIVER, "Where does it  flow\n?", "Baltic Sea", "the Baltic Sea"),
                asked(RIVER, "How long is it？", "840 km", "840 km"),
                asked(RIVER, "Who swims in it?", "km", is_impossible=True, plausible_answers=[]),
            ],
        },
        {"context": TOWN, "qas": [asked(TOWN, "Who wrote the name?", "a monk"), asked(TOWN, "When?", "111")]},
    ]
    articles = [{"title": f"Rivers {number}", "paragraphs": rivers} for number in range(40)]
    articles.append({"title": "Empty", "paragraphs": [{"context": "Nothing.", "qas": []}]})
    articles.append({"paragraphs": rivers[:1]})
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "2", "data": articles}))
    return path


def test_articles_are_joined_and_spans_say_the_answers(squad: Path) -> None:
    passage = read_squad(squad, "squad", "train")[0]
    assert (passage.source, passage.text) == ("squad", f"{RIVER}\n\n{TOWN}")
    assert said(passage) == {
        "Where does it flow ?": ["Baltic Sea", "the Baltic Sea"],
        "How long is it?": ["840 km"],
        "Who swims in it?": [],
        "Who wrote the name?": ["a monk"],
        "When?": ["1118"],  # a span ends with its word
    }
    impossible = passage.questions[2]
    assert passage.answers(impossible) == ()
    assert passage.answers(passage.questions[0]) == ("Baltic Sea", "the Baltic Sea")
    assert passage.answers(passage.questions[4]) == ("111",)


def test_paragraphs_can_be_passages_of_their_own(squad: Path) -> None:
    joined = read_squad(squad, "squad", "train")
    apart = read_squad(squad, "squad", "train", joined=False)
    assert {one.text for one in apart} == {RIVER, TOWN}
    assert len(apart) == 2 * len(joined) - 1
    for passage in apart:
        wanted = {RIVER: ["Baltic Sea", "the Baltic Sea", "840 km"], TOWN: ["a monk", "1118"]}[passage.text]
        assert [text for some in said(passage).values() for text in some] == wanted


@pytest.mark.parametrize("one_in", [2, 6])
def test_articles_are_held_out_whole_and_by_name(squad: Path, one_in: int) -> None:
    names = {split: {one.name for one in read_squad(squad, "s", split, one_in=one_in)} for split in SPLITS}
    assert not names["train"] & names["validation"]
    assert names["train"] | names["validation"] == {*(f"Rivers {number}" for number in range(40)), "document 41"}
    assert all(is_held_out(name, one_in) for name in names["validation"])
    assert not any(is_held_out(name, one_in) for name in names["train"])
    assert 40 / one_in / 2 < len(names["validation"]) < 80 / one_in


def test_which_documents_are_held_out_never_changes() -> None:
    """Trained checkpoints were measured on these."""
    assert [name for name in ("Beyoncé", "Frédéric Chopin", "Prague", "iPod") if is_held_out(name, 6)] == ["Prague"]
    assert [number for number in range(30) if is_held_out(f"document {number}", 6)] == [0, 3, 6, 9, 14, 22, 28]


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        ("(the longest one)", "the longest one)"),
        (", and flows", "and flows"),
        ("rises in the mountains, ", "rises in the mountains"),
        ("iver Od", "river Oder"),
        ("ises in", "rises in"),
    ],
)
def test_spans_lie_on_borders_of_words(tmp_path: Path, span: str, wanted: str) -> None:
    text = f"{RIVER} {TOWN}"
    path = tmp_path / "one.json"
    article = {"title": "a", "paragraphs": [{"context": text, "qas": [asked(text, "What?", span)]}]}
    path.write_text(json.dumps({"data": [article]}))
    (passage,) = read_squad(path, "s", "train", one_in=1000)
    assert said(passage) == {"What?": [wanted]}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        '{"data": 5}',
        '{"data": [5]}',
        '{"data": [{"title": "a"}]}',
        '{"data": [{"title": "a", "paragraphs": [{"context": "x", "qas": [{"question": "q"}]}]}]}',
        '{"data": [{"title": "a", "paragraphs": [{"context": "abc", "qas": [{"question": "q", "answers": '
        '[{"text": "xyz", "answer_start": 9}]}]}]}]}',
        '{"data": [{"title": "a", "paragraphs": [{"context": null, "qas": [{"question": "q", "answers": '
        '[{"text": "xyz", "answer_start": 0}]}]}]}]}',
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    for read, complaint in ((read_squad, "SQuAD's form"), (read_molweni, "Molweni's file")):
        with pytest.raises(DataError, match=complaint) as caught:
            read(path, *(["s"] if read is read_squad else []), "train", one_in=1000)
        assert str(path) in str(caught.value)


# ---------------------------------------------------------------------------- Molweni


def chat(number: int, *lines: tuple[str, str], **changed: Any) -> dict[str, Any]:
    context = " ".join(f"{speaker}: {text}" for speaker, text in lines)
    return {
        "dialogue_id": number,
        "edus": [{"speaker": speaker, "text": text} for speaker, text in lines],
        "context": context,
        "qas": [asked(context, "What does it need?", "a new kernel"), asked(context, "Who?", is_impossible=True)],
        **changed,
    }


LINES = (("nick_1", "sound does not work"), ("ann", "it needs a new kernel , try that"), ("nick_1", "thanks"))


def test_a_chat_is_a_line_for_each_utterance(tmp_path: Path) -> None:
    path = tmp_path / "molweni.json"
    moved = chat(4, *LINES, context="one two: three")
    path.write_text(json.dumps({"data": [*(chat(number, *LINES) for number in range(140) if number != 4), moved]}))
    found = {split: read_molweni(path, split) for split in SPLITS}
    for passage in found["train"]:
        assert passage.text == "nick_1: sound does not work\nann: it needs a new kernel , try that\nnick_1: thanks"
        assert said(passage) == {"What does it need?": ["a new kernel"], "Who?": []}
        assert passage.source == "molweni"
    names = {split: {one.name for one in some} for split, some in found.items()}
    assert names["train"] | names["validation"] == {f"chat {number}" for number in range(140) if number != 4}
    assert not names["train"] & names["validation"]
    assert 10 <= len(names["validation"]) <= 30


# ---------------------------------------------------------------------------- FairytaleQA

SECTIONS = {
    "1": "Once upon a time  an old king lived in a castle\nof glass. He had three daughters.",
    "2": "The youngest daughter, whose name was Ilse, wept because the bear had taken her golden ring.",
    "3": "An old king is not easily frightened. He sent his hunters into the forest.",
}
ASKED = [
    ("1", "explicit", "Where did the king live?", "a castle of glass", "In a castle of glass ."),
    ("2", "explicit", "What did the bear take?", "Her golden ring.", ""),
    ("2", "implicit", "How did Ilse feel?", "Sad and alone.", "unhappy"),
    ("1,3", "explicit", "Who sent the hunters?", "An old king", ""),
    ("2,3", "implicit", "Where did they go?", "the forest", ""),
]


@pytest.fixture
def fairytales(tmp_path: Path) -> Path:
    for part, names in (("train", ("bear-and-ring", "glass")), ("val", ("fox",))):
        for name in names:
            write_story(tmp_path, part, name)
    return tmp_path


def write_story(folder: Path, part: str, name: str) -> None:
    for kind in ("section-stories", "questions"):
        (folder / kind / part).mkdir(parents=True, exist_ok=True)
    with (folder / "section-stories" / part / f"{name}-story.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("section", "text"), *SECTIONS.items()])
    header = ("question_id", "cor_section", "ex-or-im1", "question", "answer1", "answer2")
    with (folder / "questions" / part / f"{name}-questions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *((number, *row) for number, row in enumerate(ASKED))])


def test_answers_of_a_story_are_found_in_their_sections(fairytales: Path) -> None:
    passages = read_fairytales(fairytales, "train")
    assert [one.name for one in passages] == ["bear-and-ring", "glass"]
    story = passages[0]
    assert story.text == "\n\n".join(" ".join(text.split()) for text in SECTIONS.values())
    assert said(story) == {
        "Where did the king live?": ["castle of glass"],
        "What did the bear take?": ["her golden ring"],
        "How did Ilse feel?": [],
        "Who sent the hunters?": ["old king"],
        "Where did they go?": ["forest"],
    }
    assert story.answers(story.questions[0]) == ("a castle of glass", "In a castle of glass .")
    assert story.answers(story.questions[2]) == ("Sad and alone.", "unhappy")


def test_what_only_follows_from_a_story_can_be_left_out(fairytales: Path) -> None:
    (story,) = read_fairytales(fairytales, "validation", explicit_only=True)
    assert story.name == "fox"
    assert [one.text for one in story.questions] == [row[2] for row in ASKED if row[1] == "explicit"]


def test_stories_that_are_missing_or_damaged_are_named(fairytales: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no section-stories/train"):
        read_fairytales(tmp_path / "nothing", "train")
    questions = fairytales / "questions" / "train" / "glass-questions.csv"
    for content in (
        None,
        b"\xff\xfe",
        b"question,answer1\nWho?,He\n",
        b"cor_section,ex-or-im1,answer1\n1,explicit,He\n",
    ):
        questions.unlink() if content is None else questions.write_bytes(content)
        with pytest.raises(DataError, match=r"glass-story\.csv or its questions cannot be read"):
            read_fairytales(fairytales, "train")
    assert len(read_fairytales(fairytales, "validation")) == 1


# ---------------------------------------------------------------------------- overlap


def f1(words: list[str], wanted: list[str]) -> float:
    shared = sum((Counter(words) & Counter(wanted)).values())
    return 2 * shared / (len(words) + len(wanted)) if shared else 0.0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from("king bear ring old gold the a".split()), max_size=14),  # noqa: SIM905
    st.lists(st.sampled_from("king bear ring old".split()), min_size=1, max_size=4),  # noqa: SIM905
)
def test_no_stretch_comes_closer_to_the_answer(words: list[str], answer: list[str]) -> None:
    text = ", ".join(words)
    found, (start, end) = best_overlap(text, " ".join(answer))
    stretches = [words[a:b] for a, b in product(range(len(words)), range(len(words) + 1)) if a < b]
    assert found == pytest.approx(max((f1(some, answer) for some in stretches), default=0.0))
    if found:
        assert f1(text[start:end].split(", "), answer) == pytest.approx(found)
        assert text[start:end].strip(", ") == text[start:end]


def test_overlap_within_a_section_only() -> None:
    text = "An old king. A golden ring. An Old King!"
    assert best_overlap(text, "the old king") == (1.0, (3, 11))
    assert best_overlap(text, "the old king", 13) == (1.0, (31, 39))
    assert best_overlap(text, "the old king", 13, 27)[0] == 0.0
    assert best_overlap(text, "the")[0] == 0.0
    assert best_overlap("", "king") == (0.0, (0, 0))


def test_a_question_without_spans_has_the_answers_that_it_is_given() -> None:
    passage = Passage("s", "n", "Mary, mary", (SpanQuestion("Who?", ((0, 4), (6, 10), (0, 4))),))
    assert passage.answers(passage.questions[0]) == ("Mary", "mary")
