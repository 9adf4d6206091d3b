"""What is read of a search without its sub-networks is what the whole of it says."""

from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import select, update

from nas.front import front_of
from nas.pick import goal_within, pick
from nas.results import FailedTrialError, ResultsError
from nas.service import tables
from nas.service.database import Database
from nas.service.queue import Queue
from nas.service.searches import NotReadyError, Searches, UnknownSearchError
from tests.nas.service.searching import fail, finished, submitted
from tests.nas.test_search import Bench

BUDGETS: list[list[tuple[Literal["max", "min"], str]]] = [
    [],
    [("max", "parameters=0.8x")],
    [("min", "perplexity=0.5x")],
]


def searches_of(database: Database) -> Searches:
    return Searches(database, Queue(database))


@pytest.mark.parametrize("budgets", BUDGETS, ids=str)
def test_fronts_and_picks_are_those_of_whole_trials(
    database: Database, budgets: list[tuple[Literal["max", "min"], str]]
) -> None:
    search_id, searches = finished(database), searches_of(database)
    standing, results = searches.standing(search_id), searches.results(search_id)
    goal = goal_within(results, budgets)
    assert goal_within(standing, budgets) == goal
    members = front_of(results.trials, goal)
    assert members
    assert searches.described(search_id, front_of(standing.trials, goal)) == [one.to_json() for one in members]
    picked = pick(standing, budgets=budgets)
    assert searches.described(search_id, [picked]) == [pick(results, budgets=budgets).to_json()]


def test_trials_keep_their_order_and_the_numbers_that_were_read_first(database: Database) -> None:
    search_id, searches = finished(database), searches_of(database)
    outcomes = searches.standing(search_id).trials[::-2]
    before = [one.to_json() for one in searches.results(search_id).trials[::-2]]
    with database.transaction() as connection:
        connection.execute(update(tables.trials).values(measurements={}))
    assert searches.described(search_id, outcomes) == before
    assert searches.described(search_id, []) == []
    assert all(not one.measurements for one in searches.standing(search_id).trials)


def test_of_another_search_nothing_is_read(database: Database) -> None:
    first, second = finished(database), finished(database, owner="bob")
    searches = searches_of(database)
    with database.transaction() as connection:
        connection.execute(update(tables.trials).where(tables.trials.c.search_id == second).values(measurements={}))
        connection.execute(update(tables.trials).where(tables.trials.c.search_id == second).values(sub_network={}))
    standing = searches.standing(first)
    assert [one.number for one in standing.trials] == list(range(6))
    assert all(one["sub_network"] and one["measurements"] for one in searches.described(first, standing.trials))


def test_a_trial_is_known_by_its_number(database: Database) -> None:
    search_id, searches = finished(database), searches_of(database)
    for number in range(6):
        searches.require_measured(search_id, number)
    with pytest.raises(ResultsError, match="must be one of 0 to 5, got 6; the front lists the best"):
        searches.require_measured(search_id, 6)
    with pytest.raises(NotReadyError, match="must have measured its supernet first, but this one has not; ask later"):
        searches.require_measured(submitted(database), 0)


def test_a_trial_that_failed_is_none_to_export(database: Database) -> None:
    search_id, searches = finished(database), searches_of(database)
    fail(database, 3, "A score must be a finite number, but perplexity is nan.")
    searches.require_measured(search_id, 2)
    with pytest.raises(FailedTrialError, match=r"but trial 3 failed \(A score .* is nan\); choose one of the front"):
        searches.require_measured(search_id, 3)


def test_names_that_json_escapes_are_budgets_too(database: Database) -> None:
    search_id, searches = finished(database), searches_of(database)
    odd = 'größe "a\\b"'
    columns = tables.trials.c
    with database.transaction() as connection:
        for row in connection.execute(select(columns.number, columns.measurements)).all():
            measured = {**row.measurements, odd: {"value": 10.0 + row.number, "unit": "bytes", "n": 1}}
            connection.execute(update(tables.trials).where(columns.number == row.number).values(measurements=measured))
    assert pick(searches.standing(search_id), budgets=[("max", f"{odd}=10")]).number == 0


def test_of_a_search_that_is_deleted_between_two_readings_nothing_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_id, searches = finished(database), searches_of(database)
    front, standing = searches._front(search_id), searches.standing(search_id)
    searches.delete(search_id)
    with pytest.raises(UnknownSearchError):
        searches.described(search_id, standing.trials)
    with pytest.raises(UnknownSearchError):
        searches.front(search_id)
    monkeypatch.setattr(searches, "_front", lambda _: front)  # which was read just before
    for read in (searches.standing, searches.results):
        with pytest.raises(UnknownSearchError):
            read(search_id)


def test_a_key_is_free_again_once_its_search_is_deleted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    searches, config = searches_of(database), Bench(Path()).config
    first = searches.submit(config, owner="ada", idempotency_key="once")
    assert searches.submit(config, owner="ada", idempotency_key="once") == first
    # As where it is deleted after it was found in the way, before it is looked for.
    answers = iter([False])
    insert = searches._insert
    monkeypatch.setattr(searches, "_insert", lambda *row: next(answers, None) is None and insert(*row))
    searches.cancel(first)
    searches.delete(first)
    second = searches.submit(config, owner="ada", idempotency_key="once")
    assert second != first
    assert searches.get(second).name == config.name
