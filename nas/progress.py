"""What a person sees while a search runs: trials done, the best so far, hypervolume, time left."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from nas.front import front_of
from nas.objectives import Objective
from nas.search import Status
from nas.tables import shown
from nas.trial import Trial, TrialState


class SearchProgress:
    """A bar on a terminal; elsewhere a line for each trial."""

    def __init__(self, console: Console, *, max_trials: int | None) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[standing]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("Searching", total=max_trials, standing="", left="")
        self._begun_s = time.monotonic()
        self._num_here = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, status: Status) -> None:
        """Shows how the search stands."""
        self._num_here += 1
        left = self._time_left(status)
        self._progress.update(self._task, completed=len(status.trials), standing=_standing(status), left=left)
        if not self._console.is_terminal:
            total = "" if status.max_trials is None else f"/{status.max_trials}"
            self._console.print(
                f"trial {len(status.trials)}{total} {_line(status)} | {_standing(status)} | {left}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def _time_left(self, status: Status) -> str:
        """From the mean duration of the trials of this process, and from the time there is."""
        estimates = []
        if status.max_trials is not None:
            per_trial_s = (time.monotonic() - self._begun_s) / self._num_here
            estimates.append(per_trial_s * (status.max_trials - len(status.trials)))
        if status.max_seconds is not None:
            estimates.append(status.max_seconds - status.elapsed_s)
        minutes, seconds = divmod(max(0, round(min(estimates))), 60)
        return f"{minutes}:{seconds:02} left"


def _standing(status: Status) -> str:
    """Hypervolume, size of the front and the best of each objective."""
    members = front_of(status.trials, status.goal)
    best = [_best(members, objective) for objective in status.goal.objectives if members]
    volume = [] if status.hypervolume is None else [f"hypervolume {status.hypervolume:.4g}"]
    return " · ".join([*volume, f"front {len(members)}", *best])


def _best(members: list[Trial], objective: Objective) -> str:
    winner = min(members, key=lambda trial: objective.minimised(trial.measurements))
    return f"best {objective.name} {shown(winner.measurements[objective.name])}"


def _line(status: Status) -> str:
    trial = status.trial
    if trial.state is TrialState.FAILED:
        return f"({trial.source}) failed: {trial.reason}"
    values = ", ".join(f"{one.name} {shown(trial.measurements[one.name])}" for one in status.goal.objectives)
    return f"({trial.source}) {values}"
