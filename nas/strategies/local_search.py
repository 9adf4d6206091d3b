"""Pareto local search: moves from the members of the front to their neighbours.

Source: Paquete, Chiarandini and Stützle, "Pareto Local Optimum Sets in the Biobjective Traveling Salesman Problem",
2004; that plain local search is hard to beat on architectures: White, Nolen and Savani, arXiv:2005.02960. We differ in
the neighbourhood, because one step among 25 sizes of one layer is below the noise of a latency measurement: a neighbour
is one move away, sometimes more (a geometric number), by random steps of which small ones are likelier; and most
moves are exchanges, which shrink one choice and grow another and so stay close to a budget. Neighbours are drawn
rather than visited in full, since a trial is dear.
"""

from collections.abc import Iterator

import numpy as np

from nas.pareto import crowded_order, non_dominated_sort
from nas.strategies.base import History
from nas.strategies.variation import movable_choices, step
from search_spaces.base import Candidate, SearchSpace

ONE_MOVE_RATE = 0.5
EXCHANGE_RATE = 0.75
NUM_PROPOSALS = 100


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
    """Neighbours of front members, those in thinly covered parts preferred.

    While nothing is feasible, the least infeasible candidate stands for the front.
    """
    num_members = int((non_dominated_sort(history.objectives_TM, violation_T=history.violation_T) == 0).sum())
    order_T = crowded_order(history.objectives_TM, violation_T=history.violation_T)
    for _ in range(NUM_PROPOSALS):
        member = order_T[rng.integers(num_members, size=2).min()]
        yield _neighbour(space, history.candidates[member], rng)


def _neighbour(space: SearchSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate:
    """The candidate after one move or more."""
    movable = movable_choices(space)
    for _ in range(rng.geometric(ONE_MOVE_RATE)):
        if len(movable) == 1 or rng.random() >= EXCHANGE_RATE:
            candidate = step(space, candidate, int(rng.choice(movable)), rng=rng)
        else:
            shrunk, grown = rng.choice(movable, size=2, replace=False).tolist()
            candidate = step(space, candidate, shrunk, rng=rng, direction=-1)
            candidate = step(space, candidate, grown, rng=rng, direction=1)
    return space.canonical(candidate)
