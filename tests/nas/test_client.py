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
"""Status, type (of a redirect: where to) and body.

Of a list the pieces come one after the other, and then nothing more, as where power fails.
"""


@contextmanager
def answering(answers: dict[str, list[Answer]], *, timeout_s: float = 30.0) -> Iterator[Client]:
    """A server that answers each path with one answer after the other, and with the last one for ever."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers[self.path.partition("?")[0]]
            status, kind, body = found.pop(0) if len(found) > 1 else found[0]
            self.send_response(status)
            self.send_header("Location" if 300 <= status < 400 else "Content-Type", kind)
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
            with Client(f"http://127.0.0.1:{server.server_port}", timeout_s=timeout_s) as client:
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
        pytest.raises(UnreachableError, match="must answer, but: timed out") as caught,
    ):
        next(client.watch(SEARCH, patience_s=0.1))
    assert caught.value.__cause__ is not caught.value  # or who looks for the cause of it all would never end


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


def test_an_export_under_way_is_asked_for_again_while_its_service_is_away(tmp_path: Path) -> None:
    waiting = export(b"", state="running")
    broken: Answer = (200, "application/json", [])
    sent: Answer = (200, "application/zip", b"the file")
    proxied: list[Answer] = [(status, "text/html", b"<html>") for status in (502, 504)]
    answers = [waiting, AWAY_ANSWER, broken, *proxied, AWAY_ANSWER, waiting, export(b"the file")]
    with answering(
        {"/v1/exports/a": answers, "/v1/exports/a/download": [AWAY_ANSWER, broken, sent]}, timeout_s=0.5
    ) as client:
        assert client.download("a", tmp_path / "model.zip", poll_s=0.01).read_bytes() == b"the file"


@pytest.mark.parametrize("answers", [{"/v1/exports/a": [AWAY_ANSWER]}, {}])
def test_patience_with_an_export_ends(answers: dict[str, list[Answer]], tmp_path: Path) -> None:
    away = {"/v1/exports/a": [export(b"the file")], "/v1/exports/a/download": [AWAY_ANSWER]}
    with (
        answering({**away, **answers}) as client,
        pytest.raises(UnreachableError, match="must answer, but: The database must be there; wait"),
    ):
        client.download("a", tmp_path / "model.zip", patience_s=0.0)
    assert list(tmp_path.iterdir()) == []


PAGE: Answer = (200, "text/html", b"<html>")


@pytest.mark.parametrize("answer", [PAGE, (200, "application/json", b"[]"), (304, "text/html", b""), (404, *PAGE[1:])])
def test_what_no_service_of_ours_answers_is_told_in_a_sentence(answer: Answer) -> None:
    path = f"/v1/searches/{SEARCH}"
    with answering({path: [answer], f"{path}/events": [answer]}) as client:
        for ask in (lambda: client.get(SEARCH), lambda: next(client.watch(SEARCH))):
            with pytest.raises(ServiceError, match=rf"in its own form, got {answer[0]} .*; mend the URL") as caught:
                ask()
            assert not caught.value.may_pass


@pytest.mark.parametrize(
    ("base", "states", "led_to", "told"),
    [
        ("", ["queued"], "https://example.org/v1/searches?state=queued", "https://example.org; give"),
        ("/nas", [], "https://example.org/nas/v1/searches", "https://example.org/nas; give"),
        ("", [], "https://example.org/login?next=here", r"https://example.org/login\?next=here; give"),
    ],
)
def test_a_redirect_is_told_of_and_not_followed(base: str, states: list[str], led_to: str, told: str) -> None:
    with (
        answering({f"{base}/v1/searches": [(301, led_to, b"")]}) as server,
        Client(server.url + base) as client,
        pytest.raises(ServiceError, match=rf"asked where it is, but {client.url} leads to {told} that URL") as caught,
    ):
        next(client.jobs(states=states))
    assert not caught.value.may_pass


def test_an_address_that_is_none_is_told_of() -> None:
    with pytest.raises(ServiceError, match=r"must be one such as http://127.0.0.1:8000, .*'http://\[::1' \(.*; mend"):
        Client("http://[::1")
    for url, search_id in (("localhost:8000", SEARCH), ("http://127.0.0.1:1", "a\n")):
        with Client(url) as client, pytest.raises(ServiceError, match=r"such as http://127\.0\.0\.1:8000") as caught:
            next(client.watch(search_id))
        assert not caught.value.may_pass
