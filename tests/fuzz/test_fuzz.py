"""The short forms of the campaigns; each file here has the long one."""

from collections import Counter

from tests.fuzz import tokenizer
from tests.fuzz.campaign import numbered
from tests.fuzz.importer import Importer


def test_whatever_is_imported_is_refused_in_words_or_can_be_used(make_engine) -> None:
    importer = Importer(make_engine())
    outcomes = Counter(numbered(importer.run, 60))
    assert outcomes["accepted"] > 10
    assert len(outcomes) > 10


def test_any_bytes_in_any_cuts_give_the_ids_of_the_whole() -> None:
    outcomes = Counter(numbered(tokenizer.run, 400))
    assert min(outcomes["proven ids"], outcomes["ids"], outcomes["invalid UTF-8"]) > 10
