import json
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from nas.service import tables
from nas.service.database import Database, DatabaseError, read_json
from tests.nas.service.databases import Server, add_search


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://ada@db/nas", "it is one of mysql"),
        ("postgres://ada@db/nas", "it is one of postgres"),
        ("nas.db", "Could not parse"),
        ("", "Could not parse"),
        ("sqlite+nonsense:///nas.db", "Can't load plugin"),
        ("postgresql+asyncpg://db/nas", "No module named 'asyncpg'"),
        ("postgresql://db:port/nas", "invalid literal"),
    ],
)
def test_another_url_is_refused(url: str, reason: str) -> None:
    rule = rf"URL must begin with sqlite:/// or postgresql://, got '.*' \({reason}.*\); mend it, or install the extra"
    with pytest.raises(DatabaseError, match=rule):
        Database(url)


def test_a_refused_url_keeps_its_password_to_itself() -> None:
    with pytest.raises(DatabaseError) as caught:
        Database("mysql://ada:secret@db/nas")
    assert "got 'mysql://ada:***@db/nas'" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, -0.0, 5e-324, 0.1, 12345678901234567890, null, true], "a": {}, "\\u00e9": "\\ud83d\\ude00"}',
        '"\\ud800"',
        "[" * 300 + "]" * 300,
        "[Infinity, -Infinity]",
    ],
    ids=["ordinary", "half a pair", "deep", "infinite"],
)
def test_json_is_read_as_python_reads_it(text: str) -> None:
    for given in (text, text.encode()):
        assert repr(read_json(given)) == repr(json.loads(text))


def test_what_is_no_json_is_not_read() -> None:
    with pytest.raises(json.JSONDecodeError, match="Expecting value"):
        read_json("nothing")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_each_thread_would_have_to_itself_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="it names no file, and every thread would have a database of its own"):
        Database(url)


def test_what_is_not_there_or_no_database_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is not a database, but a text that is longer than a header. " * 20)
    for name, reason in [("missing/nas.db", "unable to open database file"), ("text.db", "file is not a database")]:
        database = Database(f"sqlite:///{tmp_path / name}")
        for use in (database.transaction, database.reading):
            with pytest.raises(DatabaseError, match=f"must be there and have room, but it says: {reason}; mend"), use():
                pass


def test_a_server_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    database = Database(f"postgresql://ada@/nas?host={tmp_path}")
    with pytest.raises(
        DatabaseError, match=r"must be there and have room, but it says: connection .* failed: No such file"
    ):
        database.transaction().__enter__()


def test_the_clock_is_that_of_the_machine(database: Database) -> None:
    with database.reading() as connection:
        before = time.time()
        now = connection.execute(select(database.now)).scalar_one()
        assert isinstance(now, float)
        assert before - 0.01 < now < time.time() + 0.01


def test_the_clock_goes_on_within_a_transaction(database: Database) -> None:
    with database.transaction() as connection:
        before = connection.execute(select(database.now)).scalar_one()
        time.sleep(0.02)
        assert 0.015 < connection.execute(select(database.now)).scalar_one() - before < 5.0


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    row = {"id": "a", "owner": "ada", "scopes": [], "secret_sha256": "", "created_at": 0.0}

    def stop_in_the_middle() -> None:
        with database.transaction() as connection:
            connection.execute(insert(tables.tokens).values(row))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stop_in_the_middle()
    with database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(tables.tokens)).scalar_one() == 0


def test_a_writer_does_not_keep_readers_waiting(database: Database) -> None:
    add_search(database)
    names = select(tables.searches.c.name)
    with database.transaction() as writer:
        writer.execute(tables.searches.update().values(name="another"))
        began = time.monotonic()
        with database.reading() as reader:
            assert reader.execute(names).scalars().all() == ["a search"]
        assert time.monotonic() - began < 5.0
    with database.reading() as reader:
        assert reader.execute(names).scalars().all() == ["another"]


def test_a_reader_does_not_keep_a_writer_waiting(database: Database) -> None:
    add_search(database, "s1")
    ids = select(tables.searches.c.id).order_by(tables.searches.c.id)
    with database.reading() as reader:
        rows = reader.execute(ids)
        began = time.monotonic()
        add_search(database, "s2")
        assert time.monotonic() - began < 5.0
        assert rows.scalars().all() == ["s1"]
    with database.reading() as reader:
        assert reader.execute(ids).scalars().all() == ["s1", "s2"]


def test_what_was_read_leaves_no_transaction_open(server: Server) -> None:
    database, watcher = Database(server.url("postgres")), Database(server.url("postgres"))
    with database.reading() as reader:
        reader.execute(select(1))
        in_transaction = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
        with watcher.reading() as connection:
            assert connection.execute(in_transaction).scalar_one() == 0
    database.close()
    watcher.close()


def test_a_writer_waits_for_another_one(database: Database) -> None:
    """Each reads first and writes what it read plus one; were they not one after the other, one would be lost."""
    add_search(database)

    def count_up() -> None:
        for _ in range(20):
            with database.transaction() as connection:
                found = connection.execute(select(tables.searches.c.num_trials).with_for_update()).scalar_one()
                connection.execute(tables.searches.update().values(num_trials=found + 1))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as reader:
        assert reader.execute(select(tables.searches.c.num_trials)).scalar_one() == 80


def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path: Path) -> None:
    writer = sqlite3.connect(tmp_path / "nas.db", isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("CREATE TABLE first (id INTEGER)")
    database = Database(f"sqlite:///{tmp_path / 'nas.db'}")
    threading.Timer(0.3, lambda: writer.execute("COMMIT")).start()
    with database.reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("SELECT count(*) FROM first")).scalar_one() == 0
    database.close()
    writer.close()


def test_a_file_that_stays_locked_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.service.database.BUSY_S", 0.1)
    writer = sqlite3.connect(tmp_path / "nas.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("CREATE TABLE first (id INTEGER)")
    database = Database(f"sqlite:///{tmp_path / 'nas.db'}")
    with pytest.raises(DatabaseError, match="it says: database is locked; mend that"):
        database.reading().__enter__()
    writer.close()


def test_an_insert_of_what_is_there_does_nothing(database: Database) -> None:
    row = {"id": "a", "owner": "ada", "scopes": [], "secret_sha256": "", "created_at": 0.0}
    for owner in ("ada", "bob"):
        with database.transaction() as connection:
            connection.execute(database.insert_if_new(tables.tokens).values(row | {"owner": owner}))
    with database.reading() as connection:
        assert connection.execute(select(tables.tokens.c.owner)).scalars().all() == ["ada"]


def test_a_server_that_comes_back_is_used_again(server: Server) -> None:
    database = Database(server.url("postgres"))
    for mode in ("fast", "immediate"):
        with database.reading() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        server.stop(mode)
        with pytest.raises(DatabaseError, match="must be there"), database.reading():
            pass
        server.start()
    with database.transaction() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()
