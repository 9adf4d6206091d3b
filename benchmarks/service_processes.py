"""A service of real processes to be broken: `nas serve`, workers beside it, and users who do not give up.

Whatever dies is started anew, as an init system would. A user submits a search under a key of its own, again and again
until it is answered, watches it to its end and takes the next.

A fresh interpreter needs seconds of processor time to import what a service needs, which two hundred deaths multiply.
So unless processes are to start ``cold``, the API and the workers are forked from a process that has imported it, and a
worker has some processes forked beforehand that wait until it starts a search's. They are the service's processes in
all else: children of their parent, of one search each, with the code, pipes and connections of their own.
"""

import ctypes
import fcntl
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil

from nas.client import Client, ServiceError

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the repository's tests are not on a script's path

from tests.integration.commands import COMMAND, ENVIRONMENT

T = TypeVar("T")
NUM_WAITING = 8
"""Processes of searches that each worker has ready."""
WAITING = "nas-waiting"
_PR_SET_NAME = 15
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "uvicorn",
        "nas.cli",
        "nas.commands.service",
        "nas.service.api",
        "nas.service.jobs",
        "nas.preparation",
        "nas.search",
    ]
)
LOOK_S = 0.1
PATIENCE_S = 300.0
"""After which something that must happen counts as not happening."""


def until(holds: Callable[[], T | None], *, what: str, timeout_s: float = PATIENCE_S) -> T:
    """Waits for something true and returns it.

    Raises:
        AssertionError: It did not come.
    """
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if found := holds():
            return found
        time.sleep(LOOK_S)
    raise AssertionError(f"{what} did not come within {timeout_s:.0f} s")


class Service:
    """The processes of one service.

    Args:
        url: Of the database.
        log: File for what they print.
        lease_s: Of all workers.
        cold: Whether all of them start as fresh interpreters.
        inner: Workers of `nas serve` itself.
        outer: Workers beside it.
    """

    def __init__(self, url: str, log: Path, *, lease_s: float, cold: bool, inner: int = 0, outer: int = 3) -> None:
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.lease_s = lease_s
        self._log = log
        self._cold = cold
        common = ("--database", url, "--data", str(log.parent), "--lease", str(lease_s))
        serve = ("serve", *common, "--port", str(port), "--no-auth", "--workers", str(inner))
        self._commands: list[Sequence[str]] = [serve, *[("worker", *common)] * outer]
        self._processes = [self._start(command) for command in self._commands]
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        with Client(self.address) as client:
            until(lambda: _answers(client), what="the service")

    def api(self) -> list[psutil.Process]:
        """The API's process, where it lives."""
        return _living(self._processes[:1])

    def workers(self) -> list[psutil.Process]:
        """All workers that live, those of `nas serve` first."""
        inner = [child for api in self.api() for child in _children(api)]
        return inner + _living(self._processes[1:])

    def jobs(self) -> list[psutil.Process]:
        """The processes in which searches run."""
        return [job for worker in self.workers() for job in jobs_of(worker)]

    def stop(self) -> list[str]:
        """Asks all to end; returns the command lines of those that were still there 30 s later."""
        self._over.set()
        self._keeper.join()
        own = _living(self._processes)
        everything = [found for one in own for found in (one, *one.children(recursive=True))]
        for one in own:
            one.terminate()
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.resume()  # one that is paused would not end
        left = psutil.wait_procs(everything, timeout=30)[1]
        told = [" ".join(one.cmdline()) for one in left]
        for one in left:
            one.kill()
        for process in self._processes:
            process.join()
        return told

    def _start(self, command: Sequence[str]) -> BaseProcess:
        process = _FORKS.Process(target=_run, args=(command, self._log, self._cold), name=f"nas {command[0]}")
        process.start()
        return process

    def _keep(self) -> None:
        while not self._over.wait(LOOK_S):
            for place, process in enumerate(self._processes):
                if not process.is_alive():
                    self._processes[place] = self._start(self._commands[place])


def _run(command: Sequence[str], log: Path, cold: bool) -> None:
    """Is `nas` from here on."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if cold:
        os.execve(COMMAND[0], [*COMMAND, *command], ENVIRONMENT)
    if command[0] == "worker":
        _prepare_forks()
    from nas.cli import main

    sys.argv = ["nas", *command]
    main()


def _prepare_forks() -> None:
    """Has `subprocess` take a process that waits where it would start a module in a fresh interpreter."""
    really_start = vars(subprocess)["_fork_exec"]
    waiting: list[tuple[int, socket.socket]] = []
    for _ in range(NUM_WAITING):
        ours, theirs = socket.socketpair()
        if (pid := os.fork()) == 0:
            for _, other in (*waiting, (0, ours)):
                other.close()  # so that each hears of it when the worker dies
            _wait_and_become(theirs)
        theirs.close()
        waiting.append((pid, ours))

    def start(arguments: Sequence[str], *more: Any) -> int:
        kept, (stdin, _, _, stdout, _, stderr, _, error) = more[2], more[5:13]
        targets = {0: stdin, 1: stdout, 2: stderr, **{one: one for one in kept if one != error}}
        passed = {target: source for target, source in targets.items() if source != -1}
        order = json.dumps([list(arguments[2:]), list(passed)]).encode()
        while waiting and arguments[1] == "-m":
            pid, ours = waiting.pop()
            with ours, suppress(BrokenPipeError):  # it was killed while it waited
                socket.send_fds(ours, [order], list(passed.values()))
                return pid
        return int(really_start(arguments, *more))

    vars(subprocess)["_fork_exec"] = start


def _wait_and_become(orders: socket.socket) -> NoReturn:
    """Waits for a module's name and its files, and is that module from then on."""
    _be_called(WAITING)
    order, sources, _, _ = socket.recv_fds(orders, 1 << 16, 16)
    orders.close()
    if not order:
        os._exit(0)
    _be_called("nas-job")
    arguments, targets = json.loads(order)
    high = [fcntl.fcntl(source, fcntl.F_DUPFD, 200) for source in sources]  # off the numbers that they are to have
    for source in sources:
        os.close(source)
    for source, target in zip(high, targets, strict=True):
        os.dup2(source, target)
        os.close(source)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.argv = arguments
    sys.modules.pop(arguments[0], None)  # the worker has imported it; a fresh interpreter would not have
    code = 1
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _be_called(name: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def jobs_of(worker: psutil.Process) -> list[psutil.Process]:
    """The process of its search, if it has one."""
    return [child for child in _children(worker) if _name(child) != WAITING]


def worker_name(process: psutil.Process) -> str:
    """As the queue has it."""
    return f"{socket.gethostname()}-{process.pid}"


@contextmanager
def service(url: str, folder: Path, *, lease_s: float, cold: bool, inner: int, outer: int) -> Iterator[Service]:
    """A service for the block. Whoever is left behind at its end is an error."""
    running = Service(url, folder / "log", lease_s=lease_s, cold=cold, inner=inner, outer=outer)
    try:
        yield running
    except BaseException:
        running.stop()
        raise
    left = running.stop()
    assert not left, f"These were asked to end and were still there 30 s later: {left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A search as its user saw it.

    Attributes:
        key: That it was submitted with.
        id: The search's.
        config: What was asked for.
        heard: Numbers of the events, as they came.
        told: Numbers of the trials that events told of.
        state: At the end.
        reason: Of a failure.
        trials: All, by HTTP.
    """

    key: str
    id: str
    config: str
    heard: list[int]
    told: list[int]
    state: str
    reason: str
    trials: list[dict[str, Any]]


@dataclass(slots=True)
class Users:
    """So many users, each with one search at a time.

    Attributes:
        address: Of the service.
        configs: Submitted in turn.
        prefix: Of the keys.
        troubles: Answers other than the wanted ones, by status; 0 where there was none.
    """

    address: str
    configs: Sequence[str]
    prefix: str
    troubles: Counter[int] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _abandoned: threading.Event = field(default_factory=threading.Event)
    _futures: list[Future[list[Followed]]] = field(default_factory=list)

    def begin(self, number: int) -> None:
        """Lets them begin."""
        pool = ThreadPoolExecutor(number)
        self._futures = [pool.submit(self._use, f"{self.prefix}-{at}") for at in range(number)]
        pool.shutdown(wait=False)

    def check(self) -> None:
        """Raises what a user has met."""
        for future in self._futures:
            if future.done():
                future.result()

    def finish(self) -> list[Followed]:
        """Lets them see their last search to its end.

        Raises:
            TimeoutError: That does not come.
        """
        self._over.set()
        try:
            return [search for future in self._futures for search in future.result(PATIENCE_S)]
        finally:
            self._abandoned.set()

    def _use(self, name: str) -> list[Followed]:
        found: list[Followed] = []
        with Client(self.address, timeout_s=60.0) as client:
            while not self._over.is_set():
                config = self.configs[len(found) % len(self.configs)]
                found.append(self.follow(client, f"{name}-{len(found)}", config))
        return found

    def follow(self, client: Client, key: str, config: str) -> Followed:
        """One search, from its submission to its end."""
        search_id = self._insist(lambda: client.submit(config, idempotency_key=key))
        heard: list[int] = []
        told: list[int] = []

        def follow() -> bool:
            for event in client.watch(search_id, after=heard[-1] if heard else 0):
                heard.append(event.number)
                if event.kind == "trial":
                    told.append(event.data["number"])
            return True

        self._insist(follow)
        record = self._insist(lambda: client.get(search_id))
        return Followed(
            key=key,
            id=search_id,
            config=config,
            heard=heard,
            told=told,
            state=record["state"],
            reason=record["reason"],
            trials=self._insist(lambda: client.trials(search_id)),
        )

    def _insist(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except ServiceError as error:
                self.troubles[error.status] += 1
                if self._abandoned.wait(0.5):
                    raise


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(client: Client) -> bool:
    try:
        next(client.jobs(), None)
    except ServiceError:
        return False
    return True


def _living(processes: Sequence[BaseProcess]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(process.pid))
    return [process for process in found if _lives(process)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in process.children() if _lives(child)]
    except psutil.NoSuchProcess:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return WAITING


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
    except psutil.NoSuchProcess:
        return False
