"""Optuna's samplers over candidates; the only file that imports Optuna.

A study is built in memory from what was told, asked once, and thrown away: Optuna keeps no state for us. Each choice
that has more than one size is a number, the index of its size, so that the sampler knows the order of sizes. TPE gets
integers. The Gaussian process gets real numbers, which are rounded: Optuna searches integers coordinate by coordinate,
which for 24 choices took seven times as long as the gradient and found no better fronts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial

from nas.strategies.base import History
from nas.strategies.variation import num_sizes
from search_spaces.base import Candidate, SearchSpace

MAX_SEED = 2**31


def suggest_by_tpe(space: SearchSpace, history: History, rng: np.random.Generator) -> Candidate:
    """What TPE would try next, all choices drawn jointly."""
    sampler = TPESampler(n_startup_trials=0, multivariate=True, seed=int(rng.integers(MAX_SEED)))
    return _suggest(sampler, space, history, indices=IntDistribution)


def suggest_by_gp(space: SearchSpace, history: History, rng: np.random.Generator) -> Candidate:
    """What a Gaussian process would try next."""
    sampler = GPSampler(n_startup_trials=0, seed=int(rng.integers(MAX_SEED)))
    return _suggest(sampler, space, history, indices=FloatDistribution)


def _suggest(
    sampler: BaseSampler, space: SearchSpace, history: History, *, indices: Callable[[int, int], BaseDistribution]
) -> Candidate:
    """Asks the sampler once; ``indices(first, last)`` is the range of a choice as the sampler shall see it."""
    last_C = (num_sizes(space) - 1).tolist()
    distributions = {str(position): indices(0, last) for position, last in enumerate(last_C) if last > 0}
    with _quiet():
        study = optuna.create_study(directions=["minimize"] * history.objectives_TM.shape[1], sampler=sampler)
        study.add_trials(_trials(history, distributions))
        params = study.ask(distributions).params
    return space.canonical(tuple(round(params.get(str(position), 0)) for position in range(len(last_C))))


def _trials(history: History, distributions: dict[str, BaseDistribution]) -> list[FrozenTrial]:
    """What was told, in Optuna's terms. Failed trials are left out: its samplers learn nothing from them."""
    return [
        create_trial(
            values=objectives_M.tolist(),
            params={name: candidate[int(name)] for name in distributions},
            distributions=distributions,
            constraints={str(number): violation for number, violation in enumerate(violations_K.tolist())},
        )
        for candidate, objectives_M, violations_K in zip(
            history.candidates, history.objectives_TM, history.violations_TK, strict=True
        )
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Optuna's reports on each new study and on packages it would like, and restores the verbosity."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
