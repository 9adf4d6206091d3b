r"""A rank for each matrix, by the Fisher information of its directions, within a budget on parameters or FLOPs.

    maximise  Σ over matrices of E_m(r_m)   such that   Σ cost_m(r_m) <= budget

where E_m(r) is what the first r directions of matrix m are worth (``nas.supernet.low_rank.energies``) and cost_m(r) is
r (O + I) weights below break-even, and O I for the matrix itself, which loses nothing. Each matrix takes the best rank
at one price of a weight, and that price is found by bisection, which is optimal for what it spends (Everett, 1963);
what is left over goes to the directions worth most a weight that still fit.

Legend: L layers, M matrices, O output features, I input features.
"""

import numpy as np
from numpy.typing import NDArray

from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError, PrunerInputError
from nas.pruners.evidence import Evidence
from search_spaces.low_rank import with_ranks
from search_spaces.shape import Matrix
from search_spaces.sub_network import SubNetwork

_BISECTIONS = 100
"""Enough for the price to be exact in float64."""


def prune_ranks_by_fisher(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """All units, and a rank for each matrix.

    Raises:
        PrunerInputError: The budget is neither on parameters nor on FLOPs.
        BudgetTooSmallError: Rank 1 everywhere costs more.
        ImportanceError: The model has no head that gives a loss.
    """
    if costs.name not in ("parameters", "flops"):
        raise PrunerInputError(
            f"The pruner fisher_ranks spends parameters or flops, got a budget on {costs.name}; give parameters=0.5x."
        )
    shape = evidence.shape
    matrices = [(layer, matrix) for layer in range(shape.num_layers) for matrix in shape.matrices]
    dense = sum(matrix.num_outputs * matrix.num_inputs for _, matrix in matrices)
    available = dense - (costs.total(shape) - budget) / costs.weight
    least = costs.of(with_ranks(shape, np.ones((shape.num_layers, len(shape.matrices)), dtype=np.int64)))
    if not budget >= least:  # NaN too
        raise BudgetTooSmallError.of(costs.name, "rank 1 everywhere", least=least, received=budget)
    ranks = allocate(evidence.direction_energies, [matrix for _, matrix in matrices], available)
    return with_ranks(shape, np.reshape(ranks, (shape.num_layers, len(shape.matrices))))


def allocate(energies: list[NDArray[np.float64]], matrices: list[Matrix], available: float) -> list[int]:
    """Ranks of most energy.

    Args:
        energies: ``(full rank,)`` for each matrix: of its directions, in the order in which ranks keep them.
        matrices: As many.
        available: Weights to spend, at least those of rank 1 everywhere.

    Returns:
        For each matrix its rank, below break-even, or 0 where it stays whole.
    """
    choices = [_Choices(one, matrix) for one, matrix in zip(energies, matrices, strict=True)]
    low, high = 0.0, 1.0 + max(one.energies_r[-1] for one in choices)
    taken = [one.best(low) for one in choices]
    if _weights(choices, taken) > available:
        for _ in range(_BISECTIONS):
            price = (low + high) / 2
            if _weights(choices, [one.best(price) for one in choices]) <= available:
                high = price
            else:
                low = price
        taken = [one.best(high) for one in choices]
        _spend_rest(choices, taken, available - _weights(choices, taken))
    return [0 if index == len(one.weights_r) - 1 else index + 1 for index, one in zip(taken, choices, strict=True)]


class _Choices:
    """What a matrix may be: ranks 1, 2, … below break-even, then itself.

    Attributes:
        energies_r: Of each choice, ascending.
        weights_r: Of each choice, ascending.
    """

    def __init__(self, energies_R: NDArray[np.float64], matrix: Matrix) -> None:
        sides, dense = matrix.num_outputs + matrix.num_inputs, matrix.num_outputs * matrix.num_inputs
        ranks_r = np.arange(1, -(-dense // sides))
        total_R = np.cumsum(energies_R)
        self.energies_r = np.append(total_R[: len(ranks_r)], total_R[-1])
        self.weights_r = np.append(ranks_r * sides, dense)

    def best(self, price: float) -> int:
        """The choice worth most where weights cost so much; the smallest of equals."""
        return int(np.argmax(self.energies_r - price * self.weights_r))


def _weights(choices: list[_Choices], taken: list[int]) -> int:
    return sum(int(one.weights_r[index]) for one, index in zip(choices, taken, strict=True))


def _spend_rest(choices: list[_Choices], taken: list[int], rest: float) -> None:
    """Raises choices one by one, that of most energy a weight first, as long as one fits."""
    while True:
        best, gain = None, -1.0
        for number, one in enumerate(choices):
            now = taken[number]
            if now + 1 == len(one.weights_r):
                continue
            more = one.weights_r[now + 1] - one.weights_r[now]
            worth = (one.energies_r[now + 1] - one.energies_r[now]) / more
            if more <= rest and worth > gain:
                best, gain = number, worth
        if best is None:
            return
        rest -= choices[best].weights_r[taken[best] + 1] - choices[best].weights_r[taken[best]]
        taken[best] += 1
