"""`nas search`: a run's folder around a search."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from nas.amount import AmountError
from nas.commands.stopping import stoppable
from nas.config import ConfigError, SearchConfig, load_config, parse_config
from nas.long_work import FREE_TO_CHANGE
from nas.new_run import RUNS, create_run_directory, new_folder, newest_folder
from nas.objectives import BudgetError
from nas.preparation import load_supernet, prepare, require_tensorboard_if_asked
from nas.progress import SearchProgress
from nas.run import Run
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.search import Listener, Search, SearchError, Status
from nas.store.folder import FolderStore
from nas.tables import print_table, trials_table
from nas.tracking.tracking import Tracking
from nas.train_supernet import searched_config, train_supernet, training_config_of
from nas.trained_pruners import TRAINED_PRUNERS, resolved_options
from nas.training_progress import TrainingProgress


def run_search(
    config_path: Path, *, out: Path | None, overrides: Sequence[str], resume: bool, console: Console
) -> Path:
    """Runs a search.

    Args:
        config_path: The config.
        out: The run's folder; None for a new one below ``runs``, or with ``resume`` the newest there.
        overrides: ``key=value`` each.
        resume: Whether to go on with an interrupted run.
        console: For progress.

    Returns:
        The run's folder.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the config, the folder or the model.
    """
    config = load_config(config_path, overrides)
    folder = out or (_newest_run(config) if resume else new_folder(config.name))
    if resume:
        refuse_pruning(RunDirectory.open(folder))
        refuse_changed_config(RunDirectory.open(folder), config)
    else:
        RunDirectory.check_creatable(folder)
    require_tensorboard_if_asked(config, config.strategy.seeds)
    if config.supernet_training is not None and not resume:
        create_run_directory(folder, config, load_supernet(config.model))  # training is kept there
    searched = train_first(config, folder, console)
    console.print(f"Preparing {searched.model.name}", highlight=False)
    prepared = prepare(searched)
    is_new = not resume and config.supernet_training is None
    directory = create_run_directory(folder, config, prepared.supernet) if is_new else RunDirectory.open(folder)
    tracking = Tracking(config, directory.read_environment())
    try:
        with directory.lock(), FolderStore.open(directory) as store, tracking:
            with SearchProgress(console, max_trials=config.trials) as progress, stoppable(console) as watcher:
                results = Search(config, prepared, store).run(_both(progress, tracking), watcher)
            if config.tracking:
                Run.open(folder).write_report()  # which trackers keep too
            tracking.complete(results, folder=folder)
    except (SearchError, BudgetError, AmountError):
        if is_new:
            shutil.rmtree(folder)  # nothing was measured, so that nothing stands in the way of a mended config
        raise
    return folder


def train_first(config: SearchConfig, folder: Path, console: Console) -> SearchConfig:
    """Trains the supernet, or goes on with that, where the config asks for it.

    Args:
        config: The search's.
        folder: The run's; the supernet lies in it.
        console: For progress.

    Returns:
        The config with the model to search.

    Raises:
        ValueError: As ``train_supernet`` does.
    """
    directory = RunDirectory(folder)
    if config.supernet_training is not None:
        console.print(f"Training {config.model.name} as a supernet", highlight=False)
        with TrainingProgress(console) as progress:
            train_supernet(training_config_of(config), directory.supernet_path, resume=True, on_step=progress)
    return searched_config(config, directory)


def _both(first: Listener, second: Listener) -> Listener:
    def listener(status: Status) -> None:
        first(status)
        second(status)

    return listener


def refuse_pruning(directory: RunDirectory) -> None:
    """Checks that a run is one of a search.

    Raises:
        RunDirectoryError: It is one of `nas prune`, which has nothing to go on with.
    """
    if directory.is_of_pruning:
        raise RunDirectoryError(
            f"--resume goes on with a search, but {directory.path} holds what `nas prune` made; give the run of a "
            "search, or start a new one."
        )


def refuse_changed_config(directory: RunDirectory, config: SearchConfig) -> None:
    """Checks that a run goes on with the config it began with.

    Raises:
        RunDirectoryError: A key differs; the message names it.
    """
    try:
        before = yaml.safe_load(directory.read_config_text())
    except yaml.YAMLError as error:
        raise RunDirectoryError(
            f"{directory.config_path} must be the YAML that `nas search` wrote, but it is damaged; restore it."
        ) from error
    try:  # keys that a later version added have their defaults
        before, now = _decisive(parse_config(directory.read_config_text())), _decisive(config)
    except ConfigError:
        before, now = before if isinstance(before, dict) else {}, yaml.safe_load(config.to_yaml())
    # Where a search is tracked is no part of what it does.
    changed = sorted(key for key in {*before, *now} - {"tracking"} if before.get(key) != now.get(key))
    if changed:
        raise RunDirectoryError(
            f"A run goes on with the config it began with, but {changed[0]!r} was {before.get(changed[0])} and is now "
            f"{now.get(changed[0])}; undo the change, or start a new run with another --out."
        )


def _decisive(config: SearchConfig) -> dict[str, Any]:
    """What a config decides: all options of pruners that train, and none of those of trainings that are free."""
    options = {name: resolved_options(name, config.trained_pruners.get(name, {})) for name in TRAINED_PRUNERS}
    found = _without_free({**yaml.safe_load(config.to_yaml()), "trained_pruners": options})
    assert isinstance(found, dict)
    return found


def _without_free(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {key: _without_free(one) for key, one in part.items() if key not in FREE_TO_CHANGE}


def _newest_run(config: SearchConfig) -> Path:
    newest = newest_folder(config.name)
    if newest is None:
        raise RunDirectoryError(
            f"--resume needs a run to go on with, and {RUNS}/ holds none of {config.name!r}; give --out."
        )
    return newest


def conclude(folder: Path) -> None:
    """Prints a run's front, writes its report and names it."""
    run = Run.open(folder)
    members = run.front()
    console = Console()
    print_table(trials_table(run, members, title=f"Pareto front: {len(members)} of {len(run.trials)} trials"), console)
    console.print(run.comparison(), highlight=False, soft_wrap=True)
    files = run.write_report()
    console.print(f"Report: {files.html}", highlight=False, soft_wrap=True)
