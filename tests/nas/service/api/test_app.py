"""The API as a client finds it, on both databases."""

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from nas.artifacts import ArtifactError, ArtifactStore
from nas.service import tables
from nas.service.api import Policy, create_app
from nas.service.api.routes import QUIET
from nas.service.database import Database, DatabaseError
from nas.service.queue import Queue
from nas.service.searches import Searches
from nas.service.tokens import Identity, Tokens
from tests.nas.service.searching import ARTIFACTS, claimed, exported, finished, submitted

CONFIG = {"model": "bundled", "objectives": ["parameters", "perplexity"], "trials": 3}
NOBODY = "0" * 32


def cursor_of(moment: str, search_id: str) -> str:
    """In the form of those that pages give out."""
    return base64.urlsafe_b64encode(f"{moment} {search_id}".encode()).decode()


def client_of(database: Database, **policy: Any) -> TestClient:
    app = create_app(database, Policy(**policy), ArtifactStore(ARTIFACTS))
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with client_of(database, has_auth=False) as opened:
        yield opened


def problem(answer: Any, status: int, kind: str) -> str:
    """The sentence of a problem, checked for its form."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "instance"}
    assert (body["type"], body["status"]) == (f"/problems/{kind}", status)
    return str(body["detail"])


def token(database: Database, owner: str, scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {Tokens(database).create(owner, [scope], None)}"}


def test_a_search_is_accepted_and_waits(client: TestClient) -> None:
    answer = client.post("/v1/searches", json=CONFIG)
    assert answer.status_code == 202
    found = client.get(f"/v1/searches/{answer.json()['id']}").json()
    assert (found["state"], found["owner"], found["num_trials"], found["max_trials"]) == ("queued", "local", 0, 3)
    assert found["config"]["model"]["name"] == "bundled"


def test_a_search_that_trains_its_supernet_is_accepted_and_repeated(client: TestClient) -> None:
    asked = {**CONFIG, "supernet_training": {"steps": 7}}
    assert client.post("/v1/check", json=asked).status_code == 200
    first = client.post("/v1/searches", json=asked)
    again = client.post(f"/v1/searches/{first.json()['id']}/rerun")
    assert (first.status_code, again.status_code) == (202, 202)
    for answer in (first, again):
        found = client.get(f"/v1/searches/{answer.json()['id']}").json()
        assert (found["state"], found["config"]["supernet_training"]["steps"]) == ("queued", 7)


def test_a_search_that_would_be_refused_today_is_not_repeated(database: Database) -> None:
    asked = {**CONFIG, "model": {"name": "org/name", "trust_remote_code": True}}
    with client_of(database, has_auth=False, allow_remote_code=True) as client:
        path = f"/v1/searches/{client.post('/v1/searches', json=asked).json()['id']}/rerun"
        assert client.post(path).status_code == 202
    with client_of(database, has_auth=False) as client:
        assert "trust_remote_code must be false" in problem(client.post(path), 403, "refused")


def test_a_stored_config_that_a_newer_program_does_not_know_is_a_problem(
    client: TestClient, database: Database
) -> None:
    path = f"/v1/searches/{submitted(database)}/rerun"
    with database.transaction() as connection:
        connection.execute(update(tables.searches).values(config={**CONFIG, "trails": 3}))
    assert "got 'trails'; did you mean 'trials'?" in problem(client.post(path), 422, "config")


def test_yaml_is_a_body_too(client: TestClient) -> None:
    answer = client.post("/v1/searches", content="model: bundled\nobjectives: [parameters, flops]\ntrials: 2\n")
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "problem_kind", "sentence"),
    [
        ({**CONFIG, "trails": 3}, 422, "config", "got 'trails'; did you mean 'trials'?"),
        ({**CONFIG, "budget": {"latency": {"max": "cheap"}}}, 422, "config", "cheap"),
        ({**CONFIG, "budget": {"latncy": {"max": "0.8x"}}}, 422, "budget", "got 'latncy' and none fits; choose one of"),
        ([1, 2], 422, "config", "mapping"),
        ({**CONFIG, "model": "/etc"}, 403, "refused", "/etc"),
        ({**CONFIG, "also_measure": [{"perplexity": {"text": "/etc/passwd"}}]}, 403, "refused", "/etc/passwd"),
        ({**CONFIG, "tracking": [{"mlflow": {"uri": "file:///etc"}}]}, 403, "refused", "uri"),
        ({**CONFIG, "model": {"name": "org/name", "trust_remote_code": True}}, 403, "refused", "trust_remote_code"),
    ],
)
def test_a_bad_config_is_refused_with_a_sentence(
    client: TestClient, body: Any, status: int, problem_kind: str, sentence: str
) -> None:
    assert sentence in problem(client.post("/v1/searches", json=body), status, problem_kind)
    assert client.get("/v1/searches").json()["searches"] == []


@pytest.mark.parametrize(
    ("body", "problem_kind"),
    [
        (b"\xff\xfe", "parameter"),
        (b"{", "config"),
        (b"", "config"),
        (b"[" * 5000, "config"),
        (b"name: 2020-13-45", "config"),
        (rb'{"name": "\ud800", "model": "bundled", "objectives": ["parameters", "perplexity"], "trials": 3}', "config"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "parameter"),
        (b"!!python/object/apply:os.system [ls]", "config"),
    ],
)
def test_a_body_that_is_no_config_is_refused(client: TestClient, body: bytes, problem_kind: str) -> None:
    problem(client.post("/v1/searches", content=body), 422, problem_kind)


def test_a_body_beyond_the_limit_is_refused_announced_or_not(database: Database) -> None:
    with client_of(database, has_auth=False, max_body_bytes=1000) as client:
        text = "#" * 1001
        assert "at most 1000 bytes" in problem(client.post("/v1/searches", content=text), 413, "too-large")
        chunks = (part.encode() for part in [text[:600], text[600:]])
        assert "at most 1000 bytes" in problem(client.post("/v1/searches", content=chunks), 413, "too-large")


def test_the_same_key_gives_the_same_search(client: TestClient) -> None:
    first = client.post("/v1/searches", json=CONFIG, headers={"Idempotency-Key": "k"})
    again = client.post("/v1/searches", json=CONFIG, headers={"Idempotency-Key": "k"})
    assert first.json() == again.json()
    other = client.post("/v1/searches", json={**CONFIG, "seed": 1}, headers={"Idempotency-Key": "k"})
    assert "'k' stands for another config" in problem(other, 422, "idempotency-key")
    assert len(client.get("/v1/searches").json()["searches"]) == 1


def test_a_list_is_paged_newest_first(client: TestClient, database: Database) -> None:
    ids = [submitted(database) for _ in range(7)]
    seen, cursor = [], None
    while True:
        wanted = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/searches", params=wanted).json()
        seen += [one["id"] for one in page["searches"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert client.get("/v1/searches", params={"state": "complete"}).json()["searches"] == []


@pytest.mark.parametrize(
    "cursor",
    ["x", "AAAA", "é", "MS4wIGEgYg==", cursor_of("nan", NOBODY), cursor_of("-inf", NOBODY), cursor_of("1.0", "a\0b")],
)
def test_a_cursor_that_was_not_given_out_is_refused(client: TestClient, cursor: str) -> None:
    assert "next_cursor of an earlier page" in problem(
        client.get("/v1/searches", params={"cursor": cursor}), 422, "parameter"
    )


def test_a_finished_search_shows_trials_front_and_picks(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{finished(database)}"
    trials = client.get(f"{path}/trials").json()["trials"]
    assert [trial["number"] for trial in trials] == list(range(6))
    front = client.get(f"{path}/front").json()
    assert front["constraints"] == []
    half = client.get(f"{path}/front", params={"max": "parameters=0.8x"}).json()
    limit = 0.8 * trials[0]["measurements"]["parameters"]["value"]
    assert half["constraints"][0]["max"] == limit
    assert all(one["measurements"]["parameters"]["value"] <= limit for one in half["trials"])
    picked = client.get(f"{path}/pick", params={"max": "parameters=0.8x", "best": "perplexity"}).json()
    assert picked["number"] in [one["number"] for one in half["trials"]]
    nothing = client.get(f"{path}/pick", params={"max": "parameters=0.001x"})
    assert "the nearest is trial 1" in problem(nothing, 404, "nothing-fits")


@pytest.mark.parametrize("budget", ["parameters", "parameters=", "parameters=x", "speed=0.5x", "=", "parameters=nanx"])
@pytest.mark.parametrize("verb", ["front", "pick"])
def test_a_budget_that_cannot_be_read_is_refused(
    client: TestClient, database: Database, verb: str, budget: str
) -> None:
    answer = client.get(f"/v1/searches/{finished(database)}/{verb}", params={"max": budget})
    assert answer.status_code == 422
    assert answer.json()["type"] in {"/problems/parameter", "/problems/budget"}


def test_what_is_not_there_yet_is_a_conflict(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{submitted(database)}"
    for verb in ("front", "pick"):
        assert "ask later" in problem(client.get(f"{path}/{verb}"), 409, "not-ready")


def sent(text: str) -> list[tuple[str, str]]:
    """The id and kind of each server-sent event."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [(block["id"], block["event"]) for block in blocks]


def test_events_come_in_order_and_go_on_after_the_last(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{finished(database)}/events"
    everything = sent(client.get(path).text)
    assert [number for number, _ in everything] == [str(number) for number in range(1, len(everything) + 1)]
    assert [kind for _, kind in everything].count("trial") == 6
    assert everything[-1][1] == "state"
    assert sent(client.get(path, headers={"Last-Event-ID": "4"}).text) == everything[4:]
    assert sent(client.get(path, params={"after": 5}).text) == everything[5:]
    for header in ("x", "-1", "9" * 19, "٣"):
        answer = client.get(path, headers={"Last-Event-ID": header.encode()})
        assert "must be the id of an event" in problem(answer, 422, "parameter")
    assert client.get(path, params={"after": len(everything)}).text == ""
    beyond = client.get(path, params={"after": len(everything) + 1})
    assert f"up to {len(everything)} now" in problem(beyond, 422, "parameter")


@pytest.mark.parametrize("header", ["Authorization: Bearer {}", "Cookie: nas_token={}"])
def test_events_end_with_the_token(database: Database, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.service.api.routes.HEARTBEAT_S", 0.2)
    search_id, plain = submitted(database), Tokens(database).create("ada", ["read"], None)
    name, value = header.format(plain).split(": ")

    def revoke() -> None:
        time.sleep(0.5)
        Tokens(database).revoke(plain.split("_")[1])
        time.sleep(1.0)
        Searches(database, Queue(database)).cancel(search_id)  # which is told of to those who may still listen

    with client_of(database) as client, ThreadPoolExecutor(1) as pool:
        revoking = pool.submit(revoke)
        answer = client.get(f"/v1/searches/{search_id}/events", headers={name: value})
        revoking.result()
    assert sent(answer.text.replace(QUIET.decode(), "")) == [("1", "state")]


def test_events_go_on_where_the_database_cannot_say_whose_token_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.service.api.routes.HEARTBEAT_S", 0.2)
    search_id, identify, asked = submitted(database), Tokens.identify, []

    def away(tokens: Tokens, plain: str) -> Identity:
        asked.append(plain)
        if len(asked) > 1:
            raise DatabaseError("It restarts.")
        return identify(tokens, plain)

    def cancel() -> None:
        time.sleep(1.0)
        Searches(database, Queue(database)).cancel(search_id)

    monkeypatch.setattr(Tokens, "identify", away)
    with client_of(database) as client, ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(cancel)
        answer = client.get(f"/v1/searches/{search_id}/events", headers=token(database, "ada", "read"))
        cancelling.result()
    assert sent(answer.text.replace(QUIET.decode(), "")) == [("1", "state"), ("2", "state")]
    assert 2 <= len(asked) <= 8


def test_cancelling_a_search_that_waits_ends_it(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{submitted(database)}"
    for _ in range(2):
        answer = client.post(f"{path}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert sent(client.get(f"{path}/events").text) == [("1", "state"), ("2", "state")]


def test_the_checkpoint_of_a_search_that_is_cancelled_goes_unless_its_worker_sees_to_that(
    client: TestClient, database: Database, tmp_path: Path
) -> None:
    ids, store, file = [submitted(database) for _ in range(2)], ArtifactStore(ARTIFACTS), tmp_path / "file"
    claimed(database)  # the first
    file.touch()
    for search_id in ids:
        for name in ("checkpoints/supernet.zip", "weights/0.safetensors"):
            store.publish(file, f"searches/{search_id}/{name}")
        assert client.post(f"/v1/searches/{search_id}/cancel").status_code == 202
    assert [store.exists(f"searches/{search_id}/checkpoints/supernet.zip") for search_id in ids] == [True, False]
    assert [store.exists(f"searches/{search_id}/weights/0.safetensors") for search_id in ids] == [True, True]


def test_a_search_that_is_over_is_deleted_with_all_that_is_its(
    client: TestClient, database: Database, tmp_path: Path
) -> None:
    ids, store, file = [finished(database) for _ in range(2)], ArtifactStore(ARTIFACTS), tmp_path / "file"
    export_ids = [exported(database, search_id) for search_id in ids]
    names = [client.app.state.exports.get(one).artifact for one in export_ids]  # type: ignore[attr-defined]
    file.touch()
    for search_id in ids:
        store.publish(file, f"searches/{search_id}/supernet.zip")
    answer = client.delete(f"/v1/searches/{ids[0]}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [one["id"] for one in client.get("/v1/searches").json()["searches"]] == [ids[1]]
    for gone in (client.get(f"/v1/searches/{ids[0]}/front"), client.delete(f"/v1/searches/{ids[0]}")):
        problem(gone, 404, "search")
    problem(client.get(f"/v1/exports/{export_ids[0]}"), 404, "export")
    assert [store.exists(f"searches/{search_id}/supernet.zip") for search_id in ids] == [False, True]
    assert [store.exists(name) for name in names] == [False, True]
    with database.reading() as connection:
        for table in (tables.jobs, tables.trials, tables.begun_trials, tables.events, tables.exports):
            rows = connection.execute(select(table.c.search_id)).scalars().all()
            assert ids[0] not in rows, table.name
            assert ids[1] in rows or table is tables.begun_trials, table.name
    assert len(client.get(f"/v1/searches/{ids[1]}/trials").json()["trials"]) == 6


def test_what_is_still_worked_at_is_not_deleted(client: TestClient, database: Database) -> None:
    waiting = submitted(database)
    told = problem(client.delete(f"/v1/searches/{waiting}"), 409, "not-over")
    assert told.endswith("but its search is queued; cancel it first.")
    client.post(f"/v1/searches/{waiting}/cancel")
    assert client.delete(f"/v1/searches/{waiting}").status_code == 204
    over = finished(database)
    client.post(f"/v1/searches/{over}/export", json={"trial": 1})
    told = problem(client.delete(f"/v1/searches/{over}"), 409, "not-over")
    assert told.endswith("but its export is queued; wait for that.")
    assert client.get(f"/v1/searches/{over}").json()["state"] == "complete"


def test_a_search_whose_files_cannot_be_removed_is_still_there_to_be_deleted(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(store: ArtifactStore, folder: str) -> None:
        raise ArtifactError(f"A place for artifacts must be usable, but removing {folder} failed; try again.")

    path = f"/v1/searches/{finished(database)}"
    with monkeypatch.context() as patch:
        patch.setattr(ArtifactStore, "remove_below", away)
        assert "must be usable" in problem(client.delete(path), 503, "artifacts")
    assert client.get(path).status_code == 200
    assert client.delete(path).status_code == 204


def test_parameters_out_of_range_are_quoted(client: TestClient) -> None:
    told = problem(client.get("/v1/searches", params={"limit": 0}), 422, "parameter")
    assert told == "query.limit must be valid, got '0': Input should be greater than or equal to 1; mend it."
    told = problem(client.post("/session", json={}), 422, "parameter")
    assert told == "A request must have body.token, and this one does not; add it."


def test_an_id_that_is_none_is_refused_and_one_that_is_unknown_not_found(client: TestClient) -> None:
    assert "32 hexadecimal digits, got 'xyz'" in problem(client.get("/v1/searches/xyz"), 422, "parameter")
    assert "must be one that was submitted" in problem(client.get(f"/v1/searches/{NOBODY}"), 404, "search")
    assert problem(client.get("/v2"), 404, "http") == (
        "A path must be one that this service has, got '/v2'; /docs lists them."
    )
    shown = client.get("/v2", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (shown.status_code, shown.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "No such page" in shown.text
    assert "'self'" in shown.headers["content-security-policy"]
    refused = client.post("/v1/searches/0/events")
    assert problem(refused, 405, "http") == "/v1/searches/0/events takes GET only, got POST; see /docs."


OPEN = {("post", "/session"), ("delete", "/session")}
"""With these a browser comes by its token, and lets go of it."""


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Method and path of everything that is not open to all."""
    found = []
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        if path not in {"/healthz", "/readyz", "/metrics"}:
            found += [(method.upper(), path) for method in methods if (method, path) not in OPEN]
    return found


def test_nobody_sees_or_does_what_is_not_theirs(database: Database) -> None:
    search_id, *to_delete = [finished(database) for _ in range(5)]
    export_id = exported(database, search_id)
    mine, other = token(database, "ada", "submit"), token(database, "eve", "submit")
    reader, admin = token(database, "ada", "read"), token(database, "root", "admin")
    wrong = {"Authorization": mine["Authorization"][:-1] + "x"}
    revoked = token(database, "ada", "admin")
    Tokens(database).revoke(revoked["Authorization"].removeprefix("Bearer nas_")[:16])
    with client_of(database) as client:
        matrix = routes(client)
        assert len(matrix) >= 18
        for method, path in matrix:
            is_owned = "{" in path
            url = path.format(search_id=search_id, export_id=export_id)
            body = {"trial": 0} if path.endswith("/export") else None if is_owned or method == "GET" else CONFIG

            def status(headers: dict[str, str], method: str = method, url: str = url, body: Any = body) -> int:
                if method == "DELETE":
                    url = url.replace(search_id, to_delete.pop())
                return client.request(method, url, headers=headers, json=body).status_code

            for bad in ({}, wrong, revoked, {"Authorization": "Basic YTpi"}):
                answer = client.request(method, url, headers=bad, json=body)
                problem(answer, 401, "token")
                assert answer.headers["www-authenticate"] == "Bearer"
            assert status(other) == 404 if is_owned else status(other) in {200, 202}
            assert status(reader) == (200 if method == "GET" else 403)
            assert status(admin) in {200, 202, 204}
            assert status(mine) in {200, 202, 204}
        assert [one["owner"] for one in client.get("/v1/searches", headers=other).json()["searches"]] == ["eve"]
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ok"}


def test_who_asks_too_often_is_told_when_to_come_back(database: Database) -> None:
    with client_of(database, has_auth=False, requests_per_s=0.1, burst=3) as client:
        answers = [client.get("/v1/searches") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 9 <= int(answers[3].headers["retry-after"]) <= 10
        told = f"came faster; wait {answers[3].headers['retry-after']} s."
        assert problem(answers[3], 429, "too-many-requests").endswith(told)


def test_who_is_told_to_wait_is_never_told_none(database: Database) -> None:
    with client_of(database, has_auth=False, requests_per_s=2.0, burst=1) as client:
        answers = [client.get("/v1/searches") for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {problem(answer, 429, "too-many-requests")[-9:] for answer in refused} == {"wait 1 s."}


def test_a_database_that_is_gone_is_said_so(database: Database, tmp_path: Path) -> None:
    gone = Database(f"sqlite:///{tmp_path}/missing/nas.db")
    with client_of(gone, has_auth=False) as client:
        answer = client.get("/v1/searches")
        assert "must be there" in problem(answer, 503, "database")
        assert answer.headers["retry-after"]
        problem(client.get("/readyz"), 503, "database")
        assert client.get("/healthz").status_code == 200


def test_metrics_count_searches_and_requests(client: TestClient, database: Database) -> None:
    search_id = submitted(database)
    client.get(f"/v1/searches/{search_id}")
    client.get(f"/v1/searches/{NOBODY}")
    lines = client.get("/metrics").text.splitlines()
    assert 'nas_searches{state="queued"} 1.0' in lines
    assert 'nas_searches{state="running"} 0.0' in lines
    counted = 'nas_http_request_seconds_count{method="GET",route="/v1/searches/{search_id}",status="%d"} 1.0'
    assert {counted % 200, counted % 404} <= set(lines)
    assert not any(search_id in line for line in lines)


def test_what_nobody_foresaw_is_a_problem_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("nas.service.searches.Searches.page", fail)
    answer = client.get("/v1/searches")
    assert "which is its fault; see its log" in problem(answer, 500, "unforeseen")
    assert "secret" not in answer.text
