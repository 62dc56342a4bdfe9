"""Stories as spans: at every place of a text, the marked words are what a simple simulation of the story answers.

.venv/bin/python -m pytest tests/model/data/test_told.py
"""

import re
from pathlib import Path
from random import Random

import pytest
from tests.model.evaluation_data import prose, write_babi
from tokenizers import Tokenizer

from rmt_model.data.babi import BabiQuestion
from rmt_model.data.forms import read_question
from rmt_model.data.passages import Holds, Passage, SpanQuestion
from rmt_model.data.sentences import sentences_of
from rmt_model.data.told import Prose, StorySource, told_in
from rmt_model.data.tracker import Tracker
from rmt_model.data.words import POOLS
from rmt_model.data.world import World
from rmt_model.errors import DataError
from rmt_model.training.span_batches import SpanBatchBuilder, WeightedSource

PEOPLE = ("Mary", "John", "Daniel", "Sandra")
PLACES = ("garden", "kitchen", "office", "hallway")
THINGS = ("apple", "milk", "football")
WAYS = ("north", "south", "east", "west")


def story(seed: int, sentences: int = 24) -> list[str]:
    """People move, take things where they are, put them down, and hand them over to who is there."""
    rng = Random(seed)
    at = {person: rng.choice(PLACES) for person in PEOPLE}
    lies = {thing: rng.choice(PLACES) for thing in THINGS}
    held: dict[str, str] = {}
    told: list[str] = []
    while len(told) < sentences:
        person, thing = rng.choice(PEOPLE), rng.choice(THINGS)
        others = [one for one in PEOPLE if one != person and at[one] == at[person]]
        deed = rng.choice(("go", "go", "take", "drop", "give"))
        if deed == "go":
            at[person] = rng.choice(PLACES)
            told.append(f"{person} {rng.choice(('went', 'moved', 'went back'))} to the {at[person]}.")
        elif deed == "take" and thing not in held and lies[thing] == at[person]:
            held[thing] = person
            told.append(f"{person} {rng.choice(('took', 'picked up'))} the {thing}{rng.choice(('', ' there'))}.")
        elif deed == "drop" and held.get(thing) == person:
            lies[thing] = at[held.pop(thing)]
            told.append(f"{person} {rng.choice(('dropped', 'put down'))} the {thing}.")
        elif deed == "give" and held.get(thing) == person and others:
            held[thing] = rng.choice(others)
            told.append(f"{person} handed the {thing} to {held[thing]}.")
    return told


def lying(seed: int) -> list[str]:
    rng = Random(seed)
    a, b, c = rng.sample(PLACES, 3)
    ways = rng.sample(WAYS, 2)
    return [f"The {a} is {ways[0]} of the {b}.", f"The {c} is {ways[1]} of the {b}."]


def tracked(sentences: list[str]) -> tuple[str, list[int], list[SpanQuestion]]:
    """The text, where each sentence begins, and what can be asked."""
    text, starts, tracker = "", [], Tracker()
    for sentence in sentences:
        starts.append(len(text))
        assert tracker.take(sentence, len(text))
        text += sentence + " "
    return text, starts, tracker.questions()


def marked(text: str, question: SpanQuestion, start: int, end: int) -> set[str]:
    """What the right spans say to somebody who has read from `start` to `end`."""
    return {text[a:b] for (a, b), held in zip(question.spans, question.holds, strict=True) if held.at(start, end)}


def answered(sentences: list[str], question: str) -> str | None:
    """What the simulation answers; None where it understands no question of this form."""
    world, asked = World(), read_question(question)
    assert all(world.take(one) for one in sentences)
    return None if asked is None else asked.answer(world)


@pytest.mark.parametrize("seed", range(20))
def test_the_right_words_at_every_place(seed: int) -> None:
    """Read from the beginning, exactly what the simulation knows is marked, after each sentence."""
    sentences = [*story(seed), *lying(seed)]
    text, starts, questions = tracked(sentences)
    assert len(questions) > 10
    for number in range(1, len(sentences) + 1):
        end = (starts[number] if number < len(starts) else len(text)) - 1
        for question in questions:
            answer = answered(sentences[:number], question.text)
            found = marked(text, question, 0, end)
            if question.text.startswith("What is") and question.text.endswith("carrying?"):
                assert found == set((answer or "").split(",")) - {"nothing"}
            else:
                assert found == {answer} - {""}, (question.text, sentences[:number])


@pytest.mark.parametrize("seed", range(8))
def test_who_begins_to_read_later_is_told_what_can_be_known(seed: int) -> None:
    """Whatever the simulation knows of the sentences from any one to any other is marked, and nothing that is wrong."""
    sentences = story(seed, 16)
    text, starts, questions = tracked(sentences)
    for first in range(len(sentences)):
        for number in range(first + 1, len(sentences) + 1):
            end = (starts[number] if number < len(starts) else len(text)) - 1
            for question in questions:
                whole, part = (answered(sentences[a:number], question.text) for a in (0, first))
                found = marked(text, question, starts[first], end)
                if question.text.endswith("carrying?"):
                    assert found == set((part or "").split(",")) - {"nothing", ""}
                else:
                    assert found <= {whole}, (question.text, sentences[first:number])
                    assert not part or question.text.startswith("Where was") or found == {part}


def test_words_that_do_not_belong_to_a_story_end_it() -> None:
    assert not Tracker().take("It rained.", 0)
    assert told_in(Random(0), ["Mary went to the garden.", "It rained."], [])[1] == []


def test_a_place_holds_from_what_it_follows_from_to_what_ends_it() -> None:
    text, _, questions = tracked(["Mary took the apple.", "Mary went to the garden.", "Mary went to the office."])
    [asked] = [one for one in questions if one.text == "Where is the apple?"]
    assert [text[a:b] for a, b in asked.spans] == ["garden", "office"]
    assert asked.holds == (Holds(0, text.index(". Mary went to the office"), len(text) - 2), Holds(0, len(text) - 2))
    [before] = [one for one in questions if one.text.startswith("Where was")]
    assert before.text == "Where was the apple before the office?"
    assert (before.spans, before.holds) == (asked.spans[:1], (Holds(0, len(text) - 2),))


def questions_of(seeds: range) -> list[BabiQuestion]:
    return [
        BabiQuestion(2, seed, tuple(story(seed)), f"Where is the {thing}?", "garden", ())
        for seed in seeds
        for thing in THINGS
    ]


def source(split: str = "train", **options: float) -> StorySource:
    some = {2: questions_of(range(30)), 4: [BabiQuestion(4, n, tuple(lying(n)), "?", "", ()) for n in range(9)]}
    return StorySource(some, Prose([prose(400)]), split, **options)  # type: ignore[arg-type]


def test_a_source_depends_on_its_random_state_alone() -> None:
    one, other = source(), source()
    one.draw(Random(7))
    assert [one.draw(Random(seed)) for seed in range(20)] == [other.draw(Random(seed)) for seed in range(20)]


def test_spans_are_whole_words_of_the_story() -> None:
    stories, noisy, renamed, unanswered, papers = source(), 0, 0, 0, 0
    for seed in range(300):
        passage = stories.draw(Random(seed))
        assert passage.questions
        noisy += "while" in passage.text
        renamed += not any(name in passage.text for name in (*PEOPLE, "The "))
        papers += len(sentences_of(passage.text)) < 3
        for question in passage.questions:
            unanswered += not question.spans
            assert len(question.spans) == len(question.holds)
            for (start, end), held in zip(question.spans, question.holds, strict=True):
                assert re.fullmatch(r"\w+", passage.text[start:end])
                assert not passage.text[start - 1 : end + 1].isalnum()
                assert held.first <= start < end
                assert held.first < held.since <= len(passage.text)
                assert held.until is None or held.since <= held.until <= len(passage.text)
    assert 150 < noisy < 280
    assert renamed > 40
    assert unanswered > 20
    assert papers > 10


def test_words_of_validation_are_its_own() -> None:
    held_out = source("validation", renamed_share=1.0, most_noise=0, paper_share=0.0)
    train = source("train", renamed_share=1.0, most_noise=0, paper_share=0.0)
    names = [
        {one for pool in ("person", "place", "object") for one in getattr(POOLS[pool], split)}
        for split in ("validation", "train")
    ]
    for seed in range(30):
        for stories, own, other in ((held_out, *names), (train, *reversed(names))):
            words = set(re.findall(r"\w+", stories.draw(Random(seed)).text))
            assert words & own
            assert not words & other


def test_sources_are_read_from_files(tmp_path: Path) -> None:
    folder = write_babi(tmp_path / "babi")
    stories = StorySource.read(folder, [prose(200)], "train", tasks=(1,))
    asked = {question.text for seed in range(40) for question in stories.draw(Random(seed)).questions}
    assert "Where is Mary?" in asked
    with pytest.raises(DataError, match="one file qa2_"):
        StorySource.read(folder, [])


def test_prose_is_sentences_in_a_row() -> None:
    text = prose(300)
    for seed in range(30):
        found = Prose([text]).sentences(Random(seed), 12)
        assert len(found) <= 12
        assert " ".join(found) in text
    assert Prose([]).sentences(Random(0), 5) == []


# ---------------------------------------------------------------------------- batches

_SENTENCE = re.compile(
    r"(?:the (?:\w+) is (?:north|south|east|west) of the \w+"
    r"|(?:mary|john|daniel|sandra) (?:went back to|went to|moved to|journeyed to|travelled to|took|picked up|dropped"
    r"|put down|handed) the \w+(?: there| to \w+)?)(?=\.)"
)


def sentences_in(text: str) -> list[str]:
    """The story's sentences in a text of tokens, with capitals again."""
    found = [f"{one}." for one in _SENTENCE.findall(text)]
    for name in PEOPLE:
        found = [one.replace(name.lower(), name) for one in found]
    return [one[0].upper() + one[1:] for one in found]


@pytest.mark.parametrize(("segments", "segment_tokens"), [(1, 96), (2, 96), (4, 96), (6, 128)])
def test_each_segment_is_marked_as_if_the_story_ended_there(
    word_pieces: Tokenizer, segments: int, segment_tokens: int
) -> None:
    builder = SpanBatchBuilder(word_pieces, [WeightedSource("stories", source(renamed_share=0.0), 1.0, 0.25)])
    marks, silent, changes = 0, 0, 0
    for seed in range(10):
        batch = builder.batch(Random(seed), lanes=16, segments=segments, segment_tokens=segment_tokens)
        for lane in range(16):
            asked = str(word_pieces.decode(batch.question[lane].tolist())).rstrip("?") + "?"
            for name in PEOPLE:
                asked = re.sub(rf"\b{name.lower()}\b", name, asked)
            asked = asked[0].upper() + asked[1:]
            known = read_question(asked)
            if known is None or not {*known.words} <= {*PEOPLE, *PLACES, *THINGS, *WAYS}:
                continue  # mistyped
            read: list[int] = []
            answers: list[str] = []
            for told, starts, ends in zip(batch.segments, batch.starts, batch.ends, strict=True):
                ids = [one for one in told[lane].tolist() if one]
                read += ids
                spans = zip(starts[lane].nonzero().flatten(), ends[lane].nonzero().flatten(), strict=True)
                words = {str(word_pieces.decode(ids[int(a) - 1 : int(b)])) for a, b in spans if a}
                text = str(word_pieces.decode(read))
                sentences = sentences_in(text)
                answer = answered(sentences, asked)
                left = re.search("dropped|put down|handed", text)
                if re.search(r"\w$", text) or (words and not answer and left):
                    continue  # cut in front of a stop; or put down by who is not known to have had it
                if words:
                    marks += 1
                    answers += words
                    assert words <= set((answer or "").lower().split(",")), (asked, sentences, words)
                else:
                    silent += 1
                    last = sentences_in(str(word_pieces.decode(ids)))
                    person = asked.split()[-1].rstrip("?")
                    if asked.startswith("Where is ") and person in PEOPLE:
                        gone = [one for one in last if one.startswith(f"{person} ") and " to the " in one]
                        assert not gone, "whoever moved here is here"
            changes += len(set(answers)) > 1
    assert marks > 20
    assert silent > 5
    assert changes > 1 or segments == 1


def test_a_stretch_without_what_the_answer_follows_from_has_none(word_pieces: Tokenizer) -> None:
    text, _, questions = tracked(
        ["Mary took the apple.", *["John went to the office."] * 8, "Mary went to the garden."]
    )
    [asked] = [one for one in questions if one.text == "Where is the apple?"]

    class One:
        def draw(self, rng: Random) -> Passage:
            del rng
            return Passage("s", "", text, (asked,))

    builder = SpanBatchBuilder(word_pieces, [WeightedSource("s", One(), 1.0, 1.0)])
    batch = builder.batch(Random(3), lanes=40, segments=1, segment_tokens=200)
    known = 0
    for ids, starts in zip(batch.segments[0], batch.starts[0], strict=True):
        words = str(word_pieces.decode([int(one) for one in ids if one]))
        told = "mary took the apple" in words and "mary went to the garden" in words
        assert bool(starts[1:].any()) == told
        known += told
    assert 0 < known < 40
