"""A whole search through the command line: its files, its end, and what is left of it after kill -9."""

import json
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from nas.bundled import BUNDLED_MODEL
from nas.export.bundle import pack
from tests.integration.commands import SEARCH, assert_sentence, nas, start


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(SEARCH)
    return path


@pytest.fixture(scope="module")
def run(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "alone"
    result = nas("search", config, "--out", folder)
    assert result.returncode == 0, result.stderr
    assert "Pareto front" in result.stdout
    assert f"Report: {folder}/report.html" in result.stdout
    return folder


def stored_trials(folder: Path) -> list[dict[str, Any]]:
    """Every trial but for how long it took."""
    result = nas("trials", folder, "--json")
    assert result.returncode == 0, result.stderr
    return [{key: value for key, value in trial.items() if key != "duration_s"} for trial in json.loads(result.stdout)]


def num_stored(folder: Path) -> int:
    database = folder / "trials.db"
    if not database.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5) as connection:
            return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.OperationalError:  # not created yet
        return 0


def test_the_run_directory_holds_what_was_promised(run: Path) -> None:
    assert {"config.yaml", "environment.json", "trials.db", "front.json", "report.html", "figures"} <= {
        path.name for path in run.iterdir()
    }
    front = json.loads((run / "front.json").read_text())
    assert front["schema_version"] == 1
    assert front["search"]["num_trials"] == 22
    assert front["search"]["model"] == "bundled"
    assert [one["name"] for one in front["objectives"]] == ["perplexity", "parameters"]
    supernet = front["supernet"]["measurements"]["parameters"]["value"]
    assert front["constraints"] == [{"name": "parameters", "max": 0.9 * supernet, "unit": "parameters"}]
    members = [trial["measurements"] for trial in front["trials"]]
    assert members
    assert all(member["parameters"]["value"] <= 0.9 * supernet for member in members)
    values = [(member["perplexity"]["value"], member["parameters"]["value"]) for member in members]
    assert values == sorted(values)
    assert [parameters for _, parameters in values] == sorted((p for _, p in values), reverse=True)


def test_front_json_agrees_with_the_file(run: Path) -> None:
    result = nas("front", run, "--json")
    assert json.loads(result.stdout) == json.loads((run / "front.json").read_text())


def test_pick_finds_the_best_within_a_budget_or_exits_3(run: Path) -> None:
    trials = stored_trials(run)
    supernet = trials[0]["measurements"]["parameters"]["value"]
    within = [trial for trial in trials if trial["measurements"]["parameters"]["value"] <= 0.7 * supernet]
    best = min(within, key=lambda trial: trial["measurements"]["perplexity"]["value"])
    result = nas("pick", run, "--max", "parameters=0.7x", "--json")
    assert json.loads(result.stdout)["number"] == best["number"]
    assert_sentence(
        nas("pick", run, "--max", "parameters=1k"), exit_code=3, says=["No trial meets", "the nearest is trial 1"]
    )


def test_search_survives_kill_and_ends_with_the_same_trials(run: Path, config: Path, tmp_path: Path) -> None:
    """Killed three times, at the start, in the seeds and in the strategy's trials."""
    folder = tmp_path / "killed"
    resume: list[str] = []
    for num_trials in (1, 8, 16):
        process = start(["search", config, "--out", folder, *resume])
        while num_stored(folder) < num_trials and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert num_trials <= num_stored(folder) < 22
        resume = ["--resume"]
    result = nas("search", config, "--out", folder, "--resume")
    assert result.returncode == 0, result.stderr
    assert stored_trials(folder) == stored_trials(run)
    killed, alone = (json.loads((path / "front.json").read_text()) for path in (folder, run))
    for front in (killed, alone):
        del front["search"]["id"]
        for trial in front["trials"]:
            del trial["duration_s"]
    assert killed == alone


def test_resume_refuses_another_config(run: Path, config: Path) -> None:
    result = nas("search", config, "--out", run, "--resume", "--set", "seed=4")
    assert_sentence(result, exit_code=2, says=["'seed' was 3 and is now 4", "--out"])


def test_a_run_is_not_overwritten(run: Path, config: Path) -> None:
    assert_sentence(nas("search", config, "--out", run), exit_code=2, says=["holds a run", "--resume"])


def test_export_loads_in_a_new_process(run: Path, tmp_path: Path) -> None:
    number = json.loads((run / "front.json").read_text())["trials"][0]["number"]
    result = nas("export", run, str(number), "--to", "huggingface", "--out", tmp_path / "exported")
    assert result.returncode == 0, result.stderr
    assert "Parity: largest difference" in result.stdout
    measured = nas("measure", tmp_path / "exported", "--trust-remote-code", "--max-s", "0.2", "--json")
    trial = next(trial for trial in stored_trials(run) if trial["number"] == number)
    assert json.loads(measured.stdout)["parameters"]["value"] == trial["measurements"]["parameters"]["value"]


def test_export_refuses_before_it_loads_the_model(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for options, says in (
        (["--to", "ggfu", "--out", tmp_path / "new"], ["huggingface", "'ggfu'"]),
        (["--out", tmp_path], ["in use", "another --out"]),
    ):
        result = nas("export", run, "0", *options)
        assert_sentence(result, exit_code=2, says=says)
        assert "Loading" not in result.stderr


def test_report_can_be_written_again(run: Path) -> None:
    (run / "report.html").unlink()
    assert nas("report", run).returncode == 0
    assert (run / "report.html").exists()


def test_a_repetition_agrees_with_the_run(run: Path, tmp_path: Path) -> None:
    again = nas("rerun", run, "--out", tmp_path / "again", "--json")
    assert again.returncode == 0, again.stderr
    findings = {finding["what"]: finding for finding in json.loads(again.stdout)}
    assert {"versions", "device", "sub-networks", "perplexity", "parameters", "front"} <= set(findings)
    assert all(finding["agrees"] for finding in findings.values())
    assert stored_trials(tmp_path / "again") == stored_trials(run)
    damaged = nas("rerun", tmp_path / "nothing", "--out", tmp_path / "more")
    assert_sentence(damaged, exit_code=2, says=["A run is a folder"])


def test_an_exported_model_and_its_zip_repeat_the_search(config: Path, tmp_path: Path) -> None:
    """In another folder, as on another machine."""
    for command in (
        ["search", config, "--set", "trials=4", "--out", tmp_path / "short"],
        ["export", tmp_path / "short", "2", "--out", tmp_path / "exported"],
    ):
        result = nas(*command)
        assert result.returncode == 0, result.stderr
    assert f"Repeat its search: nas rerun {tmp_path}/exported" in result.stdout
    pack(tmp_path / "exported", tmp_path / "exported.zip")
    shutil.rmtree(tmp_path / "short")
    for bundle in ("exported", "exported.zip"):
        elsewhere = tmp_path / f"from-{bundle}"
        elsewhere.mkdir()
        again = nas("rerun", tmp_path / bundle, "--json", cwd=elsewhere)
        assert again.returncode == 0, again.stderr
        findings = json.loads(again.stdout)
        assert {"sub-networks", "perplexity", "front"} <= {finding["what"] for finding in findings}
        assert all(finding["agrees"] for finding in findings)
        [repetition] = (elsewhere / "runs").iterdir()
        assert stored_trials(repetition) == stored_trials(tmp_path / "exported" / "search")


def test_a_repetition_without_the_models_folder(config: Path, tmp_path: Path) -> None:
    """By a relative path, which might as well be an id on the hub."""
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    shutil.copytree(BUNDLED_MODEL, here / "models" / "mine")
    run = nas("search", config, "--set", "model.name=models/mine", "--set", "trials=2", "--out", "run", cwd=here)
    assert run.returncode == 0, run.stderr
    again = nas("rerun", here / "run", cwd=there)
    assert_sentence(again, exit_code=2, says=["there is no folder models/mine here; copy or link the model", "hub"])
    assert not (there / "runs").exists() or not list((there / "runs").iterdir())
