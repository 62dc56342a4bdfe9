"""The fault campaign in short: `make faults` has the long one."""

import httpx
import pytest
from tests.faults.campaign import Campaign, line
from tests.faults.plan import Fsync, plan_run
from tests.faults.promise import Answered, Promise, StartOverError, Whole
from tests.faults.world import Loss


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("campaign"))


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("fsync", "seed"), [("always", 1), ("always", 4), ("everysec", 1), ("everysec", 2)])
def test_a_run_through_faults_ends_like_an_undisturbed_reading(campaign: Campaign, fsync: Fsync, seed: int) -> None:
    outcome = campaign.run(seed, fsync)
    print(line(outcome))
    assert outcome.problems == []


def test_a_seed_always_gives_the_same_plan() -> None:
    assert plan_run(7, "always") == plan_run(7, "always")
    assert plan_run(7, "always") != plan_run(8, "always")


def answered(began_s: float, got_s: float) -> Answered:
    return Answered(httpx.Response(204), began_s, got_s)


def test_what_redis_kept_stays_promised() -> None:
    promise = Promise()
    promise.add(answered(1.0, 2.0), 100)  # before the last moment that Redis kept
    promise.add(answered(4.0, 5.0), 200)  # after it
    assert promise.least(()) == 200
    assert promise.least((Loss(kept_s=3.0, back_s=6.0),)) == 100


def test_an_answer_of_the_life_before_promises_nothing_of_the_next() -> None:
    promise = Promise()
    promise.add(answered(5.0, 8.0), 200)  # asked before Redis was killed, heard after it was back
    promise.add(answered(7.0, 8.0), 150)
    assert promise.least((Loss(kept_s=3.0, back_s=6.0),)) == 150


def test_an_answer_of_before_a_loss_promises_nothing_even_if_it_is_added_after_it() -> None:
    promise = Promise()
    lost = (Loss(kept_s=3.0, back_s=6.0),)
    assert promise.least(lost) == 0
    promise.add(answered(4.0, 5.0), 200)  # heard before Redis was killed, noted when it was back
    assert promise.least(lost) == 0


def test_a_session_that_may_be_lost_starts_over() -> None:
    whole = Whole()
    whole.add(answered(1.0, 2.0))
    whole.check((Loss(kept_s=3.0, back_s=4.0),))
    whole.add(answered(5.0, 6.0))
    with pytest.raises(StartOverError):
        whole.check((Loss(kept_s=3.0, back_s=4.0), Loss(kept_s=5.5, back_s=7.0)))
