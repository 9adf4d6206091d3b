"""Wakes those who wait for events: one look at the database for all of them, however many there are."""

import asyncio
from collections import Counter
from contextlib import suppress

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from nas.service import tables
from nas.service.database import Database, DatabaseError

INTERVAL_S = 0.2


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
                    async with self._changed:
                        self._newest |= found
                        self._changed.notify_all()

    def _look(self, search_ids: list[str]) -> dict[str, int]:
        columns = tables.searches.c
        query = select(columns.id, columns.num_events).where(columns.id.in_(search_ids))
        with self._database.reading() as connection:
            return {row.id: row.num_events for row in connection.execute(query)}
