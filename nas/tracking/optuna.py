"""An Optuna storage as tracker: a study that ``optuna-dashboard`` opens.

A trial's parameters are the sizes that its candidate chose. What a pruner proposed has as many units of each layer as
its candidate says, but they are the pruner's: ``source`` and ``sub_network`` tell that. A trial from outside the space
(`nas prune`) has no parameters; its counts are among the user attributes, like everybody's.

Optuna lets nobody change a finished trial, and the end of a search changes some: latencies are put on one scale, and
the front is measured again. Where that happened the study is written anew at the end, under the same name.
"""

import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nas.front import Goal
from nas.tracking.base import Ending, Standing, TrackedSearch
from nas.tracking.errors import TrackingError, missing_package
from nas.trial import Trial, TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

CONSTRAINTS = "constraints"
"""The system attribute that both Optuna and the dashboard read: feasible where every number is <= 0."""
SEARCH_ID = "nas.search_id"


class OptunaTracker:
    """Writes a study.

    Args:
        storage: A database's URL; ``OPTUNA_STORAGE``, or a file in the working directory, where none is given.
        study: Its name; the search's name and the beginning of its id where none is given.

    Raises:
        TrackingError: Optuna is not installed.
    """

    HARMLESS = frozenset({"study"})
    VARIABLES = ("OPTUNA_STORAGE",)

    def __init__(self, *, storage: str | None = None, study: str | None = None) -> None:
        try:
            import optuna
        except ImportError as error:
            raise missing_package("optuna") from error
        logging.getLogger("alembic").setLevel(logging.WARNING)  # which looks after its tables
        self._optuna = optuna
        self._url = storage or os.environ.get("OPTUNA_STORAGE") or "sqlite:///optuna.db"
        self._given_name = study
        self._search: TrackedSearch | None = None
        self._study: Study | None = None

    def begin(self, search: TrackedSearch) -> int:
        """Looks for the study. A new one has to wait for the first trial, which fixes the goal.

        Raises:
            TrackingError: A study of that name is another search's.
        """
        self._search = search
        with self._quiet():
            names = self._optuna.get_all_study_names(self._storage)
            if self._name not in names:
                return 0
            self._study = self._optuna.load_study(study_name=self._name, storage=self._storage)
        if self._study.user_attrs.get(SEARCH_ID) != search.id:
            raise TrackingError(
                f"A study must be of one search, and {self._name!r} is another one's; give it another name."
            )
        return len(self._study.get_trials(deepcopy=False))

    def add(self, standing: Standing) -> None:
        """Adds a finished trial."""
        with self._quiet():
            self._study = self._study or self._create(standing.goal, standing.trials[0])
            self._study.add_trial(self._frozen(standing.trial, standing.goal))

    def end(self, ending: Ending) -> None:
        """Notes the state, and brings all trials to their confirmed values."""
        with self._quiet():
            if ending.results is not None:
                self._confirm(ending.results.trials, ending.results.goal)
            if self._study is not None:
                self._study.set_user_attr("state", str(ending.state))
                if ending.reason:
                    self._study.set_user_attr("reason", ending.reason)
        self._storage.engine.dispose()

    @cached_property
    def _storage(self) -> "RDBStorage":
        return self._optuna.storages.RDBStorage(self._url)

    @cached_property
    def _name(self) -> str:
        assert self._search is not None
        return self._given_name or f"{self._search.name}-{self._search.id[:8]}"

    @cached_property
    def _distributions(self) -> dict[str, "BaseDistribution"]:
        """By choice: from its smallest to its largest size, by the widest steps that meet all of them.

        Sizes that are not evenly spaced come with some that nobody can choose; that keeps their order, which
        categories would lose.
        """
        assert self._search is not None
        return {
            choice.name: self._optuna.distributions.IntDistribution(
                choice.sizes[0],
                choice.sizes[-1],
                step=math.gcd(*(larger - smaller for smaller, larger in pairwise(choice.sizes))),
            )
            for choice in self._search.choices()
        }

    def _create(self, goal: Goal, supernet: Trial) -> "Study":
        assert self._search is not None
        directions = [objective.direction for objective in goal.objectives]
        study = self._optuna.create_study(storage=self._storage, study_name=self._name, directions=directions)
        study.set_user_attr(SEARCH_ID, self._search.id)  # first: without it the study would be nobody's
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([objective.name for objective in goal.objectives])
        for key, text in self._search.labels().items():
            study.set_user_attr(key, text)
        study.set_user_attr("config", self._search.settings())
        study.set_user_attr("budgets", [constraint.to_json() for constraint in goal.constraints])
        study.set_user_attr("units", {name: one.unit for name, one in supernet.measurements.items()})
        return study

    def _frozen(self, trial: Trial, goal: Goal) -> "FrozenTrial":
        states, is_scored = self._optuna.trial.TrialState, trial.state is TrialState.COMPLETE
        # One that saw a part of the examples is no rival of the others.
        complete = states.COMPLETE if trial.fidelity == 1.0 else states.PRUNED
        chosen = {} if trial.candidate is None else self._distributions
        frozen: FrozenTrial = self._optuna.trial.create_trial(
            state=complete if is_scored else states.FAIL,
            values=[trial.measurements[one.name].value for one in goal.objectives] if is_scored else None,
            params=self._sizes(trial),
            distributions=chosen,
            user_attrs=_attributes(trial, goal),
            system_attrs={CONSTRAINTS: list(goal.violations(trial))} if is_scored and goal.constraints else {},
        )
        assert frozen.datetime_complete is not None
        frozen.datetime_start = frozen.datetime_complete - timedelta(seconds=trial.duration_s)
        return frozen

    def _sizes(self, trial: Trial) -> dict[str, int]:
        if trial.candidate is None:
            return {}
        assert self._search is not None
        choices = self._search.choices()
        return {choice.name: choice.sizes[index] for choice, index in zip(choices, trial.candidate, strict=True)}

    def _confirm(self, trials: Sequence[Trial], goal: Goal) -> None:
        wanted = [self._frozen(trial, goal) for trial in trials]
        stored = [] if self._study is None else self._study.get_trials(deepcopy=False)
        if [_content(one) for one in stored] == [_content(one) for one in wanted]:
            return
        if self._study is not None:
            self._optuna.delete_study(study_name=self._name, storage=self._storage)
        self._study = self._create(goal, trials[0])
        self._study.add_trials(wanted)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Silences Optuna's reports on each new study."""
        verbosity = self._optuna.logging.get_verbosity()
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        try:
            yield
        finally:
            self._optuna.logging.set_verbosity(verbosity)


def _attributes(trial: Trial, goal: Goal) -> dict[str, Any]:
    """JSON-ready; counts by their names at Hugging Face, one entry a layer."""
    kept = trial.sub_network
    attributes: dict[str, Any] = {
        "source": trial.source,
        "sub_network": kept.key,
        "feasible": goal.is_eligible(trial),
        "num_hidden_layers": len(kept.kept_layers),
        "num_attention_heads": list(kept.num_heads),
        "num_key_value_heads": list(kept.num_kv_groups),
        "intermediate_size": list(kept.num_neurons),
    }
    for name, measurement in trial.measurements.items():
        record = measurement.to_json()
        attributes[name] = record["value"]
        if record["ci95"] is not None:
            attributes[f"{name}.ci95"] = record["ci95"]
    return attributes | ({"reason": trial.reason} if trial.reason else {})


def _content(trial: "FrozenTrial") -> tuple[object, ...]:
    """What a search says of a trial: everything but when it was stored."""
    return trial.state, trial.values, trial.params, trial.user_attrs, trial.system_attrs.get(CONSTRAINTS)
