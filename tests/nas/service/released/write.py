"""Writes down a database of the present schema, to be kept for the tests of later ones.

python -m tests.nas.service.released.write

To be run once a release that brings a new schema: on each kind of database a search is done and another waits, a token
is made, and all of it is dumped as SQL beside this file.
"""

import subprocess
import tempfile
from pathlib import Path

from nas.service import schema
from nas.service.database import Database
from nas.service.tokens import Tokens
from tests.nas.service.databases import find_binaries, running_server
from tests.nas.service.searching import finished, submitted

FOLDER = Path(__file__).parent


def fill(database: Database) -> str:
    """Returns the revision."""
    schema.upgrade(database)
    finished(database)
    submitted(database, owner="eve")
    Tokens(database).create("ada", ["submit"], None)
    with database.reading() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def write_sqlite() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/nas.db")
        revision = fill(database)
        connection = database.engine.raw_connection()
        dump = "\n".join(connection.driver_connection.iterdump())  # type: ignore[union-attr]
        (FOLDER / f"{revision}.sqlite.sql").write_text(dump + "\n")
        connection.close()
        database.close()


def write_postgresql() -> None:
    binaries = find_binaries()
    assert binaries is not None
    with running_server(binaries) as server:
        url = server.url(server.create())
        database = Database(url)
        revision = fill(database)
        database.close()
        command = [str(binaries / "pg_dump"), "--no-owner", "--no-privileges", "--inserts", url]
        dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines = [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]
        (FOLDER / f"{revision}.postgresql.sql").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_sqlite()
    write_postgresql()
