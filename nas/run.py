"""A run as it lies on disk, for every command that looks at one. Nothing here computes: it loads without torch."""

from dataclasses import dataclass
from pathlib import Path

from nas.report import ReportFiles, write_report
from nas.results import Results, goal_of, shape_from_record
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.store.trial_store import TrialStore
from nas.trial import Trial
from search_spaces.shape import SupernetShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Results):
    """What a search has found so far, and the folder that it lies in.

    Attributes:
        directory: Where it lies.
    """

    directory: RunDirectory

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Reads a run.

        Raises:
            RunDirectoryError: It is none, or one of its files is missing or damaged.
            StoreError: Its database is damaged.
        """
        directory = RunDirectory.open(path)
        shape = shape_from_json(directory)
        record = directory.read_front()
        trials = _stored_trials(directory, shape)
        if not any(trial.source == "supernet" for trial in trials):
            raise RunDirectoryError(
                f"{directory.trials_path} must hold the trials of the run, the supernet's first, but it does not; "
                "restore it from a copy."
            )
        try:
            goal = goal_of(record)
        except (KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{directory.front_path} must be a front as `nas search` wrote it, but {error} is missing; "
                "restore it from a copy, or let the search go on by --resume."
            ) from error
        return cls(directory=directory, shape=shape, trials=trials, goal=goal, record=record)

    def write_report(self) -> ReportFiles:
        """Writes the report into the run's directory.

        Raises:
            ReportError: There is nothing to show.
        """
        device = self.directory.read_environment()["device"].get("name")
        return write_report(self.directory.path, self, device=device)


def shape_from_json(directory: RunDirectory) -> SupernetShape:
    """The shape of a run's supernet.

    Raises:
        RunDirectoryError: ``environment.json`` does not hold it.
    """
    try:
        return shape_from_record(directory.read_environment()["supernet"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"{directory.environment_path} must describe the run's supernet, but it does not ({error}); "
            "restore it from a copy."
        ) from error


def _stored_trials(directory: RunDirectory, shape: SupernetShape) -> tuple[Trial, ...]:
    """All trials by number; none where the database is missing or empty, for a store would make a new one there."""
    path = directory.trials_path
    if not path.is_file() or not path.stat().st_size:
        return ()
    with TrialStore(path, only_read=True) as store:
        return tuple(store.trials(shape))
