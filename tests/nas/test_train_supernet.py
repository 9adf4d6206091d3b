"""From a config to a folder that a search takes, whatever interrupts it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from evaluators.base import EvaluationError
from nas.commands.search import run_search
from nas.config import parse_config
from nas.export.bundle import export_bundle
from nas.long_work.checkpoint import CheckpointError
from nas.long_work.stopping import TrainingStoppedError
from nas.preparation import PreparationError, prepare
from nas.pruning import prepare_pruning
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.supernet.calibration import ImportanceError
from nas.supernet.ranking_file import read_ranking
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import TrainSupernetConfig
from nas.supernet_training.data import DataError
from nas.supernet_training.training import SupernetStep, TrainingError
from nas.train_supernet import CHECKPOINT, CONFIG, RECORD, searched_config, train_supernet, training_config_of
from search_spaces.base import UnitRanking
from tests.evaluators import tiny
from tests.evaluators.encoder_tasks import tiny_encoders
from tests.nas.finetuning import encoders
from tests.nas.supernet_training.accelerating import fresh_accelerator  # noqa: F401

pytestmark = pytest.mark.usefixtures("fresh_accelerator")
SPACE = {"type": "joint", "neurons_multiple_of": 16}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """In bfloat16, as checkpoints mostly are."""
    folder = tmp_path / "model"
    tiny.llama(tie_word_embeddings=True).bfloat16().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    (tmp_path / "text.txt").write_text(tiny.text(400))
    return folder


def record_of(model: Path, **keys: Any) -> dict[str, Any]:
    text = str(model.parent / "text.txt")
    return {
        "model": {"name": str(model), "device": "cpu"},
        "space": SPACE,
        "importance": {"text": text, "sequence_tokens": 16},
        "text": text,
        "steps": 4,
        "batch_size": 4,
        "sequence_tokens": 16,
        "checkpoint_every": 2,
        "learning_rate": 1e-2,
        **keys,
    }


def settings(model: Path, **keys: Any) -> TrainSupernetConfig:
    return TrainSupernetConfig.model_validate(record_of(model, **keys))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("keys", [{}, {"lora": {"rank": 2}, "sampling": {"type": "calibrated", "num_bins": 4}}])
def test_the_folder_is_a_model_with_its_ranking(model: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    told: list[SupernetStep] = []
    config = settings(model, learning_rate=1e-3, **keys)
    record = train_supernet(config, tmp_path / "out", resume=False, on_step=told.append)
    assert [step.number for step in told] == [1, 2, 3, 4]
    assert json.loads((tmp_path / "out" / RECORD).read_text()) == record
    assert record["training"]["losses"]["largest"] == [step.loss for step in told]
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    before, after = Supernet.load(model, device="cpu"), Supernet.load(tmp_path / "out", device="cpu")
    assert after.model.dtype is torch.bfloat16
    assert after.shape == before.shape
    # Units are numbered as before: the weights moved, but not by as much as another unit is away.
    for one, other in zip(before.model.parameters(), after.model.parameters(), strict=True):
        assert (one - other).float().norm() < 0.7 * one.float().norm()
    assert weights(model) != weights(tmp_path / "out")
    ranking = read_ranking(tmp_path / "out", after.shape)
    assert ranking is not None
    assert not np.array_equal(ranking.neurons_LN, UnitRanking.as_numbered(after.shape).neurons_LN)


def test_a_search_keeps_the_recorded_ranking(model: Path, tmp_path: Path) -> None:
    train_supernet(settings(model), tmp_path / "out", resume=False)
    recorded = json.loads((tmp_path / "out" / "unit_ranking.json").read_text())
    text = str(tmp_path / "text.txt")
    record = {
        "model": {"name": str(tmp_path / "out"), "device": "cpu"},
        "space": SPACE,
        "importance": {"type": "magnitude", "text": text, "sequence_tokens": 16},
        "objectives": [{"perplexity": {"text": text, "window_tokens": 16}}, "parameters"],
        "strategy": {"type": "random", "seeds": []},
        "trials": 2,
    }
    kept = prepare(parse_config(json.dumps(record))).supernet.ranking
    anew = prepare(parse_config(json.dumps(record), ["importance.recorded_ranking=false"])).supernet.ranking
    assert kept.neurons_LN.tolist() == recorded["neurons_LN"]
    assert anew.neurons_LN.tolist() != recorded["neurons_LN"]


def test_kill_9_at_any_moment(model: Path, tmp_path: Path) -> None:
    """The command is killed after each step in turn; in the end the weights are those of an undisturbed training."""
    config = settings(model, steps=5)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    train_supernet(config, tmp_path / "whole", resume=False)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nas.supernet_training.config import load_training_config\n"
        "from nas.train_supernet import train_supernet\n"
        "def on_step(step):\n"
        "    if step.number == int(sys.argv[1]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"config = load_training_config(Path({str(tmp_path / 'c.yaml')!r}))\n"
        f"train_supernet(config, Path({str(tmp_path / 'killed')!r}), resume=True, on_step=on_step)\n"
    )
    for number in (1, 4):
        done = subprocess.run([sys.executable, "-c", script, str(number)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed" / RECORD).exists()
    told: list[int] = []
    train_supernet(config, tmp_path / "killed", resume=True, on_step=lambda step: told.append(step.number))
    assert told == [3, 4, 5]
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_copy_of_the_folder_at_any_checkpoint_goes_on_elsewhere(model: Path, tmp_path: Path) -> None:
    copies: list[Path] = []

    def copy() -> None:
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(tmp_path / "whole", copies[-1])

    config = settings(model, steps=5)
    train_supernet(config, tmp_path / "whole", resume=False, on_checkpoint=copy)
    for folder, expected in zip(copies, ([3, 4, 5], [5], []), strict=True):
        told: list[int] = []
        train_supernet(config, folder, resume=True, on_step=lambda step, told=told: told.append(step.number))  # type: ignore[misc]
        assert told == expected
        assert weights(folder) == weights(tmp_path / "whole")


def test_a_kill_while_the_model_is_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(model)
    train_supernet(config, tmp_path / "whole", resume=False)
    with monkeypatch.context() as patched:
        patched.setattr("nas.train_supernet._record", lambda *_: 1 / 0)  # the model lies there, the record does not
        with pytest.raises(ZeroDivisionError):
            train_supernet(config, tmp_path / "out", resume=False)
    told: list[SupernetStep] = []
    train_supernet(config, tmp_path / "out", resume=True, on_step=told.append)
    assert told == []
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_ends_the_command_with_a_sentence(model: Path, tmp_path: Path) -> None:
    config = settings(model, steps=100_000, checkpoint_every=100_000)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    command = [
        sys.executable,
        "-m",
        "nas.cli",
        "train-supernet",
        str(tmp_path / "c.yaml"),
        "--out",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "o" / "unit_ranking.json").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == 1
    assert "Error: Training was asked to stop and did at step" in told
    assert (tmp_path / "o" / CHECKPOINT).exists()


def test_sigterm_in_the_last_step_is_not_forgotten(model: Path, tmp_path: Path) -> None:
    """The supernet is written, and nothing that was to come after it is done."""
    (tmp_path / "s.yaml").write_text(json.dumps(search_record(model)))
    folder, console = tmp_path / "run", Console(stderr=True)

    def stop(_: object, step: SupernetStep) -> None:
        if step.number == step.num_steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nas.commands.search.TrainingProgress.__call__", stop)
        with pytest.raises(TrainingStoppedError, match=r"in its last step, and did with the supernet whole in .*; go"):
            run_search(tmp_path / "s.yaml", out=folder, overrides=[], resume=False, console=console)
    assert (RunDirectory(folder).supernet_path / RECORD).exists()
    run_search(tmp_path / "s.yaml", out=folder, overrides=[], resume=True, console=console)
    assert len(Run.open(folder).trials) == 3


@pytest.mark.slow
def test_two_processes_train_as_one_does_on_twice_the_batches(model: Path, tmp_path: Path) -> None:
    """Batches are numbered through processes as they are through accumulation; up to the order of sums."""
    train_supernet(settings(model, gradient_accumulation=2, lora={"rank": 2}), tmp_path / "one", resume=False)
    (tmp_path / "c.yaml").write_text(settings(model, lora={"rank": 2}).to_yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "nas.cli"]
    command += ["train-supernet", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "two")]
    subprocess.run(command, check=True, env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"})
    one, two = (Supernet.load(tmp_path / name, device="cpu").model.state_dict() for name in ("one", "two"))
    original = Supernet.load(model, device="cpu").model.state_dict()
    moved = sum(float((one[name] - original[name]).float().square().sum()) for name in one)
    apart = sum(float((one[name] - two[name]).float().square().sum()) for name in one)
    assert apart < 0.01 * moved


def test_what_is_done_is_left_as_it_is(model: Path, tmp_path: Path) -> None:
    record = train_supernet(settings(model), tmp_path / "out", resume=False)
    told: list[SupernetStep] = []
    assert train_supernet(settings(model), tmp_path / "out", resume=True, on_step=told.append) == record
    assert told == []


def test_what_is_done_needs_no_accelerator(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = train_supernet(settings(model, mixed_precision="bf16"), tmp_path / "out", resume=False)
    monkeypatch.setattr("nas.train_supernet.accelerator_for", lambda *_: 1 / 0)
    assert train_supernet(settings(model, mixed_precision="bf16"), tmp_path / "out", resume=True) == record


def test_another_config_is_refused(model: Path, tmp_path: Path) -> None:
    train_supernet(settings(model), tmp_path / "out", resume=False)
    train_supernet(settings(model, checkpoint_every=1, max_bad_steps=2), tmp_path / "out", resume=True)
    with pytest.raises(TrainingError, match=r"'steps' was 4 and is now 5; undo the change, or choose another --out"):
        train_supernet(settings(model, steps=5), tmp_path / "out", resume=True)
    (tmp_path / "out" / CONFIG).write_text("{")
    with pytest.raises(TrainingError, match="must be YAML, but it is damaged; choose another --out"):
        train_supernet(settings(model), tmp_path / "out", resume=True)


@pytest.mark.parametrize("is_done", [True, False])
def test_a_training_from_before_a_key_was_known_goes_on_with_its_default(
    model: Path, tmp_path: Path, is_done: bool
) -> None:
    record = train_supernet(settings(model), tmp_path / "out", resume=False)
    written = (tmp_path / "out" / CONFIG).read_text()
    assert "teacher: largest" in written
    (tmp_path / "out" / CONFIG).write_text(written.replace("  teacher: largest\n", ""))
    if not is_done:
        (tmp_path / "out" / RECORD).unlink()
    assert train_supernet(settings(model), tmp_path / "out", resume=True)["training"] == record["training"]
    with pytest.raises(TrainingError, match=r"'distillation' was .*'largest'.* and is now .*'original'"):
        train_supernet(settings(model, distillation={"teacher": "original"}), tmp_path / "out", resume=True)


def test_a_config_that_is_none_any_more_is_compared_as_it_stands(model: Path, tmp_path: Path) -> None:
    train_supernet(settings(model), tmp_path / "out", resume=False)
    with (tmp_path / "out" / CONFIG).open("a") as file:
        file.write("zeal: 3\n")
    with pytest.raises(TrainingError, match=r"'zeal' was 3 and is now None; undo the change"):
        train_supernet(settings(model), tmp_path / "out", resume=True)


def test_a_folder_in_use_is_refused(model: Path, tmp_path: Path) -> None:
    train_supernet(settings(model), tmp_path / "out", resume=False)
    with pytest.raises(TrainingError, match=r"needs a new or empty folder, and .*out is in use; go on with it by --re"):
        train_supernet(settings(model), tmp_path / "out", resume=False)
    with pytest.raises(TrainingError, match=r"new or empty folder, and .*model is in use; choose another"):
        train_supernet(settings(model), model, resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_kill_while_the_config_is_written(model: Path, tmp_path: Path, resume: bool) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{CONFIG}.tmp").write_text("mod")
    train_supernet(settings(model, steps=1), tmp_path / "out", resume=resume)
    assert not (tmp_path / "out" / f".{CONFIG}.tmp").exists()


def test_another_model_at_the_same_place_is_refused(model: Path, tmp_path: Path) -> None:
    config = settings(model, checkpoint_every=1)

    def crash(step: SupernetStep) -> None:
        if step.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supernet(config, tmp_path / "out", resume=False, on_step=crash)
    train_supernet(settings(model, steps=2), tmp_path / "other", resume=False)
    (model / "model.safetensors").write_bytes(weights(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"goes on with the model that it began with, and that of .* had other"):
        train_supernet(config, tmp_path / "out", resume=True)


def test_a_short_text_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one batch of 64 sequences of 16 tokens, got 25 sequences"):
        train_supernet(settings(model, batch_size=64), tmp_path / "out", resume=False)
    with pytest.raises(ImportanceError, match=r"The training text must be a readable UTF-8 file, got nowhere.txt"):
        train_supernet(settings(model, text="nowhere.txt"), tmp_path / "out2", resume=False)


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused(model: Path, tmp_path: Path) -> None:
    small = tiny.llama()
    small.resize_token_embeddings(32)
    small.save_pretrained(model)
    with pytest.raises(EvaluationError, match=r"tokens below vocab_size=32, got the token \d+ from the tokenizer"):
        train_supernet(settings(model), tmp_path / "out", resume=False)


def test_an_encoder_learns_examples_and_no_text(tmp_path: Path) -> None:
    data = str(encoders.write_learnable("classification", tmp_path))
    encoder = tiny_encoders.bert("classification")
    encoder.config.label2id, encoder.config.id2label = {"bad": 0, "good": 1}, {0: "bad", 1: "good"}
    encoder.save_pretrained(tmp_path / "encoder")
    tiny_encoders.tokenizer().save_pretrained(tmp_path / "encoder")
    record = {
        "model": {"name": str(tmp_path / "encoder"), "device": "cpu"},
        "importance": {"examples": {"classification": {"data": data}}},
        "steps": 80,
        "batch_size": 16,
        "learning_rate": 3e-3,
    }
    with pytest.raises(TrainingError, match=r"learnt by language models, got BertForSequence.*; give examples"):
        train_supernet(TrainSupernetConfig.model_validate(record), tmp_path / "out", resume=False)
    config = TrainSupernetConfig.model_validate(record | {"examples": {"classification": {"data": data}}})
    losses = train_supernet(config, tmp_path / "out2", resume=False)["training"]["losses"]["largest"]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_sampling_by_latency_measures_a_table_once(model: Path, tmp_path: Path) -> None:
    options = {"workload": "prefill", "context_tokens": 16, "max_s": 0.05}
    sampling = {"type": "calibrated", "cost": "latency", "num_bins": 2, "latency": options}
    train_supernet(settings(model, sampling=sampling, steps=1), tmp_path / "out", resume=False)
    assert set(json.loads((tmp_path / "out" / "latency_table.json").read_text())) == {
        "fixed_s",
        "attention_s",
        "mlp_widths",
        "mlp_s",
    }


def search_record(model: Path) -> dict[str, Any]:
    keys = ("steps", "batch_size", "sequence_tokens", "checkpoint_every", "learning_rate", "text")
    record = record_of(model)
    return {
        "name": "trained",
        "model": record["model"],
        "space": {"type": "uniform", "heads": "fixed", "neurons_multiple_of": 16},
        "importance": record["importance"],
        "objectives": [{"perplexity": {"text": record["text"], "window_tokens": 16}}, "parameters"],
        "strategy": {"type": "random", "seeds": []},
        "trials": 3,
        "supernet_training": {key: record[key] for key in keys},
    }


def test_a_search_trains_its_supernet_first_and_exports_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in training, then resumed; what it exports are weights of the trained supernet."""
    (tmp_path / "s.yaml").write_text(json.dumps(search_record(model)))
    console, folder = Console(stderr=True), tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("nas.commands.search.TrainingProgress.__call__", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_search(tmp_path / "s.yaml", out=folder, overrides=[], resume=False, console=console)
    run_search(tmp_path / "s.yaml", out=folder, overrides=[], resume=True, console=console)
    run = Run.open(folder)
    config = parse_config(run.directory.read_config_text())
    assert config.model.name == str(model)
    alone = tmp_path / "alone"
    train_supernet(training_config_of(config), alone, resume=False)
    assert weights(alone) == weights(run.directory.supernet_path)
    export_bundle(run, 0, target="huggingface", folder=tmp_path / "exported", console=console)
    exported = Supernet.load(tmp_path / "exported", device="cpu").model.state_dict()
    trained = Supernet.load(alone, device="cpu").model.state_dict()
    assert all(torch.equal(exported[name], trained[name]) for name in trained)


def test_a_search_may_train_its_supernet_and_its_seeds_in_other_precisions(model: Path, tmp_path: Path) -> None:
    record = search_record(model)
    record["supernet_training"]["mixed_precision"] = "bf16"
    record["strategy"]["seeds"] = ["flop"]
    record["trained_pruners"] = {"flop": {"steps": 10, "mixed_precision": "no"}}
    (tmp_path / "s.yaml").write_text(json.dumps(record))
    folder, console = tmp_path / "run", Console(stderr=True)
    run_search(tmp_path / "s.yaml", out=folder, overrides=[], resume=False, console=console)
    assert [trial.source for trial in Run.open(folder).trials][2:] == ["flop"]
    run_search(tmp_path / "s.yaml", out=folder, overrides=[], resume=True, console=console)


def test_a_config_without_training_is_searched_as_it_is(model: Path, tmp_path: Path) -> None:
    record = search_record(model)
    del record["supernet_training"]
    config = parse_config(json.dumps(record))
    assert searched_config(config, RunDirectory(tmp_path)) is config


def test_a_pruning_trains_nothing(model: Path) -> None:
    with pytest.raises(
        PreparationError, match="A pruning trains no supernet, got a config with supernet_training; run"
    ):
        prepare_pruning(parse_config(json.dumps(search_record(model))))
