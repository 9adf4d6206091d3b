import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nas.config import SearchConfig, parse_config
from nas.new_run import write_run
from nas.objectives import Constraint
from nas.report import ReportError
from nas.results import ResultsError
from nas.run import Run, shape_from_json
from nas.run_directory import RunDirectoryError
from nas.service import schema
from nas.service.database import Database
from nas.service.queue import Queue
from nas.service.searches import Searches
from nas.store.errors import DuplicateTrialError
from nas.store.trial_store import TrialStore
from nas.trial import Trial
from tests.nas import trials as by_hand
from tests.nas.service.searching import finished
from tests.nas.test_search import CONFIG, Bench
from tests.nas.trials import ALIASES, GOAL, SHAPE, failed, trial

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
    return by_hand.write_run(tmp_path / "run", trials, (BUDGET,)).directory.path


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
    assert not (folder / "trials.db").exists()


def test_an_empty_database_of_trials_stays_as_it_is(folder: Path) -> None:
    """Who looks at a run writes nothing into it."""
    (folder / "trials.db").write_bytes(b"")
    with pytest.raises(RunDirectoryError, match=r"trials\.db must hold the trials of the run, .* restore it"):
        Run.open(folder)
    assert (folder / "trials.db").read_bytes() == b""


@contextmanager
def as_somebody_else(place: Path) -> Iterator[Path]:
    """A copy of a run, which the process can read and not write to: who is root can write anywhere, and is nobody."""
    with tempfile.TemporaryDirectory() as parent:  # pytest's folders let nobody else in
        copied, user = Path(parent) / "run 1?", os.geteuid()
        shutil.copytree(place, copied)
        Path(parent).chmod(0o755)
        for path in (copied, *copied.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            if user == 0:
                os.seteuid(65534)
            yield copied
        finally:
            os.seteuid(user)
            copied.chmod(0o755)


def test_a_run_is_read_where_nobody_can_write(folder: Path) -> None:
    files = {path.name for path in folder.iterdir()}
    with as_somebody_else(folder) as copied:
        run = Run.open(copied)
        assert [one.number for one in run.front()] == [3, 1]
        assert {path.name for path in copied.iterdir()} == files


def test_no_report_where_nobody_can_write(folder: Path) -> None:
    with (
        as_somebody_else(folder) as copied,
        pytest.raises(ReportError, match=r"into its run's folder, but with .*: .*Permission denied.*; free some space"),
    ):
        Run.open(copied).write_report()


def test_a_search_that_goes_on_is_read_where_nobody_can_write(folder: Path) -> None:
    """Its last trials are in the log of its database, and nowhere else."""
    with TrialStore(folder / "trials.db") as store:
        store.add(trial(5, 0.9, 2))
        assert len(Run.open(folder).trials) == 6
        with as_somebody_else(folder) as copied:
            assert len(Run.open(copied).trials) == 6


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


def as_opened(run: Run) -> tuple[object, ...]:
    """All that the files of a run say."""
    directory = run.directory
    return (
        run.shape,
        run.trials,
        run.goal,
        run.record,
        directory.read_config_text(),
        directory.read_environment(),
        directory.read_front(),
    )


def test_run_written_from_what_is_kept_elsewhere_equals_that_of_the_search(tmp_path: Path) -> None:
    """Through JSON, as a database hands it over."""
    found = Bench(tmp_path / "local", config=CONFIG + "budget: {parameters: {max: 0.9x}}\n").run()
    written = write_run(
        tmp_path / "written",
        config=parse_config(json.dumps(parse_config(found.directory.read_config_text()).model_dump(mode="json"))),
        environment=json.loads(json.dumps(found.directory.read_environment())),
        trials=[Trial.from_json(json.loads(json.dumps(one.to_json())), found.shape) for one in found.trials],
        front=json.loads(json.dumps(found.record)),
    )
    assert as_opened(written) == as_opened(found)
    assert as_opened(Run.open(tmp_path / "written")) == as_opened(found)
    assert {path.name for path in (tmp_path / "written").iterdir()} == {
        path.name for path in (tmp_path / "local").iterdir()
    }


def test_search_of_the_service_becomes_the_run_that_it_would_have_been_here(tmp_path: Path) -> None:
    """But for how long its trials took."""
    database = Database(f"sqlite:///{tmp_path / 'nas.db'}")
    schema.upgrade(database)
    search_id = finished(database)
    searches = Searches(database, Queue(database))
    search, results = searches.get(search_id), searches.results(search_id)
    written = write_run(
        tmp_path / "written",
        config=SearchConfig.model_validate(search.config),
        environment=search.environment or {},
        trials=results.trials,
        front=results.record,
    )
    database.close()
    local = Bench(tmp_path / "local", config=CONFIG.replace("trials: 12", "trials: 6")).run()
    assert written.directory.read_config_text() == local.directory.read_config_text()
    assert written.directory.read_environment() == {**local.directory.read_environment(), "search_id": search_id}
    assert (written.shape, written.goal) == (local.shape, local.goal)
    for of_written, of_local in ((written.trials, local.trials), (written.front(), local.front())):
        assert [replace(one, duration_s=0) for one in of_written] == [replace(one, duration_s=0) for one in of_local]
    assert written.record["hypervolume"] == local.record["hypervolume"]
    assert written.record["search"] == {**local.record["search"], "id": search_id}


def test_run_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    found = Bench(tmp_path / "local").run()

    def write(**changes: object) -> Run:
        parts = {
            "config": parse_config(found.directory.read_config_text()),
            "environment": found.directory.read_environment(),
            "trials": found.trials,
            "front": found.record,
        }
        return write_run(tmp_path / "written", **{**parts, **changes})  # type: ignore[arg-type]

    with pytest.raises(
        RunDirectoryError, match=r"must be a front as `nas search` wrote it, but 'objectives' is missing"
    ):
        write(front={})
    with pytest.raises(RunDirectoryError, match="must describe the run's supernet"):
        write(environment={"search_id": "1"})
    with pytest.raises(DuplicateTrialError, match="trial 0 or sub-network"):
        write(trials=[*found.trials, found.trials[0]])
    assert not (tmp_path / "written").exists()
    write()
    with pytest.raises(RunDirectoryError, match=r"needs an empty folder, and .* holds a run"):
        write()
    assert Run.open(tmp_path / "written").trials == found.trials
