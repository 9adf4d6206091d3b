import io
import re

import pytest
from rich.console import Console

from nas.front import hypervolume_by_trial
from nas.progress import SearchProgress
from nas.search import Status
from nas.trial import Trial
from tests.nas.trials import GOAL, failed, trial

SUPERNET = trial(0, 0.8, 5, "supernet")


def status(
    *trials: Trial, max_trials: int | None = None, max_seconds: float | None = None, elapsed_s: float = 0.0
) -> Status:
    return Status(
        trial=trials[-1],
        trials=trials,
        goal=GOAL,
        hypervolume=hypervolume_by_trial(trials, GOAL)[-1],
        max_trials=max_trials,
        elapsed_s=elapsed_s,
        max_seconds=max_seconds,
    )


def lines(*statuses: Status, max_trials: int | None = None) -> list[str]:
    """What a log gets to see."""
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture, SearchProgress(console, max_trials=max_trials) as progress:
        for one in statuses:
            progress(one)
    return capture.get().splitlines()


def test_one_line_a_trial() -> None:
    [line] = lines(status(SUPERNET, trial(1, 0.5, 2), max_seconds=65, elapsed_s=5))
    assert line == (
        "trial 2 (nsga2) minimal_pairs 0.5 ±0.01, decode_latency 2 ms | hypervolume 4e-05 · front 2 · "
        "best minimal_pairs 0.8 ±0.01 · best decode_latency 2 ms | 1:00 left"
    )


def test_failed_trial_says_who_proposed_it_and_why() -> None:
    [line] = lines(status(SUPERNET, failed(1, "RuntimeError: shape [2, 3] at [/layer]"), max_seconds=9, elapsed_s=99))
    assert line.startswith("trial 2 (nsga2) failed: RuntimeError: shape [2, 3] at [/layer] | hypervolume 4e-05")
    assert line.endswith("front 1 · best minimal_pairs 0.8 ±0.01 · best decode_latency 5 ms | 0:00 left")


def test_nothing_feasible_yet() -> None:
    partial = failed(0)
    [line] = lines(
        Status(
            trial=partial,
            trials=(partial,),
            goal=GOAL,
            hypervolume=None,
            max_trials=None,
            elapsed_s=0.0,
            max_seconds=600.0,
        )
    )
    assert line.endswith("| front 0 | 10:00 left")


def test_time_left_is_that_of_the_trials_to_come_at_the_pace_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials in 20 s here, after two in a process before: 6 of 10 are left, at 10 s each."""
    clock = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr("nas.progress.time.monotonic", lambda: next(clock))
    trials = [SUPERNET, trial(1, 0.5, 2), trial(2, 0.6, 3), trial(3, 0.7, 4)]
    third, fourth = lines(status(*trials[:3], max_trials=10), status(*trials, max_trials=10), max_trials=10)
    assert third.startswith("trial 3/10 ")
    assert third.endswith("| 1:10 left")
    assert fourth.endswith("| 1:00 left")


def test_whichever_end_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.progress.time.monotonic", iter([0.0, 10.0]).__next__)
    [line] = lines(status(SUPERNET, max_trials=100, max_seconds=45, elapsed_s=10), max_trials=100)
    assert line.endswith("| 0:35 left")


def test_bar_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with console.capture() as capture, SearchProgress(console, max_trials=64) as progress:
        progress(status(SUPERNET, trial(1, 0.5, 2), max_trials=64, max_seconds=65, elapsed_s=5))
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capture.get()).split("Searching")[-1]
    assert "2/64" in last
    assert "hypervolume 4e-05 · front 2" in last
    assert "left" in last
