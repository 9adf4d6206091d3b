"""A run as it lies on disk, for every command that looks at one."""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.config import SearchConfig
from nas.environment import describe_environment
from nas.report import ReportFiles, write_report
from nas.results import Results, goal_of, shape_from_record
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.store.trial_store import TrialStore
from nas.supernet.supernet import Supernet
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
        with TrialStore(directory.trials_path) as store:
            trials = tuple(store.trials(shape))
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


def create_run_directory(folder: Path, config: SearchConfig, supernet: Supernet, **more: str) -> RunDirectory:
    """A new run's folder, before its first trial.

    Args:
        folder: Where.
        config: What it runs with.
        supernet: What it cuts sub-networks from.
        more: What else the environment must tell.

    Raises:
        RunDirectoryError: The folder is in use, or cannot be written to.
    """
    environment = describe_run(config, supernet, search_id=uuid.uuid4().hex)
    return RunDirectory.create(folder, config_yaml=config.to_yaml(), environment={**environment, **more})


def write_run(
    folder: Path,
    *,
    config: SearchConfig,
    environment: Mapping[str, Any],
    trials: Sequence[Trial],
    front: Mapping[str, Any],
) -> Run:
    """A run's folder from what is kept elsewhere, as the search would have left it here.

    Args:
        folder: New or empty; gone where this fails.
        config: What the search ran with.
        environment: As ``describe_run`` had it.
        trials: By number, the supernet's among them.
        front: The content of ``front.json``.

    Raises:
        RunDirectoryError: The folder is in use or cannot be written to, or the environment or the front is none.
        StoreError: There is no room, or two trials are the same.
    """
    directory = RunDirectory.create(folder, config_yaml=config.to_yaml(), environment=environment)
    try:
        with TrialStore(directory.trials_path) as store:
            store.add(*trials)
        directory.write_front(front)
        return Run.open(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def describe_run(config: SearchConfig, supernet: Supernet, *, search_id: str) -> dict[str, Any]:
    """Where a search runs, and what it cuts sub-networks from: its environment, in a folder or in the service."""
    environment = describe_environment(config.seed, supernet.device)
    return {**environment, "search_id": search_id, "supernet": shape_to_json(supernet.shape)}


def shape_to_json(shape: SupernetShape) -> dict[str, Any]:
    """As ``environment.json`` holds it."""
    return asdict(shape)


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
