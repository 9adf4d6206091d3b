import json
from pathlib import Path

import optuna
import pytest

from nas.commands.track import track_run
from nas.run_directory import RunDirectoryError
from nas.tracking.base import Ending, EndState
from nas.tracking.errors import TrackingError
from nas.tracking.optuna import OptunaTracker
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


def says_whether_concluded(run: Path, has_concluded: bool) -> None:
    front = json.loads((run / "front.json").read_text())
    front["search"]["has_concluded"] = has_concluded
    (run / "front.json").write_text(json.dumps(front))


def test_a_run_that_has_not_ended_is_told_as_stopped_until_it_has(tmp_path: Path) -> None:
    """All trials are there, and the front is being measured again."""
    run = write_run(tmp_path / "run", eight_trials())
    says_whether_concluded(run, False)
    said = track_run(run, to="optuna", options=settings("optuna", tmp_path))
    assert said.endswith("8 are new to it. The search has not ended: repeat this once it has.")
    kept = read("optuna", tmp_path)
    assert (kept.state, len(kept.values)) == ("stopped", 8)
    says_whether_concluded(run, True)
    assert track_run(run, to="optuna", options=settings("optuna", tmp_path)).endswith("0 are new to it.")
    assert read("optuna", tmp_path).state == "complete"


def test_results_of_a_run_that_has_not_ended_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Ending] = []
    monkeypatch.setattr(OptunaTracker, "end", lambda self, ending: ended.append(ending))
    run = write_run(tmp_path / "run", eight_trials())
    for has_concluded in (False, True):
        says_whether_concluded(run, has_concluded)
        track_run(run, to="optuna", options=settings("optuna", tmp_path))
    assert ended[0] == Ending(state=EndState.STOPPED)
    assert ended[1].results is not None
    assert ended[1].folder == run


@pytest.mark.parametrize(
    ("num_trials", "is_training", "state"), [(8, False, "complete"), (7, False, "stopped"), (8, True, "stopped")]
)
def test_a_run_of_an_earlier_version_has_ended_with_its_last_trial(
    num_trials: int, is_training: bool, state: str, tmp_path: Path
) -> None:
    """Its front does not say so."""
    run = write_run(tmp_path / "run", eight_trials()[:num_trials])
    assert "has_concluded" not in json.loads((run / "front.json").read_text())["search"]
    if is_training:
        (run / "trainings").mkdir()
    track_run(run, to="optuna", options=settings("optuna", tmp_path))
    assert read("optuna", tmp_path).state == state


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
