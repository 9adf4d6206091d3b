"""A run's folder, when a search begins one, or from what is kept elsewhere."""

import re
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.config import SearchConfig
from nas.environment import describe_environment
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.store.trial_store import TrialStore
from nas.supernet.supernet import Supernet
from nas.trial import Trial
from search_spaces.shape import SupernetShape

RUNS = Path("runs")
"""Where runs lie whose folders nobody named."""


def new_folder(name: str, *more: str) -> Path:
    """Where a new run goes that was given no folder.

    Args:
        name: Of the search; it may hold what a folder's must not.
        more: What else tells the run from others of that search.
    """
    return RUNS / "-".join([_in_a_path(name), *more, time.strftime("%Y%m%d-%H%M%S")])


def newest_folder(name: str) -> Path | None:
    """The newest that ``new_folder`` gave for a search of that name alone; None where there is none."""
    stamped = re.compile(re.escape(_in_a_path(name)) + r"-\d{8}-\d{6}")
    return max((path for path in RUNS.glob("*") if stamped.fullmatch(path.name)), default=None)


def _in_a_path(name: str) -> str:
    """As one step of a path, not out of its folder and not hidden in it."""
    return name.replace("/", "-").lstrip(".-") or "search"


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
