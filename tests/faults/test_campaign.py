"""The fault campaign in short: `make faults` has the long one."""

import pytest
from tests.faults.campaign import Campaign, line
from tests.faults.plan import Fsync, plan_run

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("campaign"))


@pytest.mark.parametrize(("fsync", "seed"), [("always", 1), ("always", 4), ("everysec", 1), ("everysec", 2)])
def test_a_run_through_faults_ends_like_an_undisturbed_reading(campaign: Campaign, fsync: Fsync, seed: int) -> None:
    outcome = campaign.run(seed, fsync)
    print(line(outcome))
    assert outcome.problems == []


def test_a_seed_always_gives_the_same_plan() -> None:
    assert plan_run(7, "always") == plan_run(7, "always")
    assert plan_run(7, "always") != plan_run(8, "always")
