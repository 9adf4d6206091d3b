import multiprocessing
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import delete, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from nas.artifacts import ArtifactStore
from nas.service import schema, tables
from nas.service.database import Database, DatabaseError
from nas.service.events import Events
from nas.service.exports import Exports
from nas.service.queue import JobState, Queue
from nas.service.schema import SchemaError
from nas.service.searches import Searches
from nas.service.tokens import Tokens
from tests.nas.service.databases import MakeUrl, add_search
from tests.nas.service.searching import ARTIFACTS

REVISIONS = ["nas_0001", "nas_0002"]
NEWEST = REVISIONS[-1]
RELEASED = Path(__file__).parent / "released"


def described(database: Database) -> dict[str, Any]:
    """All that the database says of its tables."""
    inspector = inspect(database.engine)
    return {
        name: {
            "columns": [{**column, "type": repr(column["type"])} for column in inspector.get_columns(name)],
            "primary key": inspector.get_pk_constraint(name),
            "references": inspector.get_foreign_keys(name),
            "unique": sorted(inspector.get_unique_constraints(name), key=str),
            "indexes": sorted(inspector.get_indexes(name), key=str),
            "checks": inspector.get_check_constraints(name),
        }
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def test_the_migrations_make_the_tables_of_the_program(empty: Database) -> None:
    schema.upgrade(empty)
    with empty.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_the_migrations_make_the_same_as_creating_the_tables_at_once(make_url: MakeUrl) -> None:
    migrated, created = Database(make_url()), Database(make_url())
    schema.upgrade(migrated)
    tables.metadata.create_all(created.engine)
    assert described(migrated) == described(created)
    assert set(described(migrated)) == set(tables.metadata.tables)
    migrated.close()
    created.close()


def test_down_and_up_again(empty: Database) -> None:
    schema.upgrade(empty)
    before = described(empty)
    schema.downgrade(empty, schema.EMPTY)
    assert described(empty) == {}
    schema.upgrade(empty)
    assert described(empty) == before


def test_an_upgraded_database_is_current_and_keeps_its_rows(database: Database) -> None:
    add_search(database)
    schema.upgrade(database)
    schema.require_current(database)
    with database.reading() as connection:
        assert connection.execute(select(tables.searches.c.id)).scalars().all() == ["s1"]


def test_a_search_takes_all_that_is_its_own_along(database: Database) -> None:
    add_search(database)
    with database.transaction() as connection:
        Events(database).add(connection, "s1", "state", {})
        connection.execute(delete(tables.searches))
        assert connection.execute(select(func.count()).select_from(tables.events)).scalar_one() == 0


def test_copying_a_table_in_a_migration_keeps_the_rows_that_refer_to_it(empty: Database) -> None:
    schema.upgrade(empty)
    add_search(empty)
    with empty.transaction() as connection:
        Events(empty).add(connection, "s1", "state", {"at": 1})
    with schema._alone(empty) as connection:
        operations = Operations(MigrationContext.configure(connection))
        always = "always" if empty.is_sqlite else "auto"
        with operations.batch_alter_table("searches", recreate=always) as batch:  # type: ignore[arg-type]
            batch.alter_column("name", nullable=True)
    assert [event.data for event in Events(empty).after("s1", 0)] == [{"at": 1}]
    orphan = insert(tables.events).values(search_id="s2", number=1, kind="", data={}, created_at=0)
    with pytest.raises(IntegrityError, match=r"FOREIGN KEY|foreign key"), empty.transaction() as connection:
        connection.execute(orphan)


def test_a_migration_that_fails_leaves_nothing(empty: Database) -> None:
    def stop_in_the_middle() -> None:
        with schema._alone(empty) as connection:
            connection.execute(text("CREATE TABLE half (id INTEGER)"))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stop_in_the_middle()
    assert inspect(empty.engine).get_table_names() == []
    schema.upgrade(empty)


def test_an_empty_database_is_not_current(empty: Database) -> None:
    with pytest.raises(SchemaError, match=f"schema must be {NEWEST}, got an empty database; start `nas serve`"):
        schema.require_current(empty)


def test_the_database_of_a_newer_program_is_refused(empty: Database) -> None:
    schema.upgrade(empty)
    with empty.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'nas_9999'"))
    refused = f"one that this program knows, {NEWEST} or older, got nas_9999; install the newer nas"
    for use in (schema.upgrade, schema.require_current, lambda it: schema.downgrade(it, schema.EMPTY)):
        with pytest.raises(SchemaError, match=refused):
            use(empty)


def test_the_database_of_another_program_is_refused_and_left_alone(empty: Database) -> None:
    with empty.transaction() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
    for use in (schema.upgrade, schema.require_current):
        with pytest.raises(SchemaError, match=r"belongs to another program \(it has the table orders\); give the URL"):
            use(empty)
    assert inspect(empty.engine).get_table_names() == ["orders"]


@pytest.mark.parametrize("revision", ["nas_9999", "", "-1", "head"])
def test_downgrading_to_what_there_is_not_is_refused(revision: str, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nas.db'}")
    with pytest.raises(SchemaError, match=f"must be one of base, {', '.join(REVISIONS)}, got '.*'; choose"):
        schema.downgrade(database, revision)
    database.close()


def test_downgrading_an_empty_database_is_refused(empty: Database) -> None:
    schema.downgrade(empty, schema.EMPTY)
    with pytest.raises(SchemaError, match="must not be newer than the database's, base, got nas_0001; choose an older"):
        schema.downgrade(empty, "nas_0001")


def load(database: Database, dump: str) -> None:
    """Runs a file of SQL as the database's own shell would."""
    if database.is_sqlite:
        with closing(sqlite3.connect(str(database.engine.url.database))) as connection:
            connection.executescript(dump)
        return
    with psycopg.connect(database.engine.url.set(drivername="postgresql").render_as_string(False)) as connection:
        connection.execute(dump.encode())


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_what_a_released_program_wrote_is_kept_on_the_way_up_and_down(
    empty: Database, kind: str, revision: str
) -> None:
    load(empty, (RELEASED / f"{revision}.{kind}.sql").read_text())
    before = described(empty)
    schema.upgrade(empty)
    schema.require_current(empty)
    queue = Queue(empty)
    searches = Searches(empty, queue)
    waiting, done = searches.page()
    assert [(one.owner, one.state, one.num_trials) for one in (waiting, done)] == [
        ("eve", JobState.QUEUED, 0),
        ("ada", JobState.COMPLETE, 6),
    ]
    results = searches.results(done.id)
    assert [trial.number for trial in results.trials] == list(range(6))
    assert [trial.number for trial in results.front()] == [one["number"] for one in results.record["trials"]]
    assert [event.number for event in Events(empty).after(done.id, 0)] == list(range(1, done.num_events + 1))
    assert [(one.owner, one.is_valid) for one in Tokens(empty).list()] == [("ada", True)]
    Exports(empty, queue).ask(done.id, trial=1, to="huggingface", artifacts=ArtifactStore(ARTIFACTS))
    schema.downgrade(empty, revision)
    assert described(empty) == before
    schema.upgrade(empty)
    assert searches.get(done.id) == replace(done, num_events=done.num_events + 1)


def test_a_database_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'nas.db'}")
    for use in (schema.upgrade, schema.require_current):
        with pytest.raises(DatabaseError, match="must be there and have room, but it says: unable to open"):
            use(database)


def _upgrade(url: str, start: Any) -> None:
    database = Database(url)
    start.wait()
    schema.upgrade(database)
    schema.require_current(database)


def test_several_processes_may_start_at_once(make_url: MakeUrl) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for _ in range(3):
        url, start = make_url(), context.Barrier(4)
        processes = [context.Process(target=_upgrade, args=(url, start)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
