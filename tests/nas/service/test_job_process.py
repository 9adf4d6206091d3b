"""What becomes of a job's errors: a job that failed, or one that is left to another process."""

from dataclasses import asdict

import pytest

from nas.config import ConfigError
from nas.service.database import Database, DatabaseError
from nas.service.job_process import Order, Outcome, carry_out
from nas.service.jobs import JOBS, LeftError, Work
from nas.service.queue import JobState, LeaseLostError
from tests.nas.service.searching import claimed, submitted


@pytest.fixture
def kind() -> str:
    return "sqlite"


@pytest.fixture
def order(database: Database, url: str) -> Order:
    submitted(database)
    return Order(database_url=url, artifacts="memory://a", lease_s=30.0, lease=asdict(claimed(database)))


@pytest.mark.parametrize("error", [LeftError("No room."), LeaseLostError("No lease."), DatabaseError("No database.")])
def test_a_job_that_cannot_go_on_here_ends_without_a_word(
    order: Order, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def leave(work: Work) -> None:
        raise error

    monkeypatch.setitem(JOBS, "search", leave)
    with pytest.raises(SystemExit, match=str(error)):
        carry_out(order)


def test_what_is_wrong_with_a_config_fails_its_job(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: Work) -> None:
        raise ConfigError("A config must be one.")

    monkeypatch.setitem(JOBS, "search", fail)
    assert carry_out(order) == Outcome(state=JobState.FAILED, reason="A config must be one.")
    monkeypatch.setitem(JOBS, "search", lambda work: None)
    assert carry_out(order) == Outcome(state=JobState.COMPLETE)
