import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import NoResultFound

from nas.service.database import Database
from nas.service.events import Event, Events
from tests.nas.service.databases import add_search


def test_events_are_numbered_from_one_in_their_search(database: Database) -> None:
    add_search(database, "s1")
    add_search(database, "s2")
    events = Events(database)
    for search_id, at in [("s1", "a"), ("s2", "b"), ("s1", "c")]:
        with database.transaction() as connection:
            events.add(connection, search_id, "trial", {"at": at})
    assert [(event.number, event.kind, event.data) for event in events.after("s1", 0)] == [
        (1, "trial", {"at": "a"}),
        (2, "trial", {"at": "c"}),
    ]
    assert [(event.number, event.data) for event in events.after("s2", 0)] == [(1, {"at": "b"})]
    with database.reading() as connection:
        now = connection.execute(select(database.now)).scalar_one()
    assert all(now - 60.0 < event.created_at <= now for event in events.after("s1", 0))


def test_pages_follow_each_other(database: Database) -> None:
    add_search(database)
    events = Events(database)
    with database.transaction() as connection:
        for number in range(1, 8):
            events.add(connection, "s1", "trial", {"was": number})
    pages: list[list[Event]] = [events.after("s1", 0, limit=3)]
    for _ in range(3):
        pages.append(events.after("s1", pages[-1][-1].number, limit=3))
    assert [[event.data["was"] for event in page] for page in pages] == [[1, 2, 3], [4, 5, 6], [7], []]
    assert events.after("s1", 99) == []
    assert events.after("unknown", 0) == []


def test_what_does_not_happen_leaves_no_event_and_no_gap(database: Database) -> None:
    add_search(database)
    events = Events(database)

    def stop_in_the_middle() -> None:
        with database.transaction() as connection:
            events.add(connection, "s1", "trial", {"at": "never"})
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stop_in_the_middle()
    with database.transaction() as connection:
        events.add(connection, "s1", "trial", {"at": "first"})
    assert [(event.number, event.data) for event in events.after("s1", 0)] == [(1, {"at": "first"})]


def test_an_unknown_search_has_no_events(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(NoResultFound):
        Events(database).add(connection, "s1", "trial", {})


def test_writers_at_once_leave_no_gaps_and_a_reader_misses_none(database: Database) -> None:
    add_search(database)
    events, seen = Events(database), list[int]()
    barrier = threading.Barrier(7)

    def write(writer: int) -> None:
        barrier.wait()
        for count in range(10):
            with database.transaction() as connection:
                events.add(connection, "s1", "trial", {"writer": writer, "count": count})

    def watch() -> None:
        barrier.wait()
        while len(seen) < 60:
            seen.extend(event.number for event in events.after("s1", seen[-1] if seen else 0, limit=5))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(6)]
    threads.append(threading.Thread(target=watch, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60.0)
    stored = events.after("s1", 0)
    assert [event.number for event in stored] == list(range(1, 61))
    assert seen == list(range(1, 61))
    for writer in range(6):
        assert [event.data["count"] for event in stored if event.data["writer"] == writer] == list(range(10))
