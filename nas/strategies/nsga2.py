"""NSGA-II over ordered sizes: non-dominated sorting, crowding distance and constrained domination.

Source: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
Transactions on Evolutionary Computation 6(2), 2002. We differ in three ways. It is steady state: the population is
selected anew from everything told before each child, so that no result waits for its generation to end (Nebro and
Durillo, "On the Effect of the Steady-State Selection Scheme in Multi-Objective Genetic Algorithms", EMO 2009). The
population is small, as a search has tens of trials. And the operators suit ordered sizes: uniform crossover, and
mutation by small steps, in place of SBX and polynomial mutation.
"""

from collections.abc import Iterator

import numpy as np

from nas.pareto import crowded_order
from nas.strategies.base import History
from nas.strategies.variation import crossover, mutate
from search_spaces.base import Candidate, SearchSpace

POPULATION_SIZE = 10
CROSSOVER_RATE = 0.9
NUM_PROPOSALS = 100


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
    """Children of the best of all trials so far."""
    order_T = crowded_order(history.objectives_TM, violation_T=history.violation_T)
    population = [history.candidates[trial] for trial in order_T[:POPULATION_SIZE]]
    for _ in range(NUM_PROPOSALS):
        child = _tournament(population, rng)
        if rng.random() < CROSSOVER_RATE:
            child = crossover(space, child, _tournament(population, rng), rng=rng)
        yield mutate(space, child, rng)


def _tournament(population: list[Candidate], rng: np.random.Generator) -> Candidate:
    """The better of two drawn from a population that is sorted, best first."""
    return population[int(rng.integers(len(population), size=2).min())]
