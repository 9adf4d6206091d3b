"""Every tracker by name, with its real library: what it was told is there when it is read back."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nas.front import hypervolume_by_trial
from nas.tracking import TRACKERS, make_tracker
from nas.tracking.base import Ending, EndState, Tracker, standings
from nas.tracking.errors import TrackingError
from tests.nas.tracking.searches import BUDGETED, ID, confirmed, eight_trials, results, tracked, write_run
from tests.nas.tracking.stores import OBJECTIVES, Kept, options, read

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
DEATH = """
import os, sys
from pathlib import Path
from tests.nas.tracking.test_trackers import make, tell
tell(make(sys.argv[1], Path(sys.argv[2])), until=3)
os._exit(9)
"""


@pytest.fixture(params=TRACKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, place: Path) -> Tracker:
    tracker: Tracker = make_tracker(name, options(name, place))
    return tracker


def tell(tracker: Tracker, *, until: int = 8) -> int:
    """Begins, and tells of the trials that it does not know."""
    first = tracker.begin(tracked())
    for standing in standings(eight_trials()[:until], BUDGETED, first=first):
        tracker.add(standing)
    return first


def assert_has_all(kept: Kept, *, num_trials: int = 8) -> None:
    trials = eight_trials()[:num_trials]
    assert kept.values == [{key: one.value for key, one in trial.measurements.items()} for trial in trials]
    if kept.hypervolumes is not None:
        assert kept.hypervolumes == hypervolume_by_trial(trials, BUDGETED)[1:]


def test_keeps_what_it_is_told(name: str, place: Path, tmp_path: Path) -> None:
    tracker = make(name, place)
    assert tell(tracker) == 0
    trials = eight_trials()
    tracker.end(Ending(state=EndState.COMPLETE, results=results(trials), folder=write_run(tmp_path / "run", trials)))
    kept = read(name, place)
    assert_has_all(kept)
    assert kept.values[5] == {}
    assert set(kept.values[6]) == set(OBJECTIVES)
    assert (kept.search_id, kept.state, kept.reason) == (ID, "complete", "")
    assert (kept.settings["name"], kept.settings["strategy.type"]) == ("by_hand", "nsga2")
    if name != "optuna":
        assert kept.files >= {"front.json", "config.yaml", "environment.json", "report.html"}


def test_goes_on_in_the_same_record(name: str, place: Path) -> None:
    first = make(name, place)
    tell(first, until=4)
    first.end(Ending(state=EndState.STOPPED))
    before = read(name, place)
    assert_has_all(before, num_trials=4)
    assert before.state == "stopped"
    second = make(name, place)
    assert tell(second) in (0, 4)  # a record that cannot be read, as wandb's offline, is told all again
    second.end(Ending(state=EndState.COMPLETE, results=results(eight_trials())))
    after = read(name, place)
    assert_has_all(after)
    assert (after.id, after.state) == (before.id, "complete")


def test_a_process_that_dies_leaves_a_record_to_go_on_with(name: str, place: Path) -> None:
    """No end is told: the next one to begin finds what there is."""
    died = subprocess.run([sys.executable, "-c", DEATH, name, str(place)], cwd=place, env=ENVIRONMENT, check=False)
    assert died.returncode == 9
    second = make(name, place)
    assert tell(second) in (0, 3)
    second.end(Ending(state=EndState.COMPLETE, results=results(eight_trials())))
    kept = read(name, place)
    assert_has_all(kept)
    assert kept.state == "complete"


def test_told_twice_is_told_once(name: str, place: Path) -> None:
    for _ in range(2):
        tracker = make(name, place)
        tell(tracker)
        tracker.end(Ending(state=EndState.COMPLETE, results=results(eight_trials())))
    assert_has_all(read(name, place))


def test_a_search_that_failed(name: str, place: Path) -> None:
    tracker = make(name, place)
    tell(tracker, until=2)
    tracker.end(Ending(state=EndState.FAILED, reason="The budget must be within reach."))
    kept = read(name, place)
    assert (kept.state, kept.reason) == ("failed", "The budget must be within reach.")
    assert_has_all(kept, num_trials=2)


def test_a_search_that_failed_before_its_first_trial(name: str, place: Path) -> None:
    tracker = make(name, place)
    assert tracker.begin(tracked()) == 0
    tracker.end(Ending(state=EndState.FAILED, reason="The supernet cannot be evaluated."))


def test_prints_nothing_and_leaves_nothing_running(name: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {thread for thread in threading.enumerate() if not thread.daemon}
    tracker = make(name, place)
    tell(tracker)
    tracker.end(Ending(state=EndState.COMPLETE, results=results(confirmed(eight_trials()))))
    assert capfd.readouterr() == ("", "")
    left = {thread for thread in threading.enumerate() if not thread.daemon} - before
    assert {thread.name for thread in left} <= {"wandb-AsyncioManager-main"}


def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    with pytest.raises(TrackingError, match=rf"needs the package {name}, .*; pip install 'nas-llm\[{name}\]'\."):
        make(name, place)
