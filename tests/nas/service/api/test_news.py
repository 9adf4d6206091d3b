"""Those who wait for events, and what they cost the database."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from nas.service.api.news import News, Reading
from nas.service.database import Database
from nas.service.events import Events
from nas.service.queue import Queue
from nas.service.searches import Searches
from tests.nas.service.api.test_app import sent
from tests.nas.service.searching import finished, submitted


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the database."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)


def test_those_who_ask_at_once_share_one_reading(database: Database, statements: list[str]) -> None:
    search_id = finished(database)
    statements.clear()

    async def ask() -> list[Reading]:
        news = News(database)
        return await asyncio.gather(*(news.read(search_id, 2) for _ in range(50)))

    readings = asyncio.run(ask())
    assert all(reading is readings[0] for reading in readings)
    assert sum("FROM events" in statement for statement in statements) == 1
    stored = Events(database).after(search_id, 2)
    assert sent(readings[0].events.decode()) == [(str(one.number), one.kind) for one in stored]
    assert (readings[0].number, readings[0].has_more, readings[0].is_over) == (stored[-1].number, False, True)


def test_nothing_follows_in_a_search_that_is_deleted_meanwhile(database: Database) -> None:
    search_id = finished(database)
    Searches(database, Queue(database)).delete(search_id)
    reading = asyncio.run(News(database).read(search_id, 2))
    assert (reading.events, reading.number, reading.has_more, reading.is_over) == (b"", 2, False, True)


def test_a_reading_later_is_a_new_one(database: Database) -> None:
    search_id = submitted(database)

    async def ask() -> tuple[Reading, Reading]:
        news = News(database)
        first = await news.read(search_id, 0)
        with database.transaction() as connection:
            Events(database).add(connection, search_id, "log", {"text": "hello"})
        return first, await news.read(search_id, 0)

    first, second = asyncio.run(ask())
    assert (sent(first.events.decode()), first.is_over) == ([("1", "state")], False)
    assert second.events == first.events + b'event: log\ndata: {"text": "hello"}\nid: 2\n\n'


def test_who_leaves_does_not_end_the_reading_of_the_others(database: Database) -> None:
    search_id = submitted(database)

    async def ask() -> Reading:
        news = News(database)
        first, second = (asyncio.create_task(news.read(search_id, 0)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(ask()).number == 1


def test_those_who_wait_are_woken_by_what_happens_to_their_search(database: Database) -> None:
    mine, other = submitted(database), submitted(database)

    async def wait() -> list[bool]:
        news = News(database)
        watching = asyncio.create_task(news.watch())
        waiting = [asyncio.create_task(news.wait(one, 1, timeout_s=most_s)) for one, most_s in ((mine, 30), (other, 1))]
        await asyncio.sleep(0.5)
        with database.transaction() as connection:
            Events(database).add(connection, mine, "log", {"text": "hello"})
        found = await asyncio.gather(*waiting)
        again = await news.wait(mine, 1, timeout_s=30)
        watching.cancel()
        return [*found, again]

    assert asyncio.run(wait()) == [True, False, True]
