"""The service as a team uses it: processes of its own, a client, and kill -9 at any of them."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoModelForCausalLM

from evaluators import make_evaluator
from evaluators.base import Subject
from nas.client import Client, ServiceError, UnreachableError
from nas.supernet.loading import load_pretrained
from tests.integration.commands import COMMAND, ENVIRONMENT, SEARCH, assert_sentence, nas

LEASE_S = 3.0
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(holds: Callable[[], Any], *, what: str, timeout_s: float = 120.0, every_s: float = 0.05) -> Any:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if found := holds():
            return found
        time.sleep(every_s)
    raise AssertionError(f"{what} did not come within {timeout_s:.0f} s")


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[Client, "subprocess.Popen[bytes]"]]:
    """`nas serve` in a folder, ready for requests."""
    port = free_port()
    arguments = ["serve", "--data", str(folder), "--port", str(port), "--no-auth", "--lease", str(LEASE_S), *options]
    process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            until(lambda: process.poll() is None and answers(client), what="the service")
            yield client, process
    finally:
        left = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert psutil.wait_procs(left, timeout=10)[1] == []


def a_worker(folder: Path, *, lease_s: float) -> "subprocess.Popen[bytes]":
    """`nas worker` for what is served from the folder ``data`` in there, with temporary files beside it."""
    (folder / "scratch").mkdir(exist_ok=True)
    arguments = ["worker", "--data", str(folder / "data"), "--lease", str(lease_s), "--until-idle"]
    environment = {**ENVIRONMENT, "TMPDIR": str(folder / "scratch")}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, stderr=subprocess.DEVNULL)


def scratch_folders(folder: Path) -> list[Path]:
    """Of the jobs of such workers."""
    return list((folder / "scratch").glob("nas-*"))


def answers(client: Client) -> bool:
    try:
        list(client.jobs())
    except ServiceError:
        return False
    return True


def descendants(process: "subprocess.Popen[bytes]", module: str) -> list[psutil.Process]:
    """Processes below that run a module."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if module in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def without_duration(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in trial.items() if key != "duration_s"} for trial in trials]


def test_kill_9_at_any_process_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(SEARCH)
    alone = nas("search", config, "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    expected = json.loads(nas("trials", tmp_path / "alone", "--json").stdout)

    with served(tmp_path / "data") as (client, process):
        search_id = client.submit(config)

        def stored() -> int:
            return int(client.get(search_id)["num_trials"])

        until(lambda: stored() >= 3, what="the third trial")
        [child] = descendants(process, "nas.service.job_process")
        child.kill()
        before = until(lambda: stored() >= 8 and stored(), what="trials after the death of the search's process")
        [worker] = descendants(process, "nas.cli")
        worker.kill()
        until(lambda: stored() > before, what="trials after the death of the worker", timeout_s=LEASE_S + 60)
        events = list(client.watch(search_id))
        assert client.get(search_id)["state"] == "complete"
        assert without_duration(client.trials(search_id)) == without_duration(expected)
        told = [event.data["number"] for event in events if event.kind == "trial"]
        assert told == list(range(22))
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        front = json.loads((tmp_path / "alone" / "front.json").read_text())
        assert without_duration(client.front(search_id)["trials"]) == without_duration(front["trials"])


TRAINING = (
    SEARCH.replace("trials: 22", "trials: 4")
    .replace("limit: 4", "limit: 2")
    .replace("[uniform, magnitude]", "[]")
    .replace("type: joint", "type: uniform, heads: fixed")
    + "supernet_training: {steps: 8, batch_size: 2, sequence_tokens: 32, checkpoint_every: 2, learning_rate: 1e-3}\n"
)


def steps_of(logs: list[str]) -> list[int]:
    """Those that a log tells of."""
    return [int(found[1]) for line in logs if (found := re.match(r"step (\d+)/8 loss", line))]


def perplexity_of(folder: Path) -> float:
    """Of an exported model, as ``TRAINING`` asks for it."""
    model, tokenizer = load_pretrained(
        str(folder), dtype="float32", revision=None, device="cpu", trust_remote_code=True
    )
    perplexity = make_evaluator("perplexity", window_tokens=64, limit=2)
    return perplexity.evaluate(Subject(model=model, tokenizer=tokenizer))["perplexity"].value


def test_kill_9_in_the_training_of_a_supernet_and_an_export_of_what_came_of_it(tmp_path: Path) -> None:
    config = tmp_path / "training.yaml"
    config.write_text(TRAINING)
    alone = nas("search", config, "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    front = json.loads((tmp_path / "alone" / "front.json").read_text())

    with served(tmp_path / "data") as (client, process):
        search_id = client.submit(config)
        kept = tmp_path / "data" / "artifacts" / "searches" / search_id
        until(lambda: (kept / "checkpoints" / "supernet.zip").exists(), what="a checkpoint")
        [child] = descendants(process, "nas.service.job_process")
        child.kill()
        list(client.watch(search_id))
        assert client.get(search_id)["state"] == "complete"
        logs = [line["text"] for line in client.logs(search_id)]
        (death,) = [place for place, line in enumerate(logs) if "process of this search ended with -9" in line]
        assert steps_of(logs[:death])[0] == 1
        begun_at, *more = steps_of(logs[death:])
        assert begun_at in {3, 5, 7}  # one after a checkpoint
        assert more == list(range(begun_at + 1, 9))
        assert without_duration(client.front(search_id)["trials"]) == without_duration(front["trials"])
        assert [path.name for path in kept.iterdir()] == ["supernet.zip"]

        cut = front["trials"][-1]
        assert cut["source"] != "supernet"
        exported = nas("export", search_id, str(cut["number"]), "--server", client.url, "--out", tmp_path / "small")
        assert exported.returncode == 0, exported.stderr
    assert perplexity_of(tmp_path / "small") == pytest.approx(cut["measurements"]["perplexity"]["value"], rel=1e-5)


def test_a_training_whose_worker_is_killed_and_that_is_then_cancelled_leaves_nothing(tmp_path: Path) -> None:
    """Neither on the disk of the workers, nor a checkpoint among the artifacts."""
    with served(tmp_path / "data", "--workers", "0") as (client, _):

        def num_taken_up() -> int:
            return sum("going on from the checkpoint" in line["text"] for line in client.logs(search_id))

        search_id = client.submit(TRAINING.replace("steps: 8,", "steps: 100000,"))
        kept = tmp_path / "data" / "artifacts" / "searches" / search_id / "checkpoints" / "supernet.zip"
        killed = a_worker(tmp_path, lease_s=LEASE_S)
        until(kept.exists, what="a checkpoint")
        [left] = scratch_folders(tmp_path)
        killed.kill()
        killed.wait()
        time.sleep(LEASE_S)
        assert left.exists()
        cancelled = a_worker(tmp_path, lease_s=LEASE_S)
        until(lambda: num_taken_up() == 1, what="the second worker", every_s=0.5)  # two requests each, of 20 a second
        assert not left.exists()
        client.cancel(search_id)
        assert cancelled.wait(30) == 0
        assert (client.get(search_id)["state"], kept.exists()) == ("cancelled", False)
        assert scratch_folders(tmp_path) == []


def test_a_worker_drains_within_ten_seconds_and_another_goes_on(tmp_path: Path) -> None:
    with served(tmp_path / "data", "--workers", "0") as (client, _):
        search_id = client.submit(SEARCH)

        first = a_worker(tmp_path, lease_s=60)
        until(lambda: client.get(search_id)["num_trials"] >= 2, what="the second trial")
        asked_s = time.monotonic()
        first.terminate()
        assert first.wait(15) == 0
        assert time.monotonic() - asked_s < 10
        assert scratch_folders(tmp_path) == []
        assert client.get(search_id)["state"] == "queued"
        stored = client.trials(search_id)
        second = a_worker(
            tmp_path, lease_s=60
        )  # its lease would last a minute: what was given back is taken up at once
        assert second.wait(180) == 0
        assert client.get(search_id)["state"] == "complete"
        assert client.trials(search_id)[: len(stored)] == stored


def test_a_running_search_is_cancelled_and_keeps_what_it_found(tmp_path: Path) -> None:
    with served(tmp_path / "data") as (client, process):
        search_id = client.submit(SEARCH.replace("trials: 22", "trials: 2000"))
        until(lambda: client.get(search_id)["num_trials"] >= 3, what="the third trial")
        client.cancel(search_id)
        until(lambda: client.is_over(search_id), what="the end", timeout_s=15)
        assert client.get(search_id)["state"] == "cancelled"
        assert len(client.trials(search_id)) >= 3
        until(lambda: not descendants(process, "nas.service.job_process"), what="the end of its process")


def test_the_commands_of_a_client(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(SEARCH.replace("trials: 22", "trials: 8"))
    with served(tmp_path / "data") as (client, _):
        server = ("--server", str(client.url))
        search_id = nas("submit", config, *server).stdout.strip()
        watched = nas("watch", search_id, *server)
        assert watched.returncode == 0, watched.stderr
        assert watched.stdout.splitlines()[0] == "1: search queued"
        assert watched.stdout.splitlines()[-1].endswith("search complete")
        assert search_id in nas("jobs", *server, "--json").stdout
        front = json.loads(nas("front", search_id, *server, "--json").stdout)
        assert front["search"]["num_trials"] == 8
        picked = json.loads(nas("pick", search_id, *server, "--max", "parameters=0.9x", "--json").stdout)
        assert picked["number"] in [one["number"] for one in front["trials"]]
        number, small = str(picked["number"]), tmp_path / "small"
        exported = nas("export", search_id, number, *server, "--out", small)
        assert exported.returncode == 0, exported.stderr
        reloaded = AutoModelForCausalLM.from_pretrained(small, trust_remote_code=True)
        assert reloaded.num_parameters() == picked["measurements"]["parameters"]["value"]
        assert json.loads(nas("front", small / "search", "--json").stdout)["trials"] == front["trials"]
        again = nas("export", search_id, number, *server, "--out", small)
        assert_sentence(again, exit_code=2, says=["is in use"])
        unheard = nas("export", search_id, "99", *server, "--out", tmp_path / "no")
        assert_sentence(unheard, exit_code=2, says=["one of 0 to 7, got 99"])
        assert any("searching on" in line["text"] for line in client.logs(search_id))
        assert "Members of the front" in client.report(search_id)
        assert client.check(config)["trials"] == 8
        hint = nas("pick", search_id, *server).stdout.splitlines()[-1]
        assert hint.startswith(f"Export it: nas export {search_id} ")
        assert f" --server {client.url} --to " in hint
        nothing = nas("pick", search_id, *server, "--max", "parameters=0.01x")
        assert_sentence(nothing, exit_code=3, says=["No trial meets parameters", "the nearest is"])
        unknown = nas("watch", "0" * 32, *server)
        assert_sentence(unknown, exit_code=2, says=["must be one that was submitted"])
        kept = nas("delete", search_id, *server)
        assert (kept.returncode, client.get(search_id)["state"]) == (1, "complete")  # nobody said yes
        assert nas("delete", search_id, *server, "--yes").returncode == 0
        assert_sentence(nas("front", search_id, *server), exit_code=2, says=["must be one that was submitted"])
        wrong = nas("submit", config, *server, "--set", "trails=3")
        assert_sentence(wrong, exit_code=2, says=["did you mean 'trials'?"])
    gone = nas("jobs", *server)
    assert_sentence(gone, exit_code=2, says=["must answer", "nas serve"])


def test_a_client_goes_on_watching_when_the_service_comes_back(tmp_path: Path) -> None:
    with served(tmp_path / "data") as (client, process):
        search_id = client.submit(SEARCH)
        port = client.url.rpartition(":")[2]
        watching = client.watch(search_id)
        seen = [next(watching) for _ in range(4)]
        workers = descendants(process, "nas.cli")
        process.kill()
        process.wait()
        assert psutil.wait_procs(workers, timeout=10)[1] == []  # they would be too many once it is started again
        arguments = ["serve", "--data", str(tmp_path / "data"), "--port", port, "--no-auth", "--lease", str(LEASE_S)]
        again = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            seen += list(watching)
            assert client.get(search_id)["state"] == "complete"
        finally:
            again.terminate()
            again.wait(30)
    assert [event.number for event in seen] == list(range(1, len(seen) + 1))
    assert [event.data["number"] for event in seen if event.kind == "trial"] == list(range(22))


def test_the_service_ends_though_somebody_watches(tmp_path: Path) -> None:
    with served(tmp_path / "data", "--workers", "0") as (client, process):
        watching = client.watch(client.submit(SEARCH), patience_s=0.0)
        assert next(watching).data["state"] == "queued"
        begun_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(UnreachableError, match="must answer"):
            next(watching)
        process.wait(30)
        assert time.monotonic() - begun_s < 10


def test_beyond_loopback_only_with_tokens(tmp_path: Path) -> None:
    refused = nas("serve", "--data", tmp_path, "--no-auth", "--host", "0.0.0.0")
    assert_sentence(refused, exit_code=2, says=["0.0.0.0"])
