"""Texts and files that evaluation is tested with, all made up here."""

import csv
import json
from pathlib import Path
from random import Random

NOUNS = (
    "sea",
    "sky",
    "wind",
    "rain",
    "stone",
    "river",
    "cloud",
    "field",
    "horse",
    "ship",
    "tree",
    "bird",
    "snow",
    "moss",
)
VERBS = ("rolled", "drifted", "waited", "turned", "slept", "glittered", "faded", "grew")


def prose(sentences: int, seed: int = 1) -> str:
    """Text in which no word of any story occurs, no two sentences alike for long."""
    rng = Random(seed)
    return " ".join(
        f"{rng.choice(NOUNS).capitalize()} and {rng.choice(NOUNS)} {rng.choice(VERBS)} below {rng.choice(NOUNS)} "
        f"while {rng.choice(NOUNS)} {rng.choice(VERBS)} {rng.choice(('soon', 'late', 'long'))}."
        for _ in range(sentences)
    )


STORY = """1 Mary went to the garden.
2 John moved to the hallway.
3 Where is Mary?\tgarden\t1
4 Mary travelled to the office.
5 Where is Mary?\toffice\t4
1 Daniel journeyed to the kitchen.
2 Sandra went back to the bathroom.
3 Where is Sandra?\tbathroom\t2
"""


def write_babi(folder: Path) -> Path:
    """A folder with qa1 of 40 stories, every second of two questions."""
    folder.mkdir(exist_ok=True)
    (folder / "qa1_single-supporting-fact_train.txt").write_text(STORY * 20)
    return folder


def write_squad(path: Path) -> Path:
    def paragraph(sentence: str, question: str, answer: str) -> dict[str, object]:
        start = sentence.index(answer)
        return {
            "context": sentence,
            "qas": [{"question": question, "answers": [{"text": answer, "answer_start": start}]}],
        }

    articles = [
        {
            "title": f"Town_{number}",
            "paragraphs": [
                paragraph(f"Town {number} was founded in {1200 + number}. It is old.", "When?", str(1200 + number)),
                paragraph("The mayor is Ada Quill. She likes tea.", f"Who is mayor of town {number}?", "Ada Quill"),
            ],
        }
        for number in range(4)
    ]
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return path


def write_fairytales(folder: Path) -> Path:
    for kind, name, rows in (
        ("section-stories", "fox-story.csv", [{"section": "1", "text": "A fox met a crane. They ate soup."}]),
        (
            "questions",
            "fox-questions.csv",
            [{"question": "Who met a crane?", "answer1": "a fox", "answer4": "the fox", "cor_section": "1"}],
        ),
    ):
        path = folder / kind / "val" / name
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return folder
