"""`nas serve`, `nas worker`, `nas token …`: the service on this machine."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.service.database import Database
from nas.service.limits import check_bind
from nas.service.processes import end_with
from nas.service.schema import require_current, upgrade
from nas.service.tokens import Tokens
from nas.service.worker import Worker
from nas.tables import moment

LOG = logging.getLogger(__name__)
RESTART_S = 1.0
"""After which a worker that died is started anew; it may die at once again."""


def database_url(url: str | None, folder: Path) -> str:
    """The database that is meant: one named, else an SQLite file in the service's folder."""
    if url is not None:
        return url
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(folder / 'nas.db').resolve()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How to serve.

    Attributes:
        url: The database's.
        host: To listen at.
        port: To listen at.
        has_auth: Whether a token is needed.
        model_roots: Folders below which models may lie.
        allow_remote_code: Whether a config may ask for a model's own code.
        num_workers: Started beside the API.
        lease_s: Of these workers.
    """

    url: str
    host: str
    port: int
    has_auth: bool
    model_roots: Sequence[Path]
    allow_remote_code: bool
    num_workers: int
    lease_s: float


def serve(serving: Serving, console: Console) -> None:
    """Serves until it is interrupted.

    Raises:
        LimitError: Beyond loopback without tokens.
        DatabaseError: No such database.
    """
    import uvicorn

    from nas.service.api import Policy, create_app

    check_bind(serving.host, has_auth=serving.has_auth)
    database = Database(serving.url)
    upgrade(database)
    if serving.has_auth and (token := Tokens(database).create_first_admin()) is not None:
        console.print(f"Administrator's token, shown this once: {token}", highlight=False, soft_wrap=True)
        console.print("Give it to commands as NAS_TOKEN.", highlight=False)
    policy = Policy(
        has_auth=serving.has_auth,
        model_roots=tuple(serving.model_roots),
        allow_remote_code=serving.allow_remote_code,
    )
    arguments = [
        sys.executable,
        "-m",
        "nas.cli",
        "worker",
        "--lease",
        str(serving.lease_s),
        "--parent",
        str(os.getpid()),
    ]
    console.print(f"http://{serving.host}:{serving.port} with {serving.num_workers} worker(s)", highlight=False)
    # uvicorn ends by the signal that it was sent, by default at once: workers would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with kept_running(arguments, os.environ | {"NAS_DATABASE_URL": serving.url}, number=serving.num_workers):
        uvicorn.run(create_app(database, policy), host=serving.host, port=serving.port, log_level="warning")


@contextmanager
def kept_running(arguments: Sequence[str], environment: Mapping[str, str], *, number: int) -> Iterator[None]:
    """Runs that many processes, starts those anew that die, and asks them to end when the block is left."""
    processes = [subprocess.Popen(arguments, env=environment) for _ in range(number)]
    over = threading.Event()

    def look_after() -> None:
        while not over.wait(RESTART_S):
            for place, process in enumerate(processes):
                if process.poll() is not None:
                    LOG.warning("A worker ended with %s; starting another.", process.returncode)
                    processes[place] = subprocess.Popen(arguments, env=environment)

    keeper = threading.Thread(target=look_after)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def work(url: str, *, lease_s: float, until_idle: bool, parent: int | None) -> None:
    """Works until it is told to stop.

    Args:
        url: The database's.
        lease_s: Of its claims.
        until_idle: End when there is nothing to do.
        parent: A process to end with; None for none.

    Raises:
        SchemaError: The database is not the service's, or of another version.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    database = Database(url)
    require_current(database)
    database.close()
    worker = Worker(url, lease_s=lease_s)
    worker.stop_on_signals()
    if parent is not None:
        end_with(parent, signal.SIGTERM)
    worker.run(until_idle=until_idle)


def create_token(url: str, *, owner: str, scopes: Sequence[str], lifetime_s: float | None) -> str:
    """A new token. Errors are those of ``Tokens.create``."""
    return _tokens(url).create(owner, scopes, lifetime_s)


def revoke_token(url: str, token_id: str) -> None:
    """Makes a token worthless. Errors are those of ``Tokens.revoke``."""
    _tokens(url).revoke(token_id)


def tokens_table(url: str) -> Table:
    """All tokens, without their secrets."""
    table = Table(title="Tokens")
    for heading in ("id", "owner", "scopes", "valid", "created", "expires", "last used"):
        table.add_column(heading)
    for one in _tokens(url).list():
        times = [moment(one.created_at), moment(one.expires_at), moment(one.last_used_at)]
        table.add_row(one.id, one.owner, ", ".join(sorted(one.scopes)), "yes" if one.is_valid else "no", *times)
    return table


def _tokens(url: str) -> Tokens:
    database = Database(url)
    upgrade(database)
    return Tokens(database)
