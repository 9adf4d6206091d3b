from pathlib import Path

import optuna
import pytest

from nas.commands.track import track_run
from nas.run_directory import RunDirectoryError
from nas.tracking.errors import TrackingError
from tests.nas.tracking.searches import eight_trials, write_run
from tests.nas.tracking.stores import options, read


def settings(name: str, place: Path) -> list[str]:
    return [f"{key}={value}" for key, value in options(name, place).items()]


def test_a_recorded_run_is_told_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", eight_trials())
    said = track_run(run, to="optuna", options=settings("optuna", tmp_path))
    assert said == "optuna knows all 8 trials of by_hand; 8 are new to it."
    said = track_run(run, to="optuna", options=settings("optuna", tmp_path))
    assert said == "optuna knows all 8 trials of by_hand; 0 are new to it."
    assert len(read("optuna", tmp_path).values) == 8
    study = optuna.load_study(study_name="by_hand-01234567", storage=options("optuna", tmp_path)["storage"])
    assert sorted(trial.number for trial in study.best_trials) == [1, 2, 3, 6]


@pytest.mark.parametrize(
    ("to", "option", "says"),
    [
        ("optna", "study=x", "must be one of mlflow, wandb, optuna, got 'optna'; try 'optuna'"),
        ("optuna", "studdy=x", "got 'studdy'; did you mean 'study'"),
        ("optuna", "study", "--set must have the form key=value, got 'study'; write --set storage="),
        ("optuna", "study=[", r"--set must give a YAML value, got 'study=\['; quote it"),
        (
            "optuna",
            "storage=sqlite:////no/such/folder/x.db",
            "optuna must be there and .* unable to open database file",
        ),
    ],
)
def test_what_cannot_be_told(to: str, option: str, says: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", eight_trials())
    with pytest.raises(TrackingError, match=says):
        track_run(run, to=to, options=[option])


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="A run is a folder with a config"):
        track_run(tmp_path, to="optuna", options=[])
