"""What people see of a search over HTTP: chart, report, log, exports; and a browser's session."""

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from nas.artifacts import Artifact, ArtifactStore
from nas.service.database import Database
from nas.service.exports import Exports
from nas.service.logs import LOG_EVENT
from nas.service.queue import JobState, Queue
from nas.service.tokens import Tokens
from tests.nas.service.api.test_app import CONFIG, NOBODY, client_of, problem
from tests.nas.service.searching import ARTIFACTS, FILE, exported, fail, finished, submitted

PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with client_of(database, has_auth=False) as opened:
        yield opened


def test_a_chart_has_every_trial_and_follows_the_budget(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{finished(database)}"
    chart = client.get(f"{path}/chart").json()
    assert [point["number"] for point in chart["points"]] == [*range(6), None]
    assert all(point["command"] is None and point["layers"] for point in chart["points"])
    members = {one["number"] for one in client.get(f"{path}/front").json()["trials"]}
    assert {point["number"] for point in chart["points"] if point["state"] == "front"} == members
    half = client.get(f"{path}/chart", params={"max": "parameters=0.8x"}).json()
    limit = half["quantities"]["parameters"]["budget"]
    for point in half["points"][:-1]:
        fits = point["readings"]["parameters"]["value"] <= limit
        assert fits is (point["state"] in {"front", "feasible"}) or point["state"] == "supernet"


def test_a_report_is_one_page_that_may_reach_nothing(client: TestClient, database: Database) -> None:
    answer = client.get(f"/v1/searches/{finished(database)}/report")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert "Members of the front" in answer.text
    assert "Plotly" in answer.text


def test_before_the_supernet_is_measured_there_is_nothing_to_see(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{submitted(database)}"
    for verb in ("chart", "report"):
        assert "ask later" in problem(client.get(f"{path}/{verb}"), 409, "not-ready")
    problem(client.post(f"{path}/export", json={"trial": 0}), 409, "not-ready")
    assert client.get(f"{path}/logs").json() == {"lines": []}
    assert client.get(f"{path}/exports").json() == {"exports": []}


def test_a_log_is_read_in_parts(client: TestClient, database: Database) -> None:
    from nas.service.events import Events

    search_id = submitted(database)
    with database.transaction() as connection:
        for number in range(3):
            Events(database).add(connection, search_id, LOG_EVENT, {"job": "search", "text": f"line {number}"})
    path = f"/v1/searches/{search_id}/logs"
    lines = client.get(path, params={"limit": 2}).json()["lines"]
    assert [(line["number"], line["job"], line["text"]) for line in lines] == [
        (2, "search", "line 0"),
        (3, "search", "line 1"),
    ]
    rest = client.get(path, params={"after": lines[-1]["number"]}).json()["lines"]
    assert [line["text"] for line in rest] == ["line 2"]


def test_an_export_is_asked_for_once_and_downloaded_whole(client: TestClient, database: Database) -> None:
    search_id = finished(database)
    path = f"/v1/searches/{search_id}"
    asked = client.post(f"{path}/export", json={"trial": 1})
    assert asked.status_code == 202
    waiting = asked.json()
    assert (waiting["state"], waiting["to"], waiting["file_name"]) == ("queued", "huggingface", None)
    assert client.post(f"{path}/export", json={"trial": 1, "to": "huggingface"}).json()["id"] == waiting["id"]
    download = f"/v1/exports/{waiting['id']}/download"
    assert "must be complete" in problem(client.get(download), 409, "not-ready")
    assert exported(database, search_id) == waiting["id"]
    made = client.get(f"/v1/exports/{waiting['id']}").json()
    assert client.get(f"{path}/exports").json() == {"exports": [made]}
    answer = client.get(download)
    assert (answer.content, answer.headers["content-type"]) == (FILE, "application/zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="model.zip"'
    assert answer.headers["etag"] == f'"{made["sha256"]}"'
    assert int(answer.headers["content-length"]) == made["num_bytes"] == len(FILE)


def test_an_export_of_nothing_is_refused(client: TestClient, database: Database) -> None:
    path = f"/v1/searches/{finished(database)}/export"
    assert "must be one of huggingface" in problem(
        client.post(path, json={"trial": 1, "to": "floppy"}), 422, "parameter"
    )
    assert "one of 0 to 5, got 99" in problem(client.post(path, json={"trial": 99}), 404, "trial")
    fail(database, 4, "The device ran out of memory.")
    refused = problem(client.post(path, json={"trial": 4}), 409, "failed-trial")
    assert "but trial 4 failed (The device ran out of memory); choose" in refused
    problem(client.post(path, json={"trial": "x"}), 422, "parameter")
    problem(client.post(path, json={"trial": 1, "too": "huggingface"}), 422, "parameter")
    assert "must be one that was asked for" in problem(client.get(f"/v1/exports/{NOBODY}"), 404, "export")


def test_an_artifact_that_is_gone_is_said_so(client: TestClient, database: Database) -> None:
    search_id = finished(database)
    queue = Queue(database)
    exports = Exports(database, queue)
    export_id = exports.ask(search_id, trial=1, to="huggingface", artifacts=ArtifactStore(ARTIFACTS))
    lease = queue.claim("a test", ["export"])
    assert lease is not None
    with queue.guarded(lease) as connection:
        gone = Artifact(name="exports/gone.zip", url="memory://gone.zip", num_bytes=1, sha256="0" * 64)
        exports.complete(connection, lease, gone, digest=exports.digest(search_id, 1))
        queue.end(connection, lease, JobState.COMPLETE)
    answer = client.get(f"/v1/exports/{export_id}/download")
    assert "must be published before it can be read" in problem(answer, 503, "artifacts")
    again = client.post(f"/v1/searches/{search_id}/export", json={"trial": 1}).json()
    assert (again["state"], again["id"] != export_id) == ("queued", True)


def test_a_config_is_checked_and_not_stored(client: TestClient) -> None:
    checked = client.post("/v1/check", content="model: bundled\nobjectives: [parameters, perplexity]\ntrials: 3\n")
    assert checked.status_code == 200
    assert checked.json()["config"]["strategy"]["type"]
    problem(client.post("/v1/check", json={**CONFIG, "trails": 3}), 422, "config")
    problem(client.post("/v1/check", json={**CONFIG, "model": "/etc"}), 403, "refused")
    assert client.get("/v1/searches").json()["searches"] == []


def test_a_browser_shows_its_token_once(database: Database) -> None:
    token = Tokens(database).create("ada", ["submit"], None)
    with client_of(database) as client:
        problem(client.get("/session"), 401, "token")
        problem(client.post("/session", json={"token": token[:-1] + "x"}, headers=PAGE), 401, "token")
        problem(client.post("/session", json={"token": token}, headers={"Sec-Fetch-Site": "cross-site"}), 403, "scope")
        begun = client.post("/session", json={"token": token}, headers=PAGE)
        assert begun.status_code == 204
        attributes = begun.headers["set-cookie"].lower()
        assert "httponly" in attributes
        assert "samesite=strict" in attributes
        assert client.get("/session").json() == {"owner": "ada", "scopes": ["read", "submit"], "needs_token": True}
        assert client.post("/v1/searches", json=CONFIG, headers=PAGE).status_code == 202
        assert client.post("/v1/searches", json=CONFIG, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 202
        assert client.delete("/session", headers=PAGE).status_code == 204
        problem(client.get("/session"), 401, "token")


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_server_changes_nothing(database: Database, headers: dict[str, str]) -> None:
    token = Tokens(database).create("ada", ["submit"], None)
    with client_of(database) as client:
        client.cookies.set("nas_token", token)
        refused = client.post("/v1/searches", json=CONFIG, headers=headers)
        assert "a page of this server" in problem(refused, 403, "scope")
        assert client.get("/v1/searches", headers=headers).json()["searches"] == []


def test_without_tokens_another_name_for_this_machine_is_refused(client: TestClient) -> None:
    for name in ("evil.example", "127.0.0.1.evil.example:8000"):
        refused = client.get("/v1/searches", headers={"Host": name})
        assert "must be asked as 127.0.0.1, ::1 or localhost" in problem(refused, 403, "scope")
    for name in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/v1/searches", headers={"Host": name}).status_code == 200


def test_without_tokens_a_page_of_another_server_changes_nothing_either(client: TestClient) -> None:
    refused = client.post("/v1/searches", content=json.dumps(CONFIG), headers={"Origin": "https://evil.example"})
    problem(refused, 403, "scope")
    assert client.post("/v1/searches", json=CONFIG).status_code == 202
    assert client.get("/session").json() == {
        "owner": "local",
        "scopes": ["read", "submit", "admin"],
        "needs_token": False,
    }
