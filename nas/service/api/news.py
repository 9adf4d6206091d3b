"""Wakes those who wait for events, and reads what they waited for: once for all of them, however many there are."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from fastapi.sse import format_sse_event
from sqlalchemy import and_, select
from starlette.concurrency import run_in_threadpool

from nas.service import tables
from nas.service.database import Database, DatabaseError
from nas.service.events import Events
from nas.service.queue import JobState
from nas.service.searches import SEARCH

INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What followed an event.

    Attributes:
        events: As server-sent events, ready to be sent; empty where nothing followed.
        number: Of the newest of them.
        has_more: Whether there are more already.
        is_over: Whether none will follow, but for those that there are.
    """

    events: bytes
    number: int
    has_more: bool
    is_over: bool


class News:
    """Knows the newest event of every search that somebody waits for.

    Args:
        database: Where events are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: Counter[str] = Counter()
        self._newest: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self._readings: dict[tuple[str, int], asyncio.Task[Reading]] = {}

    async def read(self, search_id: str, number: int) -> Reading:
        """What follows the event of that number. Those who ask while it is being read get the same.

        Raises:
            DatabaseError: The database does not answer.
        """
        place = search_id, number
        if place not in self._readings:
            reading = asyncio.create_task(run_in_threadpool(self._read, search_id, number))
            reading.add_done_callback(lambda _: self._readings.pop(place))
            self._readings[place] = reading
        return await asyncio.shield(self._readings[place])  # whoever leaves does not end it for the others

    async def wait(self, search_id: str, number: int, *, timeout_s: float) -> bool:
        """Waits for an event after that of this number.

        Returns:
            Whether there is one; False after ``timeout_s`` without.
        """
        self._watched[search_id] += 1
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._newest.get(search_id, 0) > number)
            return True
        except TimeoutError:
            return False
        finally:
            self._watched[search_id] -= 1
            if self._watched[search_id] <= 0:
                del self._watched[search_id]
                self._newest.pop(search_id, None)

    async def watch(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            if self._watched:
                with suppress(DatabaseError):  # those who wait go on waiting
                    found = await run_in_threadpool(self._look, list(self._watched))
                    if any(number > self._newest.get(search_id, 0) for search_id, number in found.items()):
                        async with self._changed:
                            self._newest |= found
                            self._changed.notify_all()

    def _read(self, search_id: str, number: int) -> Reading:
        found = Events(self._database).after(search_id, number)
        newest = found[-1].number if found else number
        searches, jobs = tables.searches.c, tables.jobs.c
        its_job = and_(jobs.search_id == searches.id, jobs.kind == SEARCH)
        query = select(searches.num_events, jobs.state).join(tables.jobs, its_job).where(searches.id == search_id)
        with self._database.reading() as connection:
            now = connection.execute(query).one_or_none()
        if now is None:  # deleted meanwhile
            return Reading(events=b"", number=number, has_more=False, is_over=True)
        return Reading(
            events=b"".join(
                format_sse_event(data_str=json.dumps(dict(event.data)), event=event.kind, id=str(event.number))
                for event in found
            ),
            number=newest,
            has_more=now.num_events > newest,
            is_over=JobState(now.state).is_over,
        )

    def _look(self, search_ids: list[str]) -> dict[str, int]:
        columns = tables.searches.c
        query = select(columns.id, columns.num_events).where(columns.id.in_(search_ids))
        with self._database.reading() as connection:
            return {row.id: row.num_events for row in connection.execute(query)}
