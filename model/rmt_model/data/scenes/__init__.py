"""Scenes: documents made by templates, of kinds that people ask about and question data sets lack.

Read `grammar` first (how a kind of document is written down), then `draft` (how one is written with its questions),
`vocabulary` (the words), and any of the kinds: `meetings`, `chats`, `logs`, `manuals`, `mails`, `reports`,
`contracts`, `stories`, `leaflets`.
"""

from random import Random

from rmt_model.data.passages import Passage, SpanQuestion
from rmt_model.data.scenes import chats, contracts, leaflets, logs, mails, manuals, meetings, reports, stories
from rmt_model.data.scenes.draft import Draft
from rmt_model.data.scenes.grammar import Kind
from rmt_model.data.scenes.tone import vary
from rmt_model.data.scenes.vocabulary import Vocabulary
from rmt_model.data.story import Split
from rmt_model.data.words import NO_LEXICON, Lexicon

__all__ = ["KINDS", "SceneSource"]

KINDS: dict[str, tuple[Kind, ...]] = {
    "meeting": meetings.KINDS,
    "chat": chats.KINDS,
    "log": logs.KINDS,
    "manual": manuals.KINDS,
    "mail": mails.KINDS,
    "report": reports.KINDS,
    "contract": contracts.KINDS,
    "story": stories.KINDS,
    "leaflet": leaflets.KINDS,
}
"""Kinds of documents by group; groups are equally frequent."""
_LEAST_WORDS, _MOST_WORDS = 150, 900


class SceneSource:
    """Makes documents without end. The same random state gives the same document."""

    def __init__(self, split: Split, lexicon: Lexicon = NO_LEXICON) -> None:
        self._split = split
        self._lexicon = lexicon

    def draw(self, rng: Random) -> Passage:
        """One document with 4 to 10 questions."""
        group = rng.choice(list(KINDS))
        kind = rng.choice(KINDS[group])
        while True:
            draft = Draft(rng, Vocabulary(rng, self._split, self._lexicon), self._split)
            draft.write(kind, rng.uniform(0.9, 3.2))
            questions = draft.questions(kind)
            if questions and _LEAST_WORDS <= len(draft.text.split()) <= _MOST_WORDS:
                asked = tuple(SpanQuestion(vary(question.text, rng), question.spans) for question in questions)
                return Passage("scenes", f"{group}/{kind.name}", draft.text, asked)
