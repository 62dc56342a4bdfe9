"""The short forms of the campaigns; each file here has the long one."""

import random
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from tests.fuzz import tokenizer
from tests.fuzz.campaign import numbered
from tests.fuzz.importer import Importer
from tests.fuzz.uploads import STEPS, Pair, Step, Uploads, step


def test_whatever_is_imported_is_refused_in_words_or_can_be_used(make_engine) -> None:
    importer = Importer(make_engine())
    outcomes = Counter(numbered(importer.run, 60))
    assert outcomes["accepted"] > 10
    assert len(outcomes) > 10


def test_any_bytes_in_any_cuts_give_the_ids_of_the_whole() -> None:
    outcomes = Counter(numbered(tokenizer.run, 400))
    assert min(outcomes["proven ids"], outcomes["ids"], outcomes["invalid UTF-8"]) > 10


def test_a_session_does_what_its_model_does(redis_url: str) -> None:
    """Hypothesis looks for the steps, and shortens those that go wrong."""
    uploads = Uploads(redis_url)

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.pair: Pair = uploads.begin()

        @rule(kind=st.sampled_from(STEPS), seed=st.integers(0, 1 << 32))
        def step(self, kind: Step, seed: int) -> None:
            step(kind, random.Random(seed), self.pair)

        def teardown(self) -> None:
            uploads.finish(self.pair)

    few = settings(max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Machine, settings=few)
    uploads.close()


def test_seeded_sessions_do_what_their_model_does(redis_url: str) -> None:
    uploads = Uploads(redis_url)
    outcomes = Counter(numbered(uploads.run, 5))
    uploads.close()
    assert len(outcomes) > 20
