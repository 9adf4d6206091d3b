"""Trainings inside a search and a pruning, through the command line: killed, stopped, gone on with."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.commands import COMMAND, ENVIRONMENT, assert_sentence, nas

pytestmark = pytest.mark.slow
CONFIG = """\
model: {name: bundled, dtype: float32}
space: {type: joint, neurons_multiple_of: 64}
importance: {type: magnitude, max_sequences: 4, sequence_tokens: 32, batch_size: 2}
objectives:
  - perplexity: {window_tokens: 64, limit: 2}
  - parameters: {}
strategy: {type: random, seeds: [grain]}
trials: 3
seed: 3
trained_pruners:
  grain: {steps: 40, checkpoint_every: 2}
  flop: {steps: 40, checkpoint_every: 2}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "training.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    result = nas("search", config, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder


def weights_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "weights").iterdir()}


def sent_while_it_trains(number: signal.Signals, *arguments: str | Path, folder: Path) -> tuple[int, str]:
    """Sends a signal once there is a checkpoint that was not there before; the exit code and standard error."""
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trainings/*.pt")}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    end_s = time.monotonic() + 240
    while before == {path: path.stat().st_mtime_ns for path in folder.glob("trainings/*.pt")}:
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.02)
    process.send_signal(number)
    _, told = process.communicate(timeout=240)
    return process.returncode, told


def test_kill_9_in_a_training_changes_no_bit_of_what_a_search_finds(
    config: Path, undisturbed: Path, tmp_path: Path
) -> None:
    search = ("search", config, "--out", tmp_path / "run")
    code, _ = sent_while_it_trains(signal.SIGKILL, *search, folder=tmp_path / "run")
    assert code == -signal.SIGKILL
    code, _ = sent_while_it_trains(signal.SIGKILL, *search, "--resume", folder=tmp_path / "run")
    assert code == -signal.SIGKILL
    result = nas(*search, "--resume")
    assert result.returncode == 0, result.stderr
    assert weights_of(tmp_path / "run") == weights_of(undisturbed)
    assert not (tmp_path / "run" / "trainings").exists()


def test_sigterm_in_a_training_ends_a_search_with_a_sentence(config: Path, undisturbed: Path, tmp_path: Path) -> None:
    search = ("search", config, "--out", tmp_path / "run")
    code, told = sent_while_it_trains(signal.SIGTERM, *search, folder=tmp_path / "run")
    assert_sentence(
        subprocess.CompletedProcess(search, code, stderr=told),
        exit_code=1,
        says=["Training was asked to stop and did at step", "of 40, with a checkpoint in", "; go on with --resume."],
    )
    result = nas(*search, "--resume")
    assert result.returncode == 0, result.stderr
    assert weights_of(tmp_path / "run") == weights_of(undisturbed)


def test_sigterm_in_a_pruning_and_the_same_command_again(config: Path, tmp_path: Path) -> None:
    prune = ("prune", config, "--pruner", "flop", "--max", "parameters=0.7x", "--out")
    code, told = sent_while_it_trains(signal.SIGTERM, *prune, tmp_path / "run", folder=tmp_path / "run")
    assert_sentence(
        subprocess.CompletedProcess(prune, code, stderr=told),
        exit_code=1,
        says=[f"go on by the same command with --out {tmp_path / 'run'}."],
    )
    for name in ("run", "whole"):
        result = nas(*prune, tmp_path / name)
        assert result.returncode == 0, result.stderr
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")
    assert not (tmp_path / "run" / "trainings").exists()
