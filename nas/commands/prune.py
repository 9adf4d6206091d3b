"""`nas prune`: a run's folder around one pruning."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nas.amount import parse_amount
from nas.commands.stopping import stoppable
from nas.config import SearchConfig, load_config
from nas.front import describe_search, front_record
from nas.long_work.places import PlacesInFolders
from nas.new_run import create_run_directory, new_folder
from nas.objectives import BudgetError
from nas.preparation import require_tensorboard_if_asked
from nas.pruning import Pruned, Pruning, prepare_pruning, prune
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.store.trial_store import TrialStore
from nas.store.weights import WeightsFolder
from nas.trained_pruners import require_known


def run_prune(
    config_path: Path, *, pruner: str, budget: str, out: Path | None, overrides: Sequence[str], console: Console
) -> Run:
    """Prunes, measures, and leaves a run of two trials.

    Args:
        config_path: A search config; its strategy, trials and budget are not used.
        pruner: Its name.
        budget: ``NAME=VALUE``.
        out: The run's folder; None for a new one below ``runs``. A pruning that was cut short while it trained goes on
            in its own.
        overrides: ``key=value`` each.
        console: For progress.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the config, the budget or the model.
    """
    config = load_config(config_path, overrides)
    require_known(pruner)
    name, separator, value = budget.partition("=")
    if not separator:
        raise BudgetError(f"A budget must have the form NAME=VALUE, got {budget!r}; write --max flops=0.5x.")
    amount = parse_amount(value)
    folder = out or new_folder(config.name, pruner)
    RunDirectory.check_creatable(folder)
    require_tensorboard_if_asked(config, [pruner])
    console.print(f"Preparing {config.model.name}", highlight=False)
    pruning = prepare_pruning(config)
    console.print(f"Pruning by {pruner} to {name} <= {amount}", highlight=False)
    directory = RunDirectory(folder)
    places = PlacesInFolders(
        checkpoints=directory.trainings_path,
        scalars=directory.tensorboard_path,
        how_to_go_on=f"go on by the same command with --out {folder}",
    )
    with stoppable(console) as watcher:
        pruned = prune(config, pruning, pruner, limit=name, amount=amount, watcher=watcher, places=places)
    _write(folder, config, pruning, pruned)
    places.forget_all()
    return Run.open(folder)


def _write(folder: Path, config: SearchConfig, pruning: Pruning, pruned: Pruned) -> None:
    directory = create_run_directory(folder, config, pruning.supernet, pruner=pruned.trials[1].source)
    with TrialStore(directory.trials_path) as store:
        for trial in pruned.trials:
            store.add(trial)
    search = describe_search(
        directory.read_environment()["search_id"],
        config,
        num_trials=len(pruned.trials),
        measurement_of_evaluator=pruning.aliases,
        has_concluded=True,
    )
    keeper = WeightsFolder(directory.weights_path)
    for kind, weights in pruned.weights.items():
        keeper.keep(pruned.trials[1].sub_network, kind, weights)
    directory.write_front(front_record(pruned.trials, pruned.goal, search=search))
