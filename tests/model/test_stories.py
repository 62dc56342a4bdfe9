"""Stories are read as they are written, and what a memory should keep of them follows from what they say."""

import re
from pathlib import Path
from random import Random

import pytest

from rmt_model.data.babi import BabiSource, read_babi, read_babi_tasks, split_stories, story_of
from rmt_model.data.documents import DocumentSource, read_fairytales, read_lines, read_squad
from rmt_model.data.facts import KINDS, SEEN_KINDS, UNSEEN_KINDS, draw_fact
from rmt_model.data.forms import FORMS, asked_along, kept_for_any_question, kept_for_focus, read_question
from rmt_model.data.paper import PAPER_TASKS, PLACES, PaperSource
from rmt_model.data.planted import PlantedSource
from rmt_model.data.sentences import sentences_of
from rmt_model.data.story import Kept, Story, Wish
from rmt_model.data.words import POOLS, Lexicon
from rmt_model.data.world import World
from rmt_model.errors import DataError

PROSE = "It was the best of times. It was the worst of times; nobody knew. The age of wisdom came, and went.\n" * 40
STORY = """1 Mary moved to the attic.
2 John went to the cellar.
3 Where is Mary? \tattic\t1
4 Mary travelled to the barn.
5 Where is Mary? \tbarn\t4
"""


def said_in_the_end(kept: tuple[Kept, ...] | None) -> dict[int, str]:
    assert kept is not None
    return {each.vector: each.text for each in kept}


def test_each_question_has_the_sentences_before_it(tmp_path: Path) -> None:
    (tmp_path / "qa1_train.txt").write_text(STORY * 20)
    questions = list(read_babi(tmp_path / "qa1_train.txt", 1))

    assert len(questions) == 40
    first, second = questions[:2]
    assert (first.question, first.answer, first.supporting) == ("Where is Mary?", "attic", (0,))
    assert second.sentences == ("Mary moved to the attic.", "John went to the cellar.", "Mary travelled to the barn.")
    assert second.supporting == (2,)
    assert [one.story for one in questions] == [number // 2 for number in range(40)]


def test_no_story_is_in_both_splits(tmp_path: Path) -> None:
    (tmp_path / "qa1_train.txt").write_text(STORY * 20)
    questions = list(read_babi(tmp_path / "qa1_train.txt", 1))
    train, validation = split_stories(questions, "train"), split_stories(questions, "validation")

    assert len(train) + len(validation) == len(questions)
    assert {one.story for one in validation} == {9, 19}
    assert not {one.story for one in train} & {one.story for one in validation}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Mary moved.\nTwo John went.\n", r"qa1_train.txt:2: not a line of bAbI"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\n", r"qa1_train.txt:2: a question is followed by"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\t7\n", r"qa1_train.txt:2: a question is followed by"),
        ("1 Mary moved.\n2 Where is Mary?\t \t1\n", r"qa1_train.txt:2: .*an answer"),
        ("3 Where is Mary?\tattic\t\n", r"qa1_train.txt:1: a question before any story"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "qa1_train.txt").write_text(text)

    with pytest.raises(DataError, match=message):
        read_babi_tasks(tmp_path, [1], "train")


def test_a_missing_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qa7_\*train\*.txt is wanted, found: none"):
        read_babi_tasks(tmp_path, [7], "train")


def test_a_story_that_fits_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "qa1_train.txt").write_text(STORY * 20)
    source = BabiSource(read_babi_tasks(tmp_path, [1], "train"))
    lengths = {len(source.draw(Random(seed), Wish("focus", 20)).statements) for seed in range(60)}

    assert lengths == {1, 2}
    assert {len(source.draw(Random(seed), Wish("focus", 99)).statements) for seed in range(60)} == {1, 2, 3}


def test_a_story_is_asked_all_along_what_is_known_there(tmp_path: Path) -> None:
    """For a focus nothing but its question, for recall any: always with the answer that holds there."""
    (tmp_path / "qa1_train.txt").write_text(STORY * 20)
    source = BabiSource(read_babi_tasks(tmp_path, [1], "train"))
    asked = 0
    for seed in range(60):
        for mode in ("focus", "recall"):
            story = source.draw(Random(seed), Wish(mode, 99, questions=5))  # type: ignore[arg-type]
            main, *others = story.asked
            assert main.after is None
            for each in others:
                assert each.after is not None
                world, read = World(), read_question(each.question)
                assert all(world.take(sentence) for sentence in story.statements[: each.after + 1])
                assert read is not None
                assert read.answer(world) == each.answer != ""
                assert mode == "recall" or each.question == main.question
            asked += len(others)
    assert asked > 300


def test_nothing_is_asked_along_a_story_that_is_not_understood() -> None:
    strange = ("Mary is bored.", "Mary went to the garden.")

    assert asked_along(Random(1), strange, "Where is Mary?", 5, only=False) == []
    assert asked_along(Random(1), strange[1:], "Why is Mary bored?", 5, only=False) == []
    assert {one.question for one in asked_along(Random(1), strange[1:], "Where is Mary?", 60, only=False)} == {
        "Where is Mary?",
        "Is Mary in the garden?",
        "How many objects is Mary carrying?",
        "What is Mary carrying?",
    }


def test_every_question_that_can_be_asked_is_understood_and_has_an_answer() -> None:
    told = (
        "Fred went to the school.",
        "Mary went to the attic.",
        "Fred grabbed the apple there.",
        "Fred travelled to the office.",
        "Fred handed the apple to Bill.",
        "The barn is east of the office.",
    )
    world = World()
    assert all(world.take(sentence) for sentence in told)
    asked = [question for form in FORMS for question in form.ask(world)]

    assert len({next(form for form in FORMS if re.fullmatch(form.pattern, question)) for question in asked}) == 13
    for question in asked:
        read = read_question(question)
        assert read is not None
        assert read.answer(world), question


def test_a_focus_keeps_the_answer_and_nothing_else() -> None:
    sentences = ("Mary went to the garden.", "John moved to the office.", "Mary travelled to the kitchen.")

    assert kept_for_focus(sentences, "Where is Mary?") == (Kept(0, 0, "garden", 16), Kept(2, 0, "kitchen", 16))
    assert kept_for_focus(sentences, "Is Mary in the garden?") == (Kept(0, 0, "yes", 16), Kept(2, 0, "no", 16))
    assert kept_for_focus(sentences, "Why is Mary bored?") is None
    assert kept_for_focus((*sentences, "Mary is bored."), "Where is Mary?") is None


def test_a_focus_on_a_thing_follows_whoever_has_it() -> None:
    sentences = (
        "Mary went to the garden.",
        "Mary picked up the milk there.",
        "John moved to the office.",
        "Mary travelled to the kitchen.",
        "Mary put down the milk.",
        "Mary went back to the hallway.",
    )
    kept = kept_for_focus(sentences, "Where is the milk?")
    assert kept is not None

    assert [(each.after, each.text) for each in kept if each.vector == 0] == [(1, "garden"), (3, "kitchen")]
    assert [(each.after, each.text) for each in kept if each.vector == 4] == [(1, "Mary")]
    before = kept_for_focus(sentences, "Where was the milk before the kitchen?")
    assert said_in_the_end(before)[0] == "garden"


def test_every_question_that_is_understood_is_answered_rightly() -> None:
    sentences = (
        "Fred went to the school.",
        "Fred grabbed the apple there.",
        "Fred handed the apple to Bill.",
        "Bill gave the apple to Jeff.",
        "Jeff took the milk there.",
    )
    wanted = {
        "What did Bill give to Jeff?": "apple",
        "Who gave the apple to Bill?": "Fred",
        "Who did Fred give the apple to?": "Bill",
        "Who gave the apple?": "Bill",
        "Who received the apple?": "Jeff",
        "How many objects is Jeff carrying?": "two",
        "What is Jeff carrying?": "apple,milk",
        "What is Fred carrying?": "nothing",
    }
    for question, answer in wanted.items():
        kept = kept_for_focus(sentences, question)
        assert said_in_the_end(kept)[0] == answer, question


@pytest.mark.parametrize("question", ["What is north of the office?", "What is the office south of?"])
@pytest.mark.parametrize("statement", ["The attic is north of the office.", "The office is south of the attic."])
def test_places_lie_both_ways(statement: str, question: str) -> None:
    kept = kept_for_focus((statement, "The barn is east of the office."), question)

    assert said_in_the_end(kept) == {0: "attic"}


def test_without_a_question_everything_is_kept_in_places_of_its_own() -> None:
    sentences = (
        "Mary went to the garden.",
        "John moved to the office.",
        "John got the milk.",
        "John went to the attic.",
    )
    kept = kept_for_any_question(sentences)
    said = said_in_the_end(kept)

    assert (said[0], said[1]) == ("garden", "attic")
    assert sorted(said.values()) == sorted(["garden", "attic", "attic", "John", "office"])
    assert all(each.vectors == 1 and each.vector < 16 for each in kept or ())
    for strange in (
        ("Mary is bored.",),
        ("Ann went to the garden.",),
        ("John went to the attic.", "Fred went to the barn."),
    ):
        assert kept_for_any_question(strange) is None


def test_things_are_carried_in_the_order_in_which_they_were_first_taken() -> None:
    world = World()
    for sentence in ("Mary got the milk.", "Mary got the apple.", "Mary left the milk.", "Mary took the milk."):
        assert world.take(sentence)

    assert world.carried("Mary") == ["milk", "apple"]


@pytest.mark.parametrize("task", PAPER_TASKS)
def test_the_papers_tasks_say_their_answer(task: str) -> None:
    for seed in range(100):
        story = PaperSource([task]).draw(Random(seed), Wish("focus", 99))  # type: ignore[list-item]
        (asked,) = story.asked
        assert said_in_the_end(asked.kept)[0] == asked.answer
        assert asked.answer in PLACES
        assert story.at_start == (task == "memorize")
        assert len(story.statements) == (2 if task == "reasoning" else 1)
        if task == "reasoning":  # both speak of the place that is asked about
            place = re.search(r"the (\w+)( \w+ of)?\?", asked.question)
            assert place is not None
            assert all(place[1] in statement for statement in story.statements)


def test_validation_words_are_never_trained_on() -> None:
    trained = {word for pool in POOLS.values() for word in pool.train}
    held_out = {word for pool in POOLS.values() for word in pool.validation}

    assert held_out
    assert not trained & held_out


def test_some_kinds_of_facts_are_left_for_validation() -> None:
    assert len(UNSEEN_KINDS) >= 3
    assert not set(UNSEEN_KINDS) & set(SEEN_KINDS)
    assert set(UNSEEN_KINDS) | set(SEEN_KINDS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_says_its_answer_and_what_it_is_about(kind: str) -> None:
    for seed in range(50):
        fact = draw_fact(Random(seed), "train", (kind,))
        assert fact.answer.casefold() in fact.statement.casefold()
        assert fact.key.casefold() in fact.question.casefold()
        assert fact.key.casefold() in fact.statement.casefold()


def test_the_open_vocabulary_is_split_too() -> None:
    lexicon = Lexicon.of([PROSE], least=2)
    drawn = {lexicon.draw(Random(seed), "train") for seed in range(200)}

    assert {"best", "times", "wisdom"} <= set(lexicon.train) | set(lexicon.validation)
    assert not set(lexicon.train) & set(lexicon.validation)
    assert "pavilion" in POOLS["place"].validation
    assert not set(Lexicon.of(["pavilion " * 9], least=2).train)
    assert drawn == set(lexicon.train)
    facts = [draw_fact(Random(seed), "validation", ("object_place",), lexicon) for seed in range(200)]
    assert not any(word in lexicon.train for fact in facts for word in fact.answer.split())


def test_coined_names_differ_between_the_splits() -> None:
    def names(split: str) -> set[str]:
        facts = [draw_fact(Random(seed), split, ("person_place",)) for seed in range(400)]  # type: ignore[arg-type]
        return {fact.key for fact in facts}

    assert not names("train") & names("validation")


def test_planted_facts_hold_the_answer_and_may_be_replaced() -> None:
    replaced = 0
    for seed in range(200):
        story = PlantedSource("train").draw(Random(seed), Wish("focus", 200))
        (asked,) = story.asked
        assert asked.kept
        last = asked.kept[-1]
        assert last.text == asked.answer
        assert asked.answer.casefold() in story.statements[last.after].casefold()
        assert len(story.statements) <= 10
        replaced += len(asked.kept) > 1
    assert 10 < replaced < 60


def test_a_memory_without_a_focus_is_given_few_facts() -> None:
    counts = [len(PlantedSource("train").draw(Random(seed), Wish("recall", 400, 4)).statements) for seed in range(100)]

    assert max(counts) <= 3


def test_sentences_keep_every_word() -> None:
    text = 'He came. "Did he?" she said. Mr. Hill\'s 3 dogs ran!\n\nA new paragraph\nof two lines'
    sentences = sentences_of(text)

    assert " ".join(sentences).split() == text.split()
    assert sentences[0] == "He came."
    assert sentences[-1] == "A new paragraph of two lines"


def test_lines_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(
        '{"document": "The cat sat. The dog ran.", "question": "Who ran?", "answer": "The dog"}\n\n'
        '{"document": "The cat sat. The dog ran.", "question": "Who sat?", "answer": "cat"}\n'
        '{"document": "A. B.", "question": "Which?", "answer": "C"}\n'
    )
    one, other = read_lines(file)

    assert one.sentences == ("The cat sat.", "The dog ran.")
    assert [(asked.question, asked.evidence) for asked in one.questions] == [("Who ran?", 1), ("Who sat?", 0)]
    assert other.questions[0].evidence is None
    assert other.name == f"{file}:4"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"mine.jsonl:2: not JSON"),
        ("[]", r"mine.jsonl:2: an object"),
        ('{"document": "A.", "question": "B?"}', r"mine.jsonl:2: 'answer' must be a text"),
        ('{"document": "A.", "question": "B?", "answer": "  "}', r"mine.jsonl:2: 'answer' is empty"),
        ('{"document": "", "question": "B?", "answer": "C"}', r"mine.jsonl:2: 'document' is empty"),
    ],
)
def test_a_malformed_line_of_ones_own_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"document": "A.", "question": "B?", "answer": "C"}\n' + line + "\n")

    with pytest.raises(DataError, match=message):
        read_lines(file)


def test_empty_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    for name, message in (("empty.jsonl", "holds no lines"), ("none.jsonl", "cannot be read")):
        with pytest.raises(DataError, match=message):
            read_lines(tmp_path / name)


SQUAD = """{"data": [{"title": "Rivers", "paragraphs": [
{"context": "The Elbe is long. It ends at Cuxhaven.", "qas": [
 {"question": "Where does it end?", "answers": [
  {"text": "Cuxhaven", "answer_start": 29}, {"text": "at Cuxhaven", "answer_start": 26}]}]},
{"context": "The Oder is shorter.", "qas": [
 {"question": "Which is shorter?", "answers": [{"text": "The Oder", "answer_start": 0}]}]}]}]}"""


def test_articles_are_joined_and_evidence_is_found(tmp_path: Path) -> None:
    (tmp_path / "squad.json").write_text(SQUAD)
    (article,) = read_squad(tmp_path / "squad.json")

    assert article.text == "The Elbe is long. It ends at Cuxhaven. The Oder is shorter."
    assert [asked.evidence for asked in article.questions] == [1, 2]
    assert article.questions[0].answers == ("Cuxhaven", "at Cuxhaven")
    (tmp_path / "bad.json").write_text('{"data": [{"title": "x"}]}')
    with pytest.raises(DataError, match=r"bad.json is not in SQuAD's form"):
        read_squad(tmp_path / "bad.json")


def test_fairytales_are_joined_with_their_questions(tmp_path: Path) -> None:
    stories, questions = tmp_path / "section-stories" / "val", tmp_path / "questions" / "val"
    stories.mkdir(parents=True)
    questions.mkdir(parents=True)
    (stories / "fox-story.csv").write_text(
        'section,text\n1,"A fox lived here. He was old."\n2,"He met a ""hen"" there."\n'
    )
    file = questions / "fox-questions.csv"
    file.write_text(
        "cor_section,question,answer1,answer2,answer4\n2,Whom did he meet?,a hen,,the hen\n1,How was he?,old,,\n"
    )
    (story,) = read_fairytales(tmp_path, "val")

    assert story.name == "fox"
    assert story.sentences == ("A fox lived here.", "He was old.", 'He met a "hen" there.')
    assert [(asked.answers, asked.evidence) for asked in story.questions] == [(("a hen", "the hen"), 2), (("old",), 1)]
    file.write_text("question,answer1\nWhom?,a hen\n")
    with pytest.raises(DataError, match=r"fox-questions.csv lacks a column"):
        read_fairytales(tmp_path, "val")
    with pytest.raises(DataError, match="holds no stories"):
        read_fairytales(tmp_path, "train")


def test_the_sentences_around_the_evidence_are_taken(tmp_path: Path) -> None:
    text = " ".join(f"Sentence number {number} stands here." for number in range(100))
    file = tmp_path / "mine.jsonl"
    file.write_text(f'{{"document": "{text}", "question": "Which?", "answer": "number 60"}}\n')
    source = DocumentSource(read_lines(file))
    drawn = [source.draw(Random(seed), Wish("focus", 100)) for seed in range(20)]

    for story in drawn:
        (asked,) = story.asked
        assert asked.kept is not None
        assert "number 60" in story.statements[asked.kept[0].after]
        assert 5 < len(story.statements) < 15
        assert " ".join(story.statements) in text
        assert not story.scattered
    assert len({story.statements for story in drawn}) > 3


def test_questions_along_a_document_come_behind_their_evidence(tmp_path: Path) -> None:
    text = " ".join(f"Sentence number {number} stands here." for number in range(40))
    lines = [
        f'{{"document": "{text}", "question": "Which is {number}?", "answer": "number {number} stands"}}'
        for number in range(10, 20)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    source = DocumentSource(read_lines(tmp_path / "mine.jsonl"))
    for seed in range(20):
        recall = source.draw(Random(seed), Wish("recall", 100, questions=6)).asked
        focus = source.draw(Random(seed), Wish("focus", 100, questions=6))
        assert len(recall) == len(focus.asked) == 7
        assert len({asked.question for asked in recall}) > 1
        assert {asked.question for asked in focus.asked} == {focus.asked[0].question}
        for asked in focus.asked[1:]:
            assert asked.after is not None
            assert asked.answer in " ".join(focus.statements[: asked.after + 1])


def test_a_story_asks_what_its_file_asks(tmp_path: Path) -> None:
    (tmp_path / "qa1_train.txt").write_text(STORY)
    story = story_of(next(read_babi(tmp_path / "qa1_train.txt", 1)))

    assert isinstance(story, Story)
    assert story.asked[0].question == "Where is Mary?"
    assert said_in_the_end(story.asked[0].kept) == {0: "attic"}
