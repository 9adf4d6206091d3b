"""Syne Tune's searchers over candidates; the only file that imports Syne Tune.

A searcher is built, told the history by replay, asked, and thrown away. Each choice that has more than one size is an
integer, the index of its size. Syne Tune 0.16 needs help in six places:

- It knows no constraints. Evolution gets the violation as one more metric, which our priority takes out again; for
  EHVI the objectives of infeasible trials are raised (``_penalised``).
- Its ``NonDominatedPriority`` returns the sorted items' positions where the items' ranks are wanted, so that evolution
  would prefer arbitrary parents; our own priority takes its place.
- Its EHVI fixes the reference point at 2 in negated objectives, which positive objectives never reach, so that every
  improvement would be zero; we shift and scale the objectives until this point lies just beyond the worst seen.
- Its EHVI mixes single and double precision, which BoTorch refuses; all is double here.
- Its EHVI has BoTorch compile a kernel into a cache shared by all processes, behind a lock file that a killed process
  leaves for ever, so that every later search would wait without end; BoTorch's own Python is used (``_uncompiled``).
- It draws from the global generators, warns, and sets up the root logger when imported: hence ``_contained``, and the
  imports inside it.

Legend: T trials, M objectives.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nas.pareto import crowded_order
from nas.strategies.base import History
from nas.strategies.variation import movable_choices
from search_spaces.base import Candidate, SearchSpace

MAX_SEED = 2**31

VIOLATION_WEIGHT = 10.0
"""10 % above the budget raises every objective by log(1 + 10 x 0.1) = 0.7 of its range."""

EHVI_REFERENCE = 2.0
"""Where Syne Tune puts the reference point, in negated objectives."""

EHVI_MARGIN = 0.1
"""How far beyond the worst value seen that point shall lie, in shares of the range."""


class _Searcher(Protocol):
    """What is used of Syne Tune's ``BaseSearcher``."""

    def suggest(self) -> dict[str, int]: ...

    def on_trial_complete(self, trial_id: int, config: dict[str, int], metrics: list[float]) -> None: ...


def suggest_by_evolution(
    space: SearchSpace,
    history: History,
    *,
    population_size: int,
    sample_size: int,
    num_suggestions: int,
    rng: np.random.Generator,
) -> list[Candidate]:
    """Children that regularized evolution would try next.

    Args:
        space: What may be chosen.
        history: What was told. Only the newest ``population_size`` matter, as the older ones have died of age.
        population_size: Candidates alive at a time.
        sample_size: Candidates drawn for a tournament; the best of them is the parent.
        num_suggestions: Children wanted.
        rng: Seeds the searcher.
    """
    newest = slice(-population_size, None)
    configs = _configs(space, history.candidates[newest])
    metrics = np.column_stack((history.objectives_TM, history.violation_T))[newest]
    seed = int(rng.integers(MAX_SEED))
    with _contained(seed):
        from syne_tune.optimizer.schedulers.multiobjective.multi_objective_regularized_evolution import (
            MultiObjectiveRegularizedEvolution,
        )

        searcher = MultiObjectiveRegularizedEvolution(
            _config_space(space),
            points_to_evaluate=configs,
            population_size=len(configs),
            sample_size=sample_size,
            multiobjective_priority=_constrained_priority,
            random_seed=seed,
        )
        _replay(searcher, metrics)
        return [_candidate(space, searcher.suggest()) for _ in range(num_suggestions)]


def suggest_by_ehvi(
    space: SearchSpace,
    history: History,
    *,
    num_restarts: int,
    num_raw_samples: int,
    num_mc_samples: int,
    rng: np.random.Generator,
) -> Candidate:
    """The candidate of the greatest expected hypervolume improvement.

    Args:
        space: What may be chosen.
        history: What was told.
        num_restarts: Starts of the gradient ascent on the expected improvement.
        num_raw_samples: Points of which the starts are the most promising ones.
        num_mc_samples: Draws from the posterior over which the improvement is averaged.
        rng: Seeds the searcher.
    """
    seed = int(rng.integers(MAX_SEED))
    with _contained(seed):
        # Imports BoTorch: seconds that only a search with this strategy should pay.
        from syne_tune.optimizer.schedulers.multiobjective.expected_hyper_volume_improvement import (
            ExpectedHyperVolumeImprovement,
        )

        _uncompiled()
        searcher = ExpectedHyperVolumeImprovement(
            _config_space(space),
            points_to_evaluate=_configs(space, history.candidates),
            num_restarts=num_restarts,
            num_raw_samples=num_raw_samples,
            mc_samples=num_mc_samples,
            random_seed=seed,
        )
        _replay(searcher, _penalised(history) - (1 + EHVI_MARGIN + EHVI_REFERENCE))
        return _candidate(space, searcher.suggest())


def _uncompiled() -> None:
    """Keeps BoTorch from compiling its kernel: the answer shall not depend on whether a compiler is installed."""
    from botorch.acquisition.multi_objective import logei

    logei._load_attempted = True


def _constrained_priority(metrics: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks by constrained domination and crowding, 0 = best; the last metric is the violation."""
    order_T = crowded_order(metrics[:, :-1], violation_T=metrics[:, -1])
    return np.argsort(order_T)


def _penalised(history: History) -> NDArray[np.float64]:
    """Objectives in shares of their range, 0 = best seen, with the logarithm of the violation added to each.

    Continuous where a candidate becomes feasible, as a Gaussian process wants it, and slow to grow, so that one far
    outlier does not flatten all else.
    """
    best_M = history.objectives_TM.min(axis=0)
    span_M = history.objectives_TM.max(axis=0) - best_M
    shares_TM = (history.objectives_TM - best_M) / np.where(span_M > 0, span_M, 1.0)
    return np.asarray(shares_TM + np.log1p(VIOLATION_WEIGHT * history.violation_T)[:, None])


def _replay(searcher: _Searcher, metrics_TM: NDArray[np.float64]) -> None:
    """Has the searcher suggest its initial points, the candidates told, and gives it their metrics."""
    for trial, metrics_M in enumerate(metrics_TM):
        searcher.on_trial_complete(trial, searcher.suggest(), metrics_M.tolist())


def _config_space(space: SearchSpace) -> dict[str, Any]:
    from syne_tune.config_space import randint

    return {str(position): randint(0, len(space.choices[position].sizes) - 1) for position in movable_choices(space)}


def _configs(space: SearchSpace, candidates: Sequence[Candidate]) -> list[dict[str, int]]:
    movable = movable_choices(space)
    return [{str(position): candidate[position] for position in movable} for candidate in candidates]


def _candidate(space: SearchSpace, config: dict[str, int]) -> Candidate:
    return space.canonical(tuple(int(config.get(str(position), 0)) for position in range(len(space.choices))))


@contextmanager
def _contained(seed: int) -> Iterator[None]:
    """Lends Syne Tune seeded global generators and double precision, and puts everything back as it was.

    Its warnings concern its own use of BoTorch, nothing that a user of ours could mend.
    """
    numpy_state = np.random.get_state()
    dtype = torch.get_default_dtype()
    handlers, level = logging.root.handlers[:], logging.root.level
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        np.random.seed(seed)
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            torch.set_default_dtype(dtype)
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
