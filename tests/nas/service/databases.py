"""Databases for tests: a real PostgreSQL server from the system's package, and the two kinds by name."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine, insert, text

from nas.service import tables
from nas.service.database import Database

KINDS = ("sqlite", "postgresql")


def find_binaries() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``: the package keeps them off PATH, one folder a version."""
    versioned = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    folders = ([Path(on_path).resolve().parent] if on_path else []) + versioned[::-1]
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


class Server:
    """A PostgreSQL server on a Unix socket, with no password and without waiting for the disk.

    Args:
        binaries: From ``find_binaries``.
        folder: Where its data are; it is given to the user ``postgres`` if root runs the tests.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user: str | None = None
        if os.geteuid() == 0:  # the server refuses root
            self._user = "postgres"
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._call("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C")

    def start(self) -> None:
        settings = f"-k {self._folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._call("pg_ctl", "start", "--wait", "--options", settings, "--log", str(self._folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Ends it; ``immediate`` is as if the power had failed."""
        self._call("pg_ctl", "stop", "--wait", "--mode", mode)

    def url(self, name: str) -> str:
        url = URL.create("postgresql", username="postgres", database=name, query={"host": str(self._folder)})
        return url.render_as_string()

    def create(self) -> str:
        """Returns the name of a new database."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def clear(self, name: str) -> None:
        """Deletes all rows of the service, and ends connections that a test has left."""
        others = f"FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        deletions = [f"DELETE FROM {table.name}" for table in reversed(tables.metadata.sorted_tables)]
        self._execute(f"SELECT pg_terminate_backend(pid) {others}", *deletions, name=name)

    def _execute(self, *statements: str, name: str = "postgres") -> None:
        url = self.url(name).replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def _call(self, program: str, *arguments: str) -> None:
        # The output goes to a file, not to a pipe: the server would keep a pipe open and the call would never end.
        with (self._folder / f"{program}.log").open("wb") as log:
            done = subprocess.run(
                [self._binaries / program, "--pgdata", self._folder / "data", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                cwd=self._folder,
                check=False,
            )
        assert done.returncode == 0, (self._folder / f"{program}.log").read_text()


@contextmanager
def running_server(binaries: Path) -> Iterator[Server]:
    """A server for the block. Its folder has a short path, since that of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="nas-pg-", ignore_cleanup_errors=True) as folder:
        server = Server(binaries, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


MakeUrl = Callable[[], str]
"""Gives the URL of a new, empty database without tables."""


def add_search(database: Database, search_id: str = "s1") -> str:
    """A search without jobs."""
    with database.transaction() as connection:
        connection.execute(
            insert(tables.searches).values(
                id=search_id,
                owner="ada",
                name="a search",
                config={},
                num_trials=0,
                num_events=0,
                created_at=database.now,
                request_sha256="0" * 64,
            )
        )
    return search_id
