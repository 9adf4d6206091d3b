"""Trackers beside a real search, and how little they can do to it."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from nas.long_work.stopping import TrainingStoppedError
from nas.new_run import shape_to_json
from nas.objectives import InfeasibleBudgetError
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.search import Search, Status
from nas.store.folder import FolderStore
from nas.tracking import tracking as module
from nas.tracking.base import Ending, EndState, Standing, TrackedSearch
from nas.tracking.tracking import Tracking
from tests.nas.test_search import CONFIG, Bench, Known, num_parameters, quality
from tests.nas.tracking.stores import options, read

ROOT = Path(__file__).parents[3]


def tracked_by(*names: str, place: Path) -> str:
    parts = ", ".join(f"{{{name}: {options(name, place)}}}" for name in names)
    return f"{CONFIG}tracking: [{parts}]\n"


def search(bench: Bench, tracking: Tracking) -> Run:
    """As a command runs it."""
    with FolderStore.open(bench.directory) as store, tracking:
        results = Search(bench.config, bench.prepared, store).run(tracking)
        tracking.complete(results, folder=bench.directory.path)
    return Run.open(bench.directory.path)


def tracking_of(bench: Bench, *, call_s: float = 30.0) -> Tracking:
    environment = {"search_id": "x", "device": {}, "supernet": shape_to_json(bench.prepared.supernet.shape)}
    if not bench.directory.config_path.exists():
        RunDirectory.create(bench.directory.path, config_yaml=bench.config.to_yaml(), environment=environment)
    return Tracking(bench.config, environment, call_s=call_s)


def test_a_search_is_tracked_and_goes_on_in_the_same_records(tmp_path: Path, place: Path) -> None:
    config = tracked_by("mlflow", "wandb", "optuna", place=place)
    first = Bench(tmp_path / "run", config=config.replace("trials: 12", "trials: 7"))
    search(first, tracking_of(first))
    before = {name: read(name, place) for name in ("mlflow", "wandb", "optuna")}
    assert {name: len(kept.values) for name, kept in before.items()} == {"mlflow": 7, "wandb": 7, "optuna": 7}
    second = Bench(tmp_path / "run", config=config)
    run = search(second, tracking_of(second))
    assert second.cost.calls == 5
    for name, kept in before.items():
        after = read(name, place)
        assert (after.id, after.search_id, after.state) == (kept.id, "x", "complete")
        assert [one["parameters"] for one in after.values] == [
            trial.measurements["parameters"].value for trial in run.trials
        ]
    assert read("mlflow", place).files >= {"front.json", "config.yaml", "environment.json", "trials.jsonl"}


def test_the_study_is_what_the_end_of_the_search_confirmed(tmp_path: Path, place: Path) -> None:
    """The first reading of each model flatters it; the front is of second readings, and so is the study's."""
    seen: dict[float, int] = {}

    def flattering(subject: object) -> float:
        size = num_parameters(subject)  # type: ignore[arg-type]
        seen[size] = seen.get(size, 0) + 1
        return size if seen[size] > 1 else size * (0.5 + size % 7 / 14)

    cost = Known(name="parameters", value=flattering, varies=True)
    bench = Bench(tmp_path / "run", cost=cost, config=tracked_by("optuna", place=place))
    run = search(bench, tracking_of(bench))
    [study] = optuna.get_all_study_summaries(options("optuna", place)["storage"])
    found = optuna.load_study(study_name=study.study_name, storage=options("optuna", place)["storage"])
    assert sorted(one.number for one in found.best_trials) == sorted(one.number for one in run.front())
    assert [one.values for one in found.trials] == [
        [one.measurements[name].value for name in ("parameters", "perplexity")] for one in run.trials
    ]


def test_a_budget_out_of_reach_is_told_as_a_failure(tmp_path: Path, place: Path) -> None:
    config = tracked_by("optuna", place=place) + "budget: {parameters: {max: 0.01x}}\n"
    bench = Bench(tmp_path / "run", config=config)
    with pytest.raises(InfeasibleBudgetError, match="must be within reach"):
        search(bench, tracking_of(bench))
    kept = read("optuna", place)
    assert (kept.state, len(kept.values)) == ("failed", 2)
    assert "must be within reach" in kept.reason


def test_an_interruption_is_told_and_the_record_goes_on(tmp_path: Path, place: Path) -> None:
    calls = iter(range(100))

    def interrupted(subject: object) -> float:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return quality(subject)  # type: ignore[arg-type]

    config = tracked_by("optuna", place=place)
    stopped = Known(name="perplexity", unit="perplexity", value=interrupted)
    bench = Bench(tmp_path / "run", quality=stopped, config=config)
    with pytest.raises(KeyboardInterrupt):
        search(bench, tracking_of(bench))
    assert (read("optuna", place).state, len(read("optuna", place).values)) == ("stopped", 4)
    again = Bench(tmp_path / "run", config=config)
    search(again, tracking_of(again))
    assert (read("optuna", place).state, len(read("optuna", place).values)) == ("complete", 12)


def test_a_training_that_was_asked_to_stop_is_an_interruption(tmp_path: Path, place: Path) -> None:
    bench = Bench(tmp_path / "run", config=tracked_by("optuna", place=place))
    tracking = tracking_of(bench)

    def stopped(status: Status) -> None:
        tracking(status)
        if len(status.trials) == 3:
            raise TrainingStoppedError

    with pytest.raises(TrainingStoppedError), FolderStore.open(bench.directory) as store, tracking:
        Search(bench.config, bench.prepared, store).run(stopped)
    assert (read("optuna", place).state, len(read("optuna", place).values)) == ("stopped", 3)


class Hostile:
    """Records what it hears, and does something else at one trial."""

    def __init__(self, act: Callable[[], None], *, at: int, known: int = 0) -> None:
        self.act, self.at, self.known = act, at, known
        self.heard: list[int] = []
        self.endings: list[Ending] = []

    def begin(self, search: TrackedSearch) -> int:
        if self.at == -1:
            self.act()
        return self.known

    def add(self, standing: Standing) -> None:
        if standing.trial.number == self.at:
            self.act()
        self.heard.append(standing.trial.number)

    def end(self, ending: Ending) -> None:
        if self.at == 12:
            self.act()
        self.endings.append(ending)


def raises() -> None:
    raise OSError("no route to http://ada:secret@tracker.example/x")


def leaves() -> None:
    sys.exit("a framework gives up")


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hostile], Hostile]:
    """Puts one in the place of a tracker."""

    def put(tracker: Hostile) -> Hostile:
        monkeypatch.setattr(module, "make_tracker", lambda name, options, *, confined: tracker)
        return tracker

    return put


@pytest.mark.parametrize("act", [raises, leaves])
@pytest.mark.parametrize("at", [-1, 0, 5, 12])
def test_a_tracker_that_raises_is_dropped_with_one_warning(
    at: int,
    act: Callable[[], None],
    tmp_path: Path,
    hostile: Callable[[Hostile], Hostile],
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = hostile(Hostile(act, at=at))
    bench = Bench(tmp_path / "run", config=CONFIG + "tracking: [mlflow]\n")
    run = search(bench, tracking_of(bench))
    assert len(run.trials) == 12
    assert tracker.heard == list(range(max(0, at)))
    [warning] = [one for one in caplog.records if one.name == module.__name__]
    assert warning.levelno == logging.WARNING
    assert "not tracked by mlflow any more" in warning.getMessage()
    assert "`nas track RUN --to mlflow`" in warning.getMessage()
    assert "secret" not in warning.getMessage()


def test_a_tracker_that_hangs_costs_its_patience_once(
    tmp_path: Path, hostile: Callable[[Hostile], Hostile], caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    tracker = hostile(Hostile(lambda: released.wait(60) or None, at=5))  # type: ignore[arg-type]
    bench = Bench(tmp_path / "run", config=CONFIG + "tracking: [wandb]\n")
    tracking = tracking_of(bench, call_s=0.5)
    begun_s = time.monotonic()
    assert len(search(bench, tracking).trials) == 12
    assert time.monotonic() - begun_s < 20
    released.set()
    assert tracker.heard[:5] == list(range(5))
    assert not tracker.endings
    [warning] = [one for one in caplog.records if one.name == module.__name__]
    assert "it takes too long" in warning.getMessage()


def test_a_tracker_that_is_slow_each_time_is_dropped_too(
    tmp_path: Path,
    hostile: Callable[[Hostile], Hostile],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.5)
    slow = hostile(Hostile(raises, at=99))
    slow.add = lambda standing: time.sleep(0.3)  # type: ignore[method-assign]
    bench = Bench(tmp_path / "run", config=CONFIG + "tracking: [mlflow]\n")
    search(bench, tracking_of(bench))
    assert "it takes too long" in caplog.text
    assert not slow.endings


def test_what_was_missed_is_told_first(tmp_path: Path, hostile: Callable[[Hostile], Hostile]) -> None:
    early = Bench(tmp_path / "run", config=CONFIG.replace("trials: 12", "trials: 5"))
    early.run()
    tracker = hostile(Hostile(raises, at=99, known=2))
    bench = Bench(tmp_path / "run", config=CONFIG + "tracking: [mlflow]\n")
    search(bench, tracking_of(bench))
    assert tracker.heard == list(range(2, 12))
    assert [one.state for one in tracker.endings] == [EndState.COMPLETE]


def test_a_missing_package_is_a_warning_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    bench = Bench(tmp_path / "run", config=CONFIG + "tracking: [mlflow]\n")
    assert len(search(bench, tracking_of(bench)).trials) == 12
    assert "pip install 'nas-llm[mlflow]'" in caplog.text


def test_no_trackers_no_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    bench = Bench(tmp_path / "run")
    with tracking_of(bench):
        assert threading.active_count() == before


PROGRAM = """
import sys, time
from pathlib import Path
from tests.nas.test_search import Bench, CONFIG
from tests.nas.tracking.test_tracking import search
from nas.new_run import shape_to_json
from nas.run_directory import RunDirectory
from nas.tracking.tracking import Tracking
name, address, folder = sys.argv[1:]
part = {
    "mlflow": {"uri": f"http://{address}"},
    "wandb": {"mode": "online", "folder": folder},
    "optuna": {"storage": f"postgresql+psycopg://nobody@{address}/x"},
}[name]
bench = Bench(Path(folder) / "run", config=CONFIG + f"tracking: [{{{name}: {part}}}]\\n")
environment = {"search_id": "x", "device": {}, "supernet": shape_to_json(bench.prepared.supernet.shape)}
RunDirectory.create(bench.directory.path, config_yaml=bench.config.to_yaml(), environment=environment)
begun_s = time.monotonic()
run = search(bench, Tracking(bench.config, environment, begin_s=8.0, call_s=4.0))
print(len(run.trials), time.monotonic() - begun_s, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("server", ["refuses", "hangs"])
@pytest.mark.parametrize("name", ["mlflow", "wandb", "optuna"])
def test_a_server_that_does_not_answer(name: str, server: str, tmp_path: Path) -> None:
    """A process of its own, because what a framework leaves behind could also keep it from ending."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if server == "hangs":
            listener.listen()  # connects, and never says a word
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        environment = {**os.environ, "WANDB_BASE_URL": f"http://{address}", "WANDB_API_KEY": "0" * 40}
        begun_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, name, address, str(tmp_path)],
            env={**environment, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        took_s = time.monotonic() - begun_s
    assert done.returncode == 0, done.stderr
    num_trials, searched_s = done.stdout.split()
    assert int(num_trials) == 12
    assert float(searched_s) < 60
    assert took_s - float(searched_s) < 90  # the interpreter's end, and its imports
    warnings = [line for line in done.stderr.splitlines() if "is not tracked by" in line]
    assert len(warnings) == 1, done.stderr
    assert warnings[0].startswith(f"This search is not tracked by {name} any more")
