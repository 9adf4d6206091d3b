"""A search: from a config to a Pareto front.

Trial 0 is the supernet, which fixes relative budgets and the scale of latencies; trial 1 is the smallest sub-network,
which shows whether the budgets can be met at all. Then come the other seeds, then what the strategy asks for. Every
trial is stored before the next begins, and everything else is rebuilt from the stored trials, so a search may die at
any moment. At the end, latencies are put on the scale of all readings of the supernet (``levels.py``), and what varies
from run to run (latency) is measured again on the front's members, because the best of many noisy measurements is too
good to be true. Then, where the config says so, the front's members are recovered by training (``finalists.py``). That
moves the front; a member that enters it is confirmed and recovered in its turn, until every member has been. No trial
is recovered twice, so that comes to an end.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluators.base import Measurement
from nas.config import SearchConfig
from nas.finalists import recover_finalist, recovery_name
from nas.front import Goal, describe_search, front_of, front_record, hypervolume_while_under_way
from nas.judge import Judge
from nas.levels import levelled
from nas.objectives import InfeasibleBudgetError, constraints_of, measurement_of_evaluator, objectives_of
from nas.preparation import Prepared
from nas.pruners import BudgetTooSmallError
from nas.recovered import before_recovery, was_tried
from nas.results import Results
from nas.seeds import Seed, trained_seed
from nas.store.base import SearchStore
from nas.strategies import make_strategy
from nas.strategies.base import Outcome, Strategy
from nas.supernet.own_weights import OwnWeights
from nas.trainings import UNWATCHED, Watcher, train_again
from nas.trial import Trial, TrialState

MAX_ATTEMPTS = 3
"""How often a trial may end its process (out of memory, a crash in a kernel) before the search goes on without it."""


class SearchError(ValueError):
    """A search that cannot begin; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a search stands after a trial.

    Attributes:
        trial: The one that ended.
        trials: All so far.
        goal: What is optimised.
        hypervolume: Of the front so far; None after the first trial, which fixes no reference point alone.
        max_trials: How many there will be; None when only time ends the search.
        elapsed_s: Time spent on trials.
        max_seconds: Time there is; None when only the number of trials ends the search.
    """

    trial: Trial
    trials: Sequence[Trial]
    goal: Goal
    hypervolume: float | None
    max_trials: int | None
    elapsed_s: float
    max_seconds: float | None


Listener = Callable[[Status], None]


class Search:
    """One search in this process, on one device (or one model spread over several)."""

    def __init__(self, config: SearchConfig, prepared: Prepared, store: SearchStore) -> None:
        self._config = config
        self._prepared = prepared
        self._store = store
        self._judge = Judge(prepared.supernet, prepared.evaluators, prepared.recover)
        self._trials = store.trials(prepared.supernet.shape)

    def run(self, listener: Listener, watcher: Watcher = UNWATCHED) -> Results:
        """Runs trials until the config's end, then confirms the front and recovers it. Stored trials count.

        Args:
            listener: Told of every trial.
            watcher: Told of every training.

        Returns:
            What was found. Measurements may differ from those told before, where the end measured them again.

        Raises:
            SearchError: The supernet itself cannot be evaluated.
            InfeasibleBudgetError: Neither the supernet nor the smallest sub-network meets a budget.
            StoreError: The disk is full; the trials so far are kept.
        """
        goal = self._begin(listener)
        strategy = make_strategy(
            self._config.strategy.type,
            self._prepared.space,
            num_objectives=len(goal.objectives),
            num_constraints=len(goal.constraints),
            seed=self._config.seed,
        )
        for trial in self._trials:
            _tell(strategy, trial, goal)
        for seed in self._proposals(strategy, watcher):
            trial = self._evaluate(seed)
            _tell(strategy, trial, goal)
            self._finish(trial, goal, listener)
            if seed.training is not None:
                self._store.places.forget(seed.training)
            if self._is_over():
                break
        return self._conclude(watcher)

    def _begin(self, listener: Listener) -> Goal:
        """The first two trials, and the goal that they fix."""
        for seed in self._prepared.seeds[len(self._trials) : 2]:
            trial = self._evaluate(seed)
            if seed.source == "supernet" and trial.state is TrialState.FAILED:
                raise SearchError(f"A search begins with the supernet itself, and that failed: {trial.reason}")
            self._finish(trial, self._goal([*self._trials, trial][0]), listener)
        goal = self._goal(self._trials[0])
        self._refuse_unreachable_budget(goal)
        self._write_front(goal)
        return goal

    def _goal(self, supernet: Trial) -> Goal:
        return Goal(
            objectives=objectives_of(self._prepared.objectives),
            constraints=constraints_of(self._config.budget, supernet.measurements, self._measurement_of_evaluator()),
        )

    def _measurement_of_evaluator(self) -> dict[str, str]:
        return measurement_of_evaluator([part.name for part in self._config.evaluators], self._prepared.evaluators)

    def _refuse_unreachable_budget(self, goal: Goal) -> None:
        """By what the supernet and the smallest measured, failed or not: one of infinite perplexity has its costs.

        A smallest that could not be measured says nothing of what lies between.
        """
        ends = [trial.measurements for trial in self._trials[:2]]
        for constraint in goal.constraints:
            if all(constraint.violation(measured) > 0 for measured in ends):
                reached = [measured[constraint.name].value for measured in ends]
                nearest = min(reached) if constraint.bound == "max" else max(reached)
                raise InfeasibleBudgetError(
                    f"The budget on {constraint.name} must be within reach of the search space, which reaches "
                    f"{nearest:.4g} {constraint.unit}, got {constraint.limit:.4g} {constraint.unit}; "
                    "relax the budget or widen the space."
                )

    def _proposals(self, strategy: Strategy, watcher: Watcher) -> Iterator[Seed]:
        """The seeds not yet evaluated, then what the strategy asks for until it has nothing left.

        Those to be trained come first: an untrained one that keeps the same would else take their place.
        """
        if self._is_over():
            return
        yield from self._trained(watcher)
        tried = {trial.sub_network for trial in self._trials}
        yield from (seed for seed in self._prepared.seeds if seed.sub_network not in tried)
        while (candidate := strategy.ask()) is not None:
            sub_network = self._prepared.space.sub_network(candidate)
            yield Seed(candidate=candidate, sub_network=sub_network, source=self._config.strategy.type)

    def _trained(self, watcher: Watcher) -> Iterator[Seed]:
        """Trains the seeds that are to be trained, but for those of which a trial is stored.

        A pruner's budgets are worked on in order and give a trial each, so that the number of its trials says how far
        it has come. Where it has come further (two budgets gave the same), the last is trained again for nothing.
        """
        num_stored = Counter(trial.source for trial in self._trials)
        for training in self._prepared.trainings:
            if num_stored[training.source] > 0:
                num_stored[training.source] -= 1
                self._store.places.forget(training.name)  # the process may have died before it could
                continue
            try:
                trained = training(watcher, self._store.places)
            except BudgetTooSmallError:
                continue
            if trained.sub_network not in {trial.sub_network for trial in self._trials}:
                yield trained_seed(self._prepared.space, trained, training.source, training=training.name)
            else:
                self._store.places.forget(training.name)

    def _is_over(self) -> bool:
        return is_over(self._trials, self._config)

    def _evaluate(self, seed: Seed) -> Trial:
        num_begun = self._store.begin(seed.sub_network)
        if num_begun > MAX_ATTEMPTS:
            return _crashed(seed, number=len(self._trials))
        if seed.weights is not None:
            self._store.keep_weights(seed.sub_network, "trained", seed.weights)
        return self._judge.trial(
            seed.sub_network,
            number=len(self._trials),
            candidate=seed.candidate,
            source=seed.source,
            supernet=self._supernet_measurements(),
            weights=seed.weights,
        )

    def _supernet_measurements(self) -> Mapping[str, Measurement]:
        return self._trials[0].measurements if self._trials else {}

    def _finish(self, trial: Trial, goal: Goal, listener: Listener) -> None:
        """Stores a trial first; everything after that can be made again from what is stored."""
        self._store.add(trial)
        self._trials.append(trial)
        if trial.number:
            self._write_front(goal)
        listener(
            Status(
                trial=trial,
                trials=tuple(self._trials),
                goal=goal,
                hypervolume=hypervolume_while_under_way(self._trials, goal)[-1],
                max_trials=self._config.trials,
                elapsed_s=_elapsed_s(self._trials),
                max_seconds=self._config.max_seconds,
            )
        )

    def _conclude(self, watcher: Watcher) -> Results:
        """Confirms the front and recovers it, until every member is both."""
        confirmed = {0}
        self._confirm(confirmed, watcher)
        while finalists := self._to_recover():
            for trial in finalists:
                self._replace(self._recovered(trial, watcher))
                self._store.places.forget(recovery_name(trial.sub_network))
                self._write_front(self._goal(self._trials[0]))
            self._confirm(confirmed, watcher)
        record = self._write_front(goal := self._level(), has_concluded=True)
        self._store.places.forget_all()  # those of trainings whose process died before it could
        return Results(shape=self._prepared.supernet.shape, trials=tuple(self._trials), goal=goal, record=record)

    def _confirm(self, confirmed: set[int], watcher: Watcher) -> None:
        """Measures anew what varies, until the front and the uniform-width models beside it are confirmed.

        Every reading is one of the supernet, too, so that all latencies move, and the front with them.
        """
        varying = self._judge.varying
        while varying and (doubtful := [one for one in self._quoted(self._level()) if one.number not in confirmed]):
            for trial in doubtful:
                own = self._own_weights(trial, watcher)
                anew = self._judge.measure(trial.sub_network, varying, self._supernet_measurements(), own)
                better = {name: _surer(one, trial.measurements[name]) for name, one in anew.items()}
                self._replace(replace(trial, measurements={**trial.measurements, **better}))
            confirmed |= {trial.number for trial in doubtful}

    def _to_recover(self) -> list[Trial]:
        """Members of a front on which training has not been tried; none where it is not asked for.

        First those of the front before any recovery, then those of the front as it is. The scores before recovery are
        stored, so that a search that is resumed half-way finds the same finalists.
        """
        if self._prepared.recover_finalist is None:
            return []
        goal = self._goal(self._trials[0])
        fronts = (front_of([before_recovery(trial) for trial in self._trials], goal), front_of(self._trials, goal))
        numbers = dict.fromkeys(one.number for front in fronts for one in front if not one.sub_network.is_full)
        return [self._trials[number] for number in numbers if not was_tried(self._trials[number])]

    def _recovered(self, trial: Trial, watcher: Watcher) -> Trial:
        assert self._prepared.recover_finalist is not None
        return recover_finalist(
            trial,
            judge=self._judge,
            recover=self._prepared.recover_finalist,
            keeper=self._store,
            start=self._own_weights(trial, watcher),
            supernet=self._supernet_measurements(),
            watcher=watcher,
        )

    def _own_weights(self, trial: Trial, watcher: Watcher) -> OwnWeights | None:
        """Those that its pruner trained; None where it shares the supernet's."""
        choices = [training for training in self._prepared.trainings if training.source == trial.source]
        if not choices:
            return None
        if (kept := self._store.weights(trial.sub_network, "trained")) is not None:
            return kept
        again = train_again(trial.source, trial.sub_network, choices, watcher, self._store.places).weights
        self._store.keep_weights(trial.sub_network, "trained", again)
        for training in choices:
            self._store.places.forget(training.name)
        return again

    def _replace(self, trial: Trial) -> None:
        self._trials[trial.number] = trial
        self._store.replace_measurements(trial)

    def _level(self) -> Goal:
        """Puts latencies on the scale of all readings of the supernet; relative budgets move with them."""
        for trial in levelled(self._trials):
            if trial != self._trials[trial.number]:
                self._replace(trial)
        return self._goal(self._trials[0])

    def _quoted(self, goal: Goal) -> list[Trial]:
        """The trials whose numbers people read, each once."""
        uniform = [one for one in self._trials if one.source == "uniform" and one.state is TrialState.COMPLETE]
        return list({trial.number: trial for trial in (*front_of(self._trials, goal), *uniform)}.values())

    def _write_front(self, goal: Goal, *, has_concluded: bool = False) -> dict[str, Any]:
        search = describe_search(
            self._store.search_id,
            self._config,
            num_trials=len(self._trials),
            measurement_of_evaluator=self._measurement_of_evaluator(),
            has_concluded=has_concluded,
        )
        record = front_record(self._trials, goal, search=search)
        self._store.write_front(record)
        return record


def is_over(trials: Sequence[Trial], config: SearchConfig) -> bool:
    """Whether there are as many trials as the config asks for, or its time is spent; the front may not be confirmed."""
    enough = config.trials is not None and len(trials) >= config.trials
    late = config.max_seconds is not None and _elapsed_s(trials) >= config.max_seconds
    return enough or late


def _crashed(seed: Seed, *, number: int) -> Trial:
    return Trial(
        number=number,
        candidate=seed.candidate,
        sub_network=seed.sub_network,
        source=seed.source,
        state=TrialState.FAILED,
        reason=f"A trial must not end its process, but this one did {MAX_ATTEMPTS} times; it was not tried again.",
    )


def _tell(strategy: Strategy, trial: Trial, goal: Goal) -> None:
    if trial.candidate is not None:
        objectives = goal.values_for_strategy(trial) if trial.state is TrialState.COMPLETE else None
        strategy.tell(Outcome(candidate=trial.candidate, objectives=objectives, violations=goal.violations(trial)))


def _elapsed_s(trials: Sequence[Trial]) -> float:
    return sum(trial.duration_s for trial in trials)


def _surer(anew: Measurement, before: Measurement) -> Measurement:
    """The second measurement, unless it was disturbed and the first one is surer."""
    disturbed = bool(anew.flags) and before.relative_half_width < anew.relative_half_width
    return before if disturbed else anew
