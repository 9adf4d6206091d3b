"""The image's health check, against processes and servers that are there."""

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "healthcheck.py"


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("healthcheck", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


healthcheck = load()


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server on loopback that answers ``/readyz`` with the status, and any other path with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts a process whose arguments look like those of ``nas``, as its console script makes them; gives its id."""
    script = tmp_path / "nas"
    script.write_text("import time\nprint(flush=True)\ntime.sleep(60)\n", encoding="utf-8")
    processes = []

    def start(*arguments: str) -> int:
        process = subprocess.Popen([sys.executable, str(script), *arguments], stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def check(pid: int) -> subprocess.CompletedProcess[str]:
    """The script, as an engine runs it."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(pid)], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("command", "url"),
    [
        (["python", "/opt/nas/venv/bin/nas", "serve"], "http://127.0.0.1:8000/readyz"),
        (["nas", "--debug", "serve", "--workers", "0", "--host", "0.0.0.0"], "http://127.0.0.1:8000/readyz"),
        (["/sbin/docker-init", "--", "nas", "serve", "--port=9000"], "http://127.0.0.1:9000/readyz"),
        (["nas", "serve", "--port", "80", "--host", "::"], "http://[::1]:80/readyz"),
        (["nas", "serve", "--host", "10.0.0.3"], "http://10.0.0.3:8000/readyz"),
        (["nas", "worker"], None),
        (["nas", "search", "serve", "--out", "serve"], None),
        (["nas"], None),
        (["sleep", "infinity"], None),
        ([], None),
    ],
)
def test_only_a_server_is_asked(command: list[str], url: str | None) -> None:
    assert healthcheck.ready_url(command) == url


def test_a_server_that_is_ready(started: Callable[..., int]) -> None:
    with answering(200) as port:
        done = check(started("serve", "--port", str(port)))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_is_not_ready(started: Callable[..., int], status: int) -> None:
    with answering(status) as port:
        done = check(started("serve", "--port", str(port)))
    assert done.returncode == 1
    assert f"nas serve does not answer: HTTP Error {status}" in done.stderr


def test_a_server_that_does_not_listen(started: Callable[..., int]) -> None:
    with answering(200) as port:
        pid = started("serve", "--port", str(port))
    done = check(pid)
    assert done.returncode == 1
    assert "nas serve does not answer" in done.stderr


@pytest.mark.parametrize("arguments", [["worker"], ["search", "config.yaml"], ["rerun", "runs/first"]])
def test_anything_else_is_well_while_it_runs(started: Callable[..., int], arguments: list[str]) -> None:
    assert check(started(*arguments)).returncode == 0


def test_a_port_that_is_none(started: Callable[..., int]) -> None:
    assert check(started("serve", "--port", "many")).returncode == 1
