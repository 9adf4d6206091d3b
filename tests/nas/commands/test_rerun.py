"""What `nas rerun` refuses before it searches; tests/integration has whole repetitions."""

from pathlib import Path

import pytest
from rich.console import Console

from nas.commands import rerun as command
from nas.commands.rerun import rerun
from nas.config import parse_config
from nas.export.bundle import BundleError
from nas.new_run import write_run
from nas.run import Run
from nas.run_directory import RunDirectoryError
from nas.supernet.loading import ModelLoadingError
from tests.nas import trials as by_hand


def run_with(folder: Path, model: str, **environment: str) -> Path:
    small = by_hand.write_run(
        folder / "small", [by_hand.trial(0, 0.8, 5, "supernet"), by_hand.trial(1, 0.5, 1, "smallest")]
    )
    written = write_run(
        folder / "run",
        config=parse_config(f"model: {model}\nobjectives: [parameters, flops]\ntrials: 3\n"),
        environment={**small.directory.read_environment(), **environment},
        trials=small.trials,
        front=small.record,
    )
    return written.directory.path


def repeat(run: Path) -> None:
    rerun(run, out=run.parent / "again", quiet=True, console=Console(quiet=True))


@pytest.mark.parametrize("model", ["/no/such/model", "./model", "~/model", "../model", "models/of/mine"])
def test_model_in_a_folder_that_this_machine_has_not(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_search", lambda *_, **__: pytest.fail("searched in vain"))
    with pytest.raises(ModelLoadingError, match=rf"there is no folder {model} here; copy or link the model to that pl"):
        repeat(run_with(tmp_path, model))


def test_model_that_may_be_a_folder_or_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise ModelLoadingError("A model must be 'bundled', a folder or an id.")

    monkeypatch.setattr(command, "run_search", refuse)
    run = run_with(tmp_path, "models/mine")
    with pytest.raises(
        ModelLoadingError, match=r"no folder models/mine here; .* or, where it is an id on the hub: A mod"
    ):
        repeat(run)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadingError, match=r"^A model must be 'bundled'"):
        repeat(run)


def test_run_of_a_pruning(tmp_path: Path) -> None:
    run = run_with(tmp_path, "bundled", pruner="fisher")
    with pytest.raises(
        RunDirectoryError, match=r"repeats searches, but .*run holds what `nas prune` made; repeat that"
    ):
        repeat(run)


def test_what_holds_no_search(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="A run is a folder that"):
        repeat(tmp_path / "nothing")


def test_folder_in_use_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    run = run_with(tmp_path, "bundled")
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "notes").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"needs an empty folder, and .* holds other files"):
        repeat(run)
    assert Run.open(run).trials
