"""`nas serve`, `nas worker`, `nas token …`: the service on this machine."""

import gc
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
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from nas.artifacts import ArtifactStore
from nas.service.database import Database
from nas.service.limits import check_bind
from nas.service.processes import end_with, use_one_heap
from nas.service.schema import require_current, upgrade
from nas.service.tokens import Tokens
from nas.service.worker import Worker
from nas.tables import moment

if TYPE_CHECKING:
    import uvicorn

LOG = logging.getLogger(__name__)
GRACE_S = 3
"""How long answers under way are waited for at the end; a stream of events would go on for as long as its search."""
POLL_S = 0.1
RESTART_S = 1.0
"""After which a worker that died is started anew; it may die at once again."""


def database_url(url: str | None, folder: Path) -> str:
    """The database that is meant: one named, else an SQLite file in the service's folder."""
    if url is not None:
        return url
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(folder / 'nas.db').resolve()}"


def artifacts_root(root: str | None, folder: Path) -> str:
    """Where exports are kept: at a place named, else in the service's folder."""
    return root if root is not None else str((folder / "artifacts").resolve())


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How to serve.

    Attributes:
        url: The database's.
        artifacts: Where exports are kept.
        host: To listen at.
        port: To listen at.
        has_auth: Whether a token is needed.
        model_roots: Folders below which models, and texts, data and tasks, may lie.
        allow_remote_code: Whether a config may ask for a model's own code.
        num_workers: Started beside the API.
        lease_s: Of these workers.
        requests_per_s: Of one token, in the long run.
        burst: How many at once.
    """

    url: str
    artifacts: str
    host: str
    port: int
    has_auth: bool
    model_roots: Sequence[Path]
    allow_remote_code: bool
    num_workers: int
    lease_s: float
    requests_per_s: float
    burst: int


def serve(serving: Serving, console: Console) -> None:
    """Serves until it is interrupted.

    Raises:
        LimitError: Beyond loopback without tokens.
        DatabaseError: No such database.
    """
    import uvicorn

    from nas.service.api import Policy, create_app

    use_one_heap()
    check_bind(serving.host, has_auth=serving.has_auth)
    artifacts = ArtifactStore(serving.artifacts)
    artifacts.check()
    database = Database(serving.url)
    upgrade(database)
    if serving.has_auth and (token := Tokens(database).create_first_admin()) is not None:
        console.print(f"Administrator's token, shown this once: {token}", highlight=False, soft_wrap=True)
        console.print("Give it to commands as NAS_TOKEN.", highlight=False)
    policy = Policy(
        has_auth=serving.has_auth,
        model_roots=tuple(serving.model_roots),
        allow_remote_code=serving.allow_remote_code,
        requests_per_s=serving.requests_per_s,
        burst=serving.burst,
    )
    options = ["--lease", str(serving.lease_s), "--parent", str(os.getpid())]
    workers = [_worker(*options)] * serving.num_workers
    console.print(f"http://{serving.host}:{serving.port} with {serving.num_workers} worker(s)", highlight=False)
    # uvicorn ends by the signal that it was sent, by default at once: workers would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with kept_running(workers, os.environ | _places(serving.url, serving.artifacts)) as over:
        app = create_app(database, policy, artifacts)
        # What is there by now stays. Each full collection would look through it all, half a second with every request
        # waiting, and reading trials brings many about.
        gc.collect()
        gc.freeze()
        settings = uvicorn.Config(
            app, host=serving.host, port=serving.port, log_level="warning", timeout_graceful_shutdown=GRACE_S
        )
        server = uvicorn.Server(settings)
        threading.Thread(target=_end_with_server, args=(server, over), daemon=True).start()
        server.run()
    if not server.started:
        sys.exit(1)


def _end_with_server(server: "uvicorn.Server", over: threading.Event) -> None:
    """Workers end while the server still waits for answers under way: one after the other could take too long."""
    while not (server.should_exit or over.wait(POLL_S)):
        pass
    over.set()


@contextmanager
def kept_running(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> Iterator[threading.Event]:
    """Runs a process for each command, starts those anew that die, and asks all to end when the block is left.

    Yields:
        What asks them sooner, by being set.
    """
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    over = threading.Event()

    def look_after() -> None:
        while not over.wait(RESTART_S):
            for place, process in enumerate(processes):
                if process.poll() is not None:
                    LOG.warning("A worker ended with %s; starting another.", process.returncode)
                    processes[place] = subprocess.Popen(commands[place], env=environment)
        for process in processes:
            process.terminate()

    keeper = threading.Thread(target=look_after)
    keeper.start()
    try:
        yield over
    finally:
        over.set()
        keeper.join()
        for process in processes:
            process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """How to work.

    Attributes:
        url: The database's.
        artifacts: Where exports are kept.
        lease_s: Of claims.
        device: As ``CUDA_VISIBLE_DEVICES`` names one, or ``cpu``; None for a worker on each that there is.
        until_idle: End when there is nothing to do.
        parent: A process to end with; None for none.
    """

    url: str
    artifacts: str
    lease_s: float
    device: str | None
    until_idle: bool
    parent: int | None


def work(working: Working) -> None:
    """Works until it is told to stop.

    Raises:
        SchemaError: The database is not the service's, or of another version.
        ArtifactError: Exports cannot be kept there.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ArtifactStore(working.artifacts).check()
    database = Database(working.url)
    require_current(database)
    database.close()
    devices = cuda_devices() if working.device is None else [working.device]
    if working.parent is not None:
        end_with(working.parent, signal.SIGTERM)
    if len(devices) > 1:
        _work_on_each(devices, working)
        return
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = "" if devices == ["cpu"] else devices[0]
    worker = Worker(working.url, artifacts=working.artifacts, lease_s=working.lease_s)
    worker.stop_on_signals()
    worker.run(until_idle=working.until_idle)


def cuda_devices() -> list[str]:
    """The CUDA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        try:
            command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
            allowed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace("\n", ",")
        except (OSError, subprocess.CalledProcessError):
            return []
    return [name for one in allowed.split(",") if (name := one.strip()) and name != "-1"]


def _work_on_each(devices: Sequence[str], working: Working) -> None:
    """A worker in a process of its own on each device."""
    options = ["--lease", str(working.lease_s), "--parent", str(os.getpid())]
    commands = [_worker(*options, "--device", device) for device in devices]
    environment = os.environ | _places(working.url, working.artifacts)
    if working.until_idle:
        for process in [subprocess.Popen([*command, "--until-idle"], env=environment) for command in commands]:
            process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with kept_running(commands, environment):
        threading.Event().wait()


def _worker(*options: str) -> list[str]:
    return [sys.executable, "-m", "nas.cli", "worker", *options]


def _places(url: str, artifacts: str) -> dict[str, str]:
    """For the environment of workers: an URL may hold a password, which others could read on a command line."""
    return {"NAS_DATABASE_URL": url, "NAS_ARTIFACTS": artifacts}


def create_token(url: str, *, owner: str, scopes: Sequence[str], lifetime_s: float | None) -> str:
    """A new token. Errors are those of ``Tokens.create``."""
    return _tokens(url).create(owner, scopes, lifetime_s)


def revoke_token(url: str, token_id: str) -> None:
    """Makes a token worthless. Errors are those of ``Tokens.revoke``."""
    _tokens(url).revoke(token_id)


def tokens_table(url: str) -> Table:
    """All tokens, without their secrets."""
    table = Table(title="Tokens")
    table.add_column("id", no_wrap=True)  # to be copied, however narrow the terminal is
    for heading in ("owner", "scopes", "valid", "created", "expires", "last used"):
        table.add_column(heading)
    for one in _tokens(url).list():
        times = [moment(one.created_at), moment(one.expires_at), moment(one.last_used_at)]
        table.add_row(one.id, one.owner, ", ".join(sorted(one.scopes)), "yes" if one.is_valid else "no", *times)
    return table


def _tokens(url: str) -> Tokens:
    database = Database(url)
    upgrade(database)
    return Tokens(database)
