import json
from pathlib import Path

import pytest

from nas.objectives import Constraint
from nas.results import ResultsError
from nas.run import Run, shape_from_json
from nas.run_directory import RunDirectoryError
from tests.nas.trials import ALIASES, GOAL, SHAPE, failed, trial, write_run

BUDGET = Constraint(name="decode_latency", unit="s", bound="max", limit=0.0041)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trials = [
        trial(0, 0.8, 5, "supernet"),
        trial(1, 0.5, 1, "smallest"),
        trial(2, 0.7, 4, "uniform"),
        trial(3, 0.75, 3),
        failed(4),
    ]
    return write_run(tmp_path / "run", trials, (BUDGET,)).directory.path


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_as_it_was_written(folder: Path) -> None:
    run = Run.open(folder)
    assert run.shape == SHAPE
    assert run.goal.objectives == GOAL.objectives
    assert run.goal.constraints == (BUDGET,)
    assert [one.number for one in run.trials] == [0, 1, 2, 3, 4]
    assert run.supernet.number == 0
    assert run.aliases == ALIASES
    assert [one.number for one in run.front()] == [3, 1]
    assert run.trial(3).source == "nsga2"
    assert run.comparison().startswith("Better than uniform-width pruning in every objective at 1 of 1 widths")


def test_trial_that_is_none(folder: Path) -> None:
    with pytest.raises(ResultsError, match="must be one of 0 to 4, got 7; the front lists the best"):
        Run.open(folder).trial(7)


def test_report(folder: Path) -> None:
    files = Run.open(folder).write_report()
    assert "A CPU" in files.html.read_text()


def test_front_without_its_objectives(folder: Path) -> None:
    (folder / "front.json").write_text('{"trials": []}')
    with pytest.raises(RunDirectoryError, match=r"front\.json must be a front as .* but 'objectives' is missing"):
        Run.open(folder)


def test_front_with_something_else_in_place_of_an_objective(folder: Path) -> None:
    edit_json(folder / "front.json", objectives=["accuracy"])
    with pytest.raises(RunDirectoryError, match=r"front\.json must be a front"):
        Run.open(folder)


def test_trials_that_went_missing(folder: Path) -> None:
    (folder / "trials.db").unlink()
    with pytest.raises(RunDirectoryError, match=r"trials\.db must hold the trials of the run, .* restore it"):
        Run.open(folder)


@pytest.mark.parametrize(
    "supernet", [None, {}, {"num_layers": 2, "required_attention": [0]}, {"required_attention": [0], "layers": 2}]
)
def test_environment_without_the_supernets_shape(folder: Path, supernet: object) -> None:
    edit_json(folder / "environment.json", supernet=supernet)
    with pytest.raises(RunDirectoryError, match=r"environment\.json must describe the run's supernet, .* restore it"):
        Run.open(folder)


def test_shape_that_cannot_be(folder: Path) -> None:
    run = Run.open(folder)
    edit_json(folder / "environment.json", supernet={**vars_of(run), "num_heads": 3})
    with pytest.raises(RunDirectoryError, match="num_heads must be a multiple of num_kv_groups=2, got 3"):
        shape_from_json(run.directory)


def vars_of(run: Run) -> dict[str, object]:
    return dict(run.directory.read_environment()["supernet"])
