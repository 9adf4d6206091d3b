"""One pruner, one budget, no search: two trials, the supernet's and that of what the pruner made of it.

FLOPs and parameters are budgets that a pruner meets exactly, by arithmetic. Latency is met by measurement: the pruner
works with a table of what sublayers take (``latency_tables.py``), its sub-network is timed as a whole, and as long as
that is above the budget the table's budget is lowered in proportion and the pruner asked again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evaluators.base import Evaluator, Measurement
from evaluators.flops import Flops
from evaluators.inputs import most_tokens
from evaluators.parameters import Parameters
from nas.amount import Amount
from nas.config import SearchConfig
from nas.finalists import recover_finalist
from nas.front import Goal
from nas.judge import Judge
from nas.latency_tables import measure_latency_table
from nas.long_work.places import NO_PLACES, TrainingPlaces
from nas.objectives import (
    BudgetError,
    Constraint,
    InfeasibleBudgetError,
    constraint_for,
    measured_name,
    measurement_of_evaluator,
    objectives_of,
)
from nas.preparation import (
    PreparationError,
    build_evaluators,
    gather_evidence,
    load_supernet,
    make_finalist_recoverer,
    make_recoverer,
    order_directions,
    refuse_equal_names,
    require_scores,
)
from nas.pruners import (
    RANK_PRUNERS,
    BudgetTooSmallError,
    Evidence,
    Pruner,
    UnitCosts,
    flops_costs,
    parameter_costs,
    pruner_named,
)
from nas.pruners.latency_table import LatencyTable
from nas.pruners.within_latency import predicted_s, prune_within_latency
from nas.store.base import WeightsKind
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from nas.trained_pruners import TRAINED_PRUNERS, require_known
from nas.trainings import UNWATCHED, Training, Watcher, trainings
from nas.trial import Trial, TrialState
from search_spaces.sub_network import SubNetwork

MAX_ROUNDS = 6
"""Times that a latency budget is tried to be met."""
COUNTED_TOKENS = 128
"""Of the pass that FLOPs are counted on where the config does not say, or as many as the model reads."""
MARGIN = 0.99
"""How far below the budget to aim after a miss: the next measurement may come out a little higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Everything one pruning does once.

    Attributes:
        supernet: Its weights in their original order.
        evidence: What pruners go by.
        objectives: The config's.
        also: What else is measured, what the budget limits among it.
        aliases: Evaluators that serve one measurement alone, and which.
    """

    supernet: Supernet
    evidence: Evidence
    objectives: tuple[Evaluator, ...]
    also: tuple[Evaluator, ...]
    aliases: Mapping[str, str]

    @property
    def evaluators(self) -> tuple[Evaluator, ...]:
        """All of them."""
        return (*self.objectives, *self.also)

    def flops_costs(self) -> UnitCosts:
        """In the FLOPs that are measured here."""
        tokens = next(one.context_tokens for one in self.evaluators if isinstance(one, Flops))
        return flops_costs(self.supernet, context_tokens=tokens)

    def costs_of(self, constraint: Constraint) -> UnitCosts:
        """What units cost of what a budget limits: FLOPs or parameters."""
        return self.flops_costs() if constraint.name == "flops" else parameter_costs(self.supernet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What came of it.

    Attributes:
        trials: The supernet's, and the pruned sub-network's.
        goal: The config's objectives, and the budget.
        weights: Those that training gave the pruned sub-network.
    """

    trials: tuple[Trial, Trial]
    goal: Goal
    weights: Mapping[WeightsKind, OwnWeights] = field(default_factory=dict)


class _Memory:
    """Keeps weights until there is a folder for them."""

    def __init__(self, places: TrainingPlaces) -> None:
        self.places = places
        self.kept: dict[WeightsKind, OwnWeights] = {}

    def weights(self, sub_network: SubNetwork, kind: WeightsKind) -> OwnWeights | None:
        """See ``WeightsKeeper``."""
        del sub_network
        return self.kept.get(kind)

    def keep_weights(self, sub_network: SubNetwork, kind: WeightsKind, weights: OwnWeights) -> None:
        """See ``WeightsKeeper``."""
        del sub_network
        self.kept[kind] = weights


def prepare_pruning(config: SearchConfig) -> Pruning:
    """Builds the evaluators and loads the supernet; FLOPs and parameters are always measured.

    Raises:
        ValueError: One of the subclasses that name what is wrong with the config.
    """
    if config.supernet_training is not None:
        raise PreparationError(
            "A pruning trains no supernet, got a config with supernet_training; run `nas train-supernet` first, give "
            "its folder as the model, and remove supernet_training."
        )
    objectives, also = build_evaluators(config.objectives), build_evaluators(config.also_measure)
    refuse_equal_names((*objectives, *also))
    require_scores(config, (*objectives, *also))
    supernet = load_supernet(config.model)
    names = {evaluator.name for evaluator in (*objectives, *also)}
    flops = Flops(context_tokens=min(COUNTED_TOKENS, most_tokens(supernet.model) or COUNTED_TOKENS))
    also += tuple(one for one in (flops, Parameters()) if one.name not in names)
    evidence = gather_evidence(supernet, config)
    order_directions(supernet, config.importance, evidence.batches)
    return Pruning(
        supernet=supernet,
        evidence=evidence,
        objectives=objectives,
        also=also,
        aliases=measurement_of_evaluator([part.name for part in config.evaluators], (*objectives, *also)),
    )


def prune(
    config: SearchConfig,
    pruning: Pruning,
    pruner: str,
    *,
    limit: str,
    amount: Amount,
    watcher: Watcher = UNWATCHED,
    places: TrainingPlaces = NO_PLACES,
) -> Pruned:
    """Prunes to a budget, judges the result, and recovers it where the config says so.

    Args:
        config: For the recovery.
        pruning: Prepared from it.
        pruner: Its name.
        limit: What the budget limits: ``flops``, ``parameters``, or a latency that the config measures.
        amount: How much of it at most.
        watcher: Told of trainings.
        places: Of trainings; whoever stores what came of them forgets them.

    Raises:
        UnknownPrunerError: No pruner has that name.
        BudgetError: The config measures nothing of that name, or nothing that a pruner could spend, or the supernet
            is within the budget already.
        InfeasibleBudgetError: The pruner cannot keep so little.
        PreparationError: The supernet or the pruned model cannot be measured.
        TrainingStoppedError: The watcher asked a training to stop.
        CheckpointError: A checkpoint of another training, or no room for one.
    """
    require_known(pruner)
    _require_spendable(pruning, pruner, limit)
    if config.recovery.is_inside_trials and (pruner in RANK_PRUNERS or pruner in TRAINED_PRUNERS):
        why = "removes none" if pruner in RANK_PRUNERS else "has trained what it keeps to do without them"
        raise PreparationError(
            f"The recovery {config.recovery.type} recovers what removed units did, and {pruner} {why}; set "
            "recovery.type to none, or to lora_distillation."
        )
    judge = Judge(
        pruning.supernet, pruning.evaluators, make_recoverer(config, pruning.supernet, pruning.evidence.batches)
    )
    full = SubNetwork.full(pruning.supernet.shape)
    first = judge.trial(full, number=0, candidate=None, source="supernet", supernet={})
    if first.state is TrialState.FAILED:
        raise PreparationError(f"Pruning begins with the supernet itself, and that failed: {first.reason}")
    constraint = constraint_for(limit, "max", amount, first.measurements, pruning.aliases)
    if (own := first.measurements[constraint.name].value) <= constraint.limit:
        raise BudgetError(
            f"A budget must leave something to prune, got {constraint.name} up to {constraint.limit:.6g}, where the "
            f"supernet has {own:.6g}; lower it."
        )
    timed: Mapping[str, Measurement] = {}
    memory = _Memory(places)
    try:
        if pruner in TRAINED_PRUNERS:
            trained = _training(config, pruning, pruner, constraint)(watcher, places)
            sub_network = trained.sub_network
            memory.keep_weights(sub_network, "trained", trained.weights)
        elif constraint.unit == "s":
            method = pruner_named(pruner)
            sub_network, timed = _within_latency(method, pruning, judge, constraint, first.measurements)
        else:
            sub_network = pruner_named(pruner)(pruning.evidence, pruning.costs_of(constraint), constraint.limit)
    except BudgetTooSmallError as error:
        raise InfeasibleBudgetError(str(error)) from error
    trained_weights = memory.kept.get("trained")
    second = judge.trial(
        sub_network, number=1, candidate=None, source=pruner, supernet=first.measurements, weights=trained_weights
    )
    if second.state is TrialState.FAILED:
        raise PreparationError(
            f"A pruned model must be measurable, and that of {pruner} is not: {second.reason} Take another budget or "
            "pruner."
        )
    # The reading that met the budget is the one to quote: a second one would be as good, and might miss it.
    second = replace(second, measurements={**second.measurements, **timed})
    recover = make_finalist_recoverer(config, pruning.supernet)
    if recover is not None:
        second = recover_finalist(
            second,
            judge=judge,
            recover=recover,
            keeper=memory,
            start=trained_weights,
            supernet=first.measurements,
            watcher=watcher,
        )
    goal = Goal(objectives=objectives_of(pruning.objectives), constraints=(constraint,))
    return Pruned(trials=(first, second), goal=goal, weights=memory.kept)


def _training(config: SearchConfig, pruning: Pruning, pruner: str, constraint: Constraint) -> Training:
    costs, options = pruning.costs_of(constraint), config.trained_pruners
    (training,) = trainings([pruner], pruning.evidence, costs, [constraint.limit], options)
    return training


def _require_spendable(pruning: Pruning, pruner: str, limit: str) -> None:
    """Checks a budget's name before anything is measured."""
    units = {evaluator.name: evaluator.unit for evaluator in pruning.evaluators}
    name = measured_name(pruning.aliases.get(limit, limit), list(units))
    if name not in {"flops", "parameters"} and units[name] != "s":
        raise BudgetError(
            f"A pruner's budget must be on flops, parameters or a latency, got {name!r}; use `nas search` for others."
        )
    if pruner in RANK_PRUNERS and units[name] == "s":
        raise BudgetError(
            f"The budget of a pruner of ranks must be on flops or parameters, got {name!r} for {pruner}, since no "
            "table says what two thin products take; give parameters=0.5x, or limit the latency of a search."
        )
    if pruner in TRAINED_PRUNERS and name != "parameters":
        raise BudgetError(
            f"The budget of a pruner that trains must be on parameters, a share of which leads its training, got "
            f"{name!r} for {pruner}; give parameters=0.5x."
        )


def _within_latency(
    method: Pruner, pruning: Pruning, judge: Judge, constraint: Constraint, supernet: Mapping[str, Measurement]
) -> tuple[SubNetwork, dict[str, Measurement]]:
    """The sub-network, and the reading that is within the budget."""
    table = measure_latency_table(judge, pruning.supernet.shape, name=constraint.name, supernet=supernet)
    aim = LatencyAim(judge=judge, name=constraint.name, table=table, flops=pruning.flops_costs(), supernet=supernet)
    return aim.meet(method, pruning.evidence, constraint.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyAim:
    """Meets budgets of measured latency with any pruner.

    Attributes:
        judge: Measures what comes of it.
        name: Of the latency.
        table: What sublayers take.
        flops: What units cost, for pruners that spend FLOPs.
        supernet: What the supernet measured.
    """

    judge: Judge
    name: str
    table: LatencyTable
    flops: UnitCosts
    supernet: Mapping[str, Measurement]

    def meet(self, method: Pruner, evidence: Evidence, limit_s: float) -> tuple[SubNetwork, dict[str, Measurement]]:
        """The sub-network, and the reading that is within the budget.

        Raises:
            BudgetTooSmallError: By the table, nothing that the pruner can keep is that fast.
            InfeasibleBudgetError: By the table it is, but measured it was not.
        """
        timers = [evaluator for evaluator in self.judge.varying if evaluator.name == self.name]
        budget_s, taken_s = limit_s, math.inf
        for attempt in range(MAX_ROUNDS):
            try:
                sub_network = prune_within_latency(method, evidence, self.flops, self.table, budget_s)
            except BudgetTooSmallError:
                if attempt == 0:
                    raise
                break  # the table's budget is no longer the user's
            measured = self.judge.measure(sub_network, timers, self.supernet)
            taken_s = measured[self.name].value
            if taken_s <= limit_s:
                return sub_network, measured
            budget_s = predicted_s(self.table, sub_network) * MARGIN * limit_s / taken_s
        raise InfeasibleBudgetError(
            f"A budget on {self.name} must be within the pruner's reach, which came down to {taken_s:.4g} s in "
            f"some attempts, got {limit_s:.4g} s; relax the budget, or quieten the machine."
        )
