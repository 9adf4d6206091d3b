"""The client against servers that are not well. Against a real one: tests/integration/test_service.py."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nas.client import SILENCE_S, Client, ServiceError, UnreachableError
from nas.service.api.routes import HEARTBEAT_S, QUIET

SEARCH = "0" * 32
EVENT = b'id: 1\nevent: state\ndata: {"job": "search", "state": "complete"}\n\n'
AWAY = json.dumps({"type": "/problems/database", "detail": "The database must be there; wait."}).encode()
Answer = tuple[int, str, bytes | list[bytes]]
"""Status, type and body; of a list the pieces come one after the other, and then nothing more, as where power fails."""


@contextmanager
def answering(answers: dict[str, list[Answer]]) -> Iterator[Client]:
    """A server that answers each path with one answer after the other, and with the last one for ever."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers[self.path.partition("?")[0]]
            status, kind, body = found.pop(0) if len(found) > 1 else found[0]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) if isinstance(body, bytes) else 10**6))
            self.end_headers()
            if isinstance(body, bytes):
                self.wfile.write(body)
                return
            for piece in body:
                self.wfile.write(piece)
                time.sleep(0.2)
            is_over.wait()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                yield client
        finally:
            is_over.set()
            server.shutdown()


def as_json(**record: object) -> Answer:
    return 200, "application/json", json.dumps(record).encode()


AWAY_ANSWER: Answer = (503, "application/problem+json", AWAY)
OVER = as_json(state="complete", num_events=1)


def test_a_database_that_is_away_for_a_moment_is_waited_for() -> None:
    path = f"/v1/searches/{SEARCH}"
    events = [AWAY_ANSWER, (200, "text/event-stream", EVENT), (200, "text/event-stream", b"")]
    with answering({f"{path}/events": [*events], path: [AWAY_ANSWER, OVER]}) as client:
        watching = client.watch(SEARCH)
        assert next(watching).number == 1
        with pytest.raises(StopIteration):
            next(watching)


def test_patience_ends() -> None:
    with (
        answering({f"/v1/searches/{SEARCH}/events": [AWAY_ANSWER]}) as client,
        pytest.raises(UnreachableError, match="must answer, but: The database must be there; wait"),
    ):
        next(client.watch(SEARCH, patience_s=0.0))


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed at once, more or less."""
    monkeypatch.setattr("nas.client.SILENCE_S", 0.5)
    monkeypatch.setattr("nas.client.RECONNECT_S", 0.01)


def test_a_silence_as_long_as_three_heartbeats_is_a_broken_connection() -> None:
    assert SILENCE_S >= 3 * HEARTBEAT_S


@pytest.mark.usefixtures("_soon")
def test_a_connection_that_is_dead_without_a_word_is_taken_up_where_it_broke() -> None:
    path, kind = f"/v1/searches/{SEARCH}", "text/event-stream"
    events: list[Answer] = [(200, kind, [EVENT]), (200, kind, EVENT.replace(b"1", b"2"))]
    with answering({f"{path}/events": events, path: [as_json(state="complete", num_events=2)]}) as client:
        assert [event.number for event in client.watch(SEARCH)] == [1, 2]


@pytest.mark.usefixtures("_soon")
def test_patience_with_silence_ends() -> None:
    silent: Answer = (200, "text/event-stream", [])
    with (
        answering({f"/v1/searches/{SEARCH}/events": [silent]}) as client,
        pytest.raises(UnreachableError, match="must answer, but: timed out"),
    ):
        next(client.watch(SEARCH, patience_s=0.1))


@pytest.mark.usefixtures("_soon")
def test_heartbeats_are_signs_of_life_for_patience_too() -> None:
    path, kind = f"/v1/searches/{SEARCH}", "text/event-stream"
    events: list[Answer] = [(200, kind, []), (200, kind, [QUIET] * 6), (200, kind, EVENT)]
    with answering({f"{path}/events": events, path: [OVER]}) as client:
        assert [event.number for event in client.watch(SEARCH, patience_s=1.0)] == [1]


def test_a_search_that_is_not_there_is_not_waited_for() -> None:
    nowhere: Answer = (404, "application/problem+json", b'{"type": "/problems/search", "detail": "There is none."}')
    with (
        answering({f"/v1/searches/{SEARCH}/events": [nowhere]}) as client,
        pytest.raises(ServiceError, match="There is none"),
    ):
        next(client.watch(SEARCH))


def export(body: bytes, *, state: str = "complete", reason: str = "") -> Answer:
    return as_json(state=state, reason=reason, sha256=hashlib.sha256(body).hexdigest())


def test_a_file_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    sent: Answer = (200, "application/zip", b"the file")
    path = tmp_path / "model.zip"
    with answering({"/v1/exports/a": [export(b"the file")], "/v1/exports/a/download": [sent]}) as client:
        assert client.download("a", path).read_bytes() == b"the file"
    path.unlink()
    with (
        answering({"/v1/exports/a": [export(b"another")], "/v1/exports/a/download": [sent]}) as client,
        pytest.raises(ServiceError, match="must arrive as it was published"),
    ):
        client.download("a", path)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_failed_is_told_of(tmp_path: Path) -> None:
    failed = export(b"", state="failed", reason="There is no room; make some.")
    waiting = export(b"", state="running")
    with (
        answering({"/v1/exports/a": [waiting, failed]}) as client,
        pytest.raises(ServiceError, match="but it is failed: There is no room"),
    ):
        client.download("a", tmp_path / "model.zip", poll_s=0.01)
