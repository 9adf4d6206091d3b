"""The weights that a trial was scored with: found in its run, or made again from the config."""

from rich.console import Console

from nas.config import SearchConfig
from nas.preparation import (
    calibration_examples,
    gather_evidence,
    ladder_trainings,
    make_finalist_recoverer,
    make_recoverer,
)
from nas.pruners import UnitCosts, flops_costs, parameter_costs
from nas.recovered import is_recovered
from nas.run import Run
from nas.store.weights import WeightsFolder
from nas.supernet.own_weights import OwnWeights, SubNetworkWeights
from nas.supernet.supernet import Supernet
from nas.trained_pruners import TRAINED_PRUNERS
from nas.training_progress import TrainingsProgress
from nas.trainings import Training, train_again, trainings
from nas.trial import Trial
from search_spaces.sub_network import SubNetwork


def weights_of(
    run: Run, trial: Trial, config: SearchConfig, supernet: Supernet, *, console: Console
) -> SubNetworkWeights | None:
    """What a trial has in place of the supernet's weights; None where it has them.

    Args:
        run: The run.
        trial: Of it.
        config: The run's.
        supernet: The run's, its units in their original order, or in that of the search.
        console: For progress.

    Raises:
        OwnWeightsError: Weights that were kept are damaged.
        LostWeightsError: Weights that a pruner trained are gone, and do not come out again.
        ValueError: One of those of ``calibration_examples``.
    """
    kept = WeightsFolder(run.directory.weights_path)
    if is_recovered(trial) and (recovered := kept.load(trial.sub_network, "recovered")) is not None:
        return recovered
    trained = _trained_weights(run, trial, config, supernet, kept, console)
    if is_recovered(trial):
        recover = make_finalist_recoverer(config, supernet)
        assert recover is not None
        progress, what = TrainingsProgress(console), f"Recovering trial {trial.number} again"
        weights = recover(trial.sub_network, start=trained, on_step=progress.begins(what))
        progress.ends(what)
        return weights
    return trained or recovered_weights(config, supernet, trial.sub_network, console=console)


def recovered_weights(
    config: SearchConfig, supernet: Supernet, sub_network: SubNetwork, *, console: Console
) -> SubNetworkWeights | None:
    """The weights that a trial was scored with, computed again from the config; None where nothing was recovered."""
    if not config.recovery.is_inside_trials or sub_network.is_full:
        return None
    console.print(f"Recovering by {config.recovery.type}, as in the trial", highlight=False)
    recover = make_recoverer(config, supernet, calibration_examples(supernet, config.importance))
    return None if recover is None else recover(sub_network)


def _trained_weights(
    run: Run, trial: Trial, config: SearchConfig, supernet: Supernet, kept: WeightsFolder, console: Console
) -> OwnWeights | None:
    if trial.source not in TRAINED_PRUNERS:
        return None
    if (trained := kept.load(trial.sub_network, "trained")) is not None:
        return trained
    choices = _choices(run, trial, config, supernet)
    return train_again(trial.source, trial.sub_network, choices, TrainingsProgress(console)).weights


def _choices(run: Run, trial: Trial, config: SearchConfig, supernet: Supernet) -> list[Training]:
    """What the trial may have come from: the one budget of `nas prune`, or those of a search's seeds."""
    evidence = gather_evidence(supernet, config)
    if run.directory.is_of_pruning:
        (constraint,) = run.goal.constraints
        costs = _flops_costs(config, supernet) if constraint.name == "flops" else parameter_costs(supernet)
        return list(trainings([trial.source], evidence, costs, [constraint.limit], config.trained_pruners))
    return list(ladder_trainings(config, evidence, parameter_costs(supernet)))


def _flops_costs(config: SearchConfig, supernet: Supernet) -> UnitCosts:
    counted = [part.options.get("context_tokens", 128) for part in config.evaluators if part.name == "flops"]
    return flops_costs(supernet, context_tokens=counted[0] if counted else 128)
