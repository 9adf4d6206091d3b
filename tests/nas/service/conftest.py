"""Both kinds of database, for every test that takes ``database``."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.service import schema
from nas.service.database import Database
from tests.nas.service.databases import KINDS, MakeUrl, Server, find_binaries, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL, started once."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: neither initdb on PATH nor a version in /usr/lib/postgresql")
    with running_server(binaries) as running:
        yield running


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeUrl]:
    """URLs of databases without tables, which are gone after the test."""
    names: list[str] = []

    def make() -> str:
        names.append(f"{len(names)}.db")
        return f"sqlite:///{tmp_path / names[-1]}"

    def make_on_server() -> str:
        names.append(running.create())
        return running.url(names[-1])

    if kind == "sqlite":
        yield make
        return
    running: Server = request.getfixturevalue("server")
    yield make_on_server
    for name in names:
        running.drop(name)


@pytest.fixture
def empty(make_url: MakeUrl) -> Iterator[Database]:
    """A database without tables."""
    opened = Database(make_url())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated() -> dict[str, Path | str]:
    """By kind, a file to be copied for each test, and a database to be cleared for each."""
    return {}


@pytest.fixture
def url(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    migrated: dict[str, Path | str],
) -> Iterator[str]:
    """The URL of a database with all tables and nothing in them. Tests that change tables take ``empty``."""
    if kind == "sqlite":
        if kind not in migrated:
            migrated[kind] = tmp_path_factory.mktemp("migrated") / "nas.db"
            _migrate(f"sqlite:///{migrated[kind]}")
        yield f"sqlite:///{shutil.copy(migrated[kind], tmp_path / 'nas.db')}"
        return
    running: Server = request.getfixturevalue("server")
    if kind not in migrated:
        migrated[kind] = running.create()
        _migrate(running.url(str(migrated[kind])))
    running.clear(str(migrated[kind]))
    yield running.url(str(migrated[kind]))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database with all tables and nothing in them."""
    opened = Database(url)
    yield opened
    opened.close()


def _migrate(url: str) -> None:
    opened = Database(url)
    schema.upgrade(opened)
    opened.close()
