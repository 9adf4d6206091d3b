"""Finalists recovered by training, through the command line: stopped half-way, resumed, exported."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from evaluators.base import Subject
from evaluators.perplexity import Perplexity
from nas.supernet.loading import load_pretrained
from tests.integration.commands import nas, start

CONFIG = """\
model: {name: bundled, dtype: float32}
space: {type: joint, neurons_multiple_of: 64}
importance: {type: magnitude, max_sequences: 2}
objectives:
  - perplexity: {window_tokens: 64, limit: 4}
  - parameters: {}
strategy: {type: random, seeds: [uniform]}
trials: 5
seed: 3
recovery: {type: lora_distillation, steps: 4, rank: 4, batch_size: 2}
"""


def trials_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads(nas("trials", folder, "--json").stdout))


def perplexity(trial: dict[str, Any], suffix: str = "") -> float:
    return float(trial["measurements"][f"perplexity{suffix}"]["value"])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "recovering.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def resumed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that SIGTERM stopped after its first finalist."""
    folder = tmp_path_factory.mktemp("resumed") / "run"
    process = start(["search", config, "--out", folder])
    end_s = time.monotonic() + 240
    while not list(folder.glob("weights/*.safetensors")) and process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1
    assert not list(folder.glob("weights/.*"))
    result = nas("search", config, "--out", folder, "--resume")
    assert result.returncode == 0, result.stderr
    assert "Recovering trial" in result.stderr
    return folder


def test_a_search_that_was_stopped_ends_with_every_member_recovered(resumed: Path) -> None:
    members = json.loads(nas("front", resumed, "--json").stdout)["trials"]
    recovered = [one for one in members if one["source"] != "supernet"]
    assert recovered
    for one in recovered:
        assert perplexity(one) < perplexity(one, "_before_recovery")
    shown = nas("front", resumed).stdout
    assert "before" in shown
    assert "→" in shown


def test_the_exported_model_scores_as_the_trial_with_weights_kept_and_made_again(resumed: Path, tmp_path: Path) -> None:
    trial = next(one for one in trials_of(resumed) if one["source"] == "uniform")
    shutil.copytree(resumed, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "weights")
    for name, run in (("kept", resumed), ("again", tmp_path / "bare")):
        exported = nas("export", run, str(trial["number"]), "--out", tmp_path / name)
        assert exported.returncode == 0, exported.stderr
        assert ("Recovering" in exported.stderr) == (name == "again")
        model, tokenizer = load_pretrained(
            tmp_path / name, dtype="float32", revision=None, device="cpu", trust_remote_code=True
        )
        found = Perplexity(window_tokens=64, limit=4).evaluate(Subject(model=model, tokenizer=tokenizer))
        assert found["perplexity"].value == pytest.approx(perplexity(trial), rel=1e-3)


def test_one_pruning_is_recovered_too(config: Path, tmp_path: Path) -> None:
    result = nas("prune", config, "--pruner", "magnitude", "--max", "flops=0.7x", "--out", tmp_path / "run", "--json")
    assert result.returncode == 0, result.stderr
    trial = json.loads(result.stdout)
    assert perplexity(trial) < perplexity(trial, "_before_recovery")
    assert len(list((tmp_path / "run" / "weights").iterdir())) == 1


def test_a_search_without_a_score_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.yaml"
    path.write_text(CONFIG.replace("perplexity: {window_tokens: 64, limit: 4}", "flops: {}"))
    result = nas("search", path, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "needs an evaluator of quality to tell what it wins back, got flops, parameters; add perplexity" in (
        result.stderr
    )
