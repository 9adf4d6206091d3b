"""`nas prune` through the command line, up to the exported model in a process of its own."""

import json
import shutil
from pathlib import Path

import pytest

from evaluators.base import Subject
from evaluators.perplexity import Perplexity
from nas.supernet.loading import load_pretrained
from tests.integration.commands import SEARCH, assert_sentence, nas


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(SEARCH)
    return path


def pruned(config: Path, folder: Path, *arguments: str) -> dict[str, float]:
    """Values that the trial measured, by name."""
    result = nas("prune", config, "--out", folder, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    trial = json.loads(result.stdout)
    return {name: measurement["value"] for name, measurement in trial["measurements"].items()}


def exported_perplexity(run: Path, folder: Path) -> float:
    """Exports the trial that was pruned, and scores the files as the trial was scored."""
    exported = nas("export", run, "1", "--out", folder)
    assert exported.returncode == 0, exported.stderr
    model, tokenizer = load_pretrained(folder, dtype="float32", revision=None, device="cpu", trust_remote_code=True)
    found = Perplexity(window_tokens=64, limit=4).evaluate(Subject(model=model, tokenizer=tokenizer))
    return found["perplexity"].value


def test_recovery_raises_quality_and_is_in_the_exported_model(config: Path, tmp_path: Path) -> None:
    budget = ("--pruner", "magnitude", "--max", "flops=0.7x")
    plain = pruned(config, tmp_path / "plain", *budget)
    tuned = pruned(config, tmp_path / "tuned", *budget, "--set", "recovery.type=refit")
    assert plain["flops"] == tuned["flops"]
    assert tuned["perplexity"] < plain["perplexity"]
    supernet = json.loads(nas("trials", tmp_path / "tuned", "--json").stdout)[0]["measurements"]
    assert tuned["flops"] <= 0.7 * supernet["flops"]["value"]

    assert exported_perplexity(tmp_path / "tuned", tmp_path / "exported") == pytest.approx(
        tuned["perplexity"], rel=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pruner", "options", "sizes"),
    [
        ("grain", "{steps: 10, embedding_rank: 96}", [4096]),
        ("flop", "{steps: 10, embedding_bands: 2}", [819, 3277]),
    ],
)
def test_an_embedding_that_was_pruned_is_in_the_exported_model(
    pruner: str, options: str, sizes: list[int], config: Path, tmp_path: Path
) -> None:
    """The weights of FLOP are lost, and come out of another training again."""
    budget = ("--pruner", pruner, "--max", "parameters=0.7x", "--set", f"trained_pruners.{pruner}={options}")
    found = pruned(config, tmp_path / "run", *budget)
    supernet, trial = json.loads(nas("trials", tmp_path / "run", "--json").stdout)
    assert found["parameters"] <= 0.7 * supernet["measurements"]["parameters"]["value"]
    kept = trial["sub_network"]["bands"]
    assert [num_tokens for num_tokens, _ in kept] == sizes
    assert pruner == "flop" or kept == [[4096, 96]]
    if pruner == "flop":
        shutil.rmtree(tmp_path / "run" / "weights")
    perplexity = exported_perplexity(tmp_path / "run", tmp_path / "exported")
    assert perplexity == pytest.approx(found["perplexity"], rel=1e-3)
    assert (tmp_path / "exported" / "banded_embedding.py").exists()


def test_the_run_is_one_for_every_other_command(config: Path, tmp_path: Path) -> None:
    pruned(config, tmp_path / "run", "--pruner", "fisher", "--max", "parameters=0.8x")
    front = nas("front", tmp_path / "run", "--json")
    record = json.loads(front.stdout)
    assert [trial["source"] for trial in record["trials"]] == ["fisher"]
    assert nas("pick", tmp_path / "run", "--max", "parameters=0.8x").returncode == 0
    assert nas("report", tmp_path / "run").returncode == 0
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["--pruner", "fischer", "--max", "flops=0.5x"], 2, ["must be one of random", "got 'fischer'", "'fisher'"]),
        (["--pruner", "fisher", "--max", "flops"], 2, ["must have the form NAME=VALUE", "write --max flops=0.5x"]),
        (["--pruner", "fisher", "--max", "flops=0x"], 2, ["An amount must be a positive number", "'0x'"]),
        (["--pruner", "fisher", "--max", "latency=0.5x"], 2, ["got 'latency' and none fits"]),
        (["--pruner", "random", "--max", "flops=1x"], 2, ["must leave something to prune", "lower it"]),
        (["--pruner", "kcm", "--max", "flops=0.2x"], 3, ["KCM keeps all heads", "raise the budget"]),
    ],
)
def test_bad_input(config: Path, tmp_path: Path, arguments: list[str], exit_code: int, says: list[str]) -> None:
    result = nas("prune", config, "--out", tmp_path / "run", *arguments)
    assert_sentence(result, exit_code=exit_code, says=says)
    assert not (tmp_path / "run").exists()


def test_a_search_does_not_go_on_with_a_pruning(config: Path, tmp_path: Path) -> None:
    pruned(config, tmp_path / "run", "--pruner", "random", "--max", "parameters=0.8x")
    result = nas("search", config, "--out", tmp_path / "run", "--resume")
    assert_sentence(result, exit_code=2, says=["--resume goes on with a search", "nas prune"])


def test_calibration_text_shorter_than_a_sequence(config: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too short.")
    result = nas(
        *("prune", config, "--out", tmp_path / "run", "--pruner", "fisher", "--max", "flops=0.5x"),
        *("--set", f"importance.text={tmp_path}/short.txt"),
    )
    assert_sentence(result, exit_code=2, says=["must hold at least 128 tokens", "give a longer text"])
