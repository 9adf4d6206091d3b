"""What happened to a search, numbered without gaps, so that a reader can go on where it stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from nas.service import tables
from nas.service.database import Database

MAX_EVENT = 2**31 - 1
"""No event has a greater number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    Attributes:
        number: From 1, within its search.
        kind: ``state``, ``trial``, ``front`` or ``log``.
        data: What changed.
        created_at: Seconds since 1970, by the database's clock.
    """

    number: int
    kind: str
    data: Mapping[str, Any]
    created_at: float


class Events:
    """The events of all searches.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: Connection, search_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Adds one, in the transaction of what happened: both are there, or neither.

        Counting locks the search's row until the transaction ends, so that events are numbered as they are committed
        and a reader who has seen one has seen all before it.
        """
        number = connection.execute(
            update(tables.searches)
            .where(tables.searches.c.id == search_id)
            .values(num_events=tables.searches.c.num_events + 1)
            .returning(tables.searches.c.num_events)
        ).scalar_one()
        connection.execute(
            insert(tables.events).values(
                search_id=search_id, number=number, kind=kind, data=dict(data), created_at=self._database.now
            )
        )

    def after(self, search_id: str, number: int, *, kind: str | None = None, limit: int = 500) -> list[Event]:
        """Those that follow the event of that number, in order.

        Args:
            search_id: Whose.
            number: 0 for all from the first.
            kind: Only such; None for all.
            limit: At most so many.
        """
        columns = tables.events.c
        query = (
            select(columns.number, columns.kind, columns.data, columns.created_at)
            .where(columns.search_id == search_id, columns.number > number)
            .order_by(columns.number)
            .limit(limit)
        )
        if kind is not None:
            query = query.where(columns.kind == kind)
        with self._database.reading() as connection:
            return [Event(**row) for row in connection.execute(query).mappings()]
