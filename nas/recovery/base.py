"""What a recovery is, and the least squares that each of them solves, one sublayer at a time.

The kept units of a sublayer are to add to the residual stream what would make the pruned model's stream equal the
full one's. With X the input of the output projection, one column a token, and b what is to be added, without the
projection's bias,

    minimise ‖b - W' X‖²   over the W' that a solver allows.

All that takes of the data are the sums G = X Xᵀ and C = b Xᵀ over tokens.

Legend: D hidden_size, S features of the kept units, K right sides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.supernet.own_weights import SubNetworkWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


class RecoveryError(ValueError):
    """A recovery that cannot be done with what was given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """The least squares of one sublayer. Features are those of kept units by ascending unit number.

    Attributes:
        gram_SS: ``(S, S)`` float64, the sum of x xᵀ over tokens.
        cross_DS: ``(D, S)`` float64, the sum of b xᵀ over tokens.
        weight_DS: ``(D, S)`` float64, the present weights of the output projection.
        unit_width: Features of a unit: ``head_dim`` for heads, 1 for neurons.
    """

    gram_SS: Tensor
    cross_DS: Tensor
    weight_DS: Tensor
    unit_width: int


Solver = Callable[[Problem], Tensor]
"""Gives the new weights ``(D, S)`` float64; the present ones where it fails, never a number that is not finite."""


Recover = Callable[[SubNetwork], SubNetworkWeights]
"""Finds weights with which a sub-network comes nearer to the supernet, for ``Supernet.activate`` and
``Supernet.extract``, in the model's dtype."""


class Recovery(Protocol):
    """Wins back quality without search, labels or gradients."""

    def __call__(self, supernet: Supernet, batches: Sequence[Batch]) -> Recover:
        """Gathers once what all sub-networks share.

        Args:
            supernet: At rest or not; left as it was. Its weights may be reordered afterwards.
            batches: Calibration examples; labels are not looked at.

        Raises:
            RecoveryError: There is no batch.
        """


def solve_ridge(matrix_SS: Tensor, right_SK: Tensor, *, damping: float) -> Tensor:
    """Solves (M + λ I) z = r by Cholesky, λ = ``damping`` × the mean of M's diagonal.

    Args:
        matrix_SS: ``(S, S)`` float64, symmetric and positive semidefinite.
        right_SK: ``(S, K)`` float64.
        damping: At least 0; above it a singular M has a solution as well. Where M is a sum of float32 products their
            rounding can make it indefinite, which takes 1e-5 or more to mend.

    Returns:
        ``(S, K)`` float64; all zeros where there is no finite solution.
    """
    damped_SS = matrix_SS.clone()
    damped_SS.diagonal().add_(damping * matrix_SS.diagonal().mean())
    factor_SS, failed = torch.linalg.cholesky_ex(damped_SS)
    if failed.item():
        return torch.zeros_like(right_SK)
    solution_SK = torch.cholesky_solve(right_SK, factor_SS)
    return solution_SK if bool(solution_SK.isfinite().all()) else torch.zeros_like(right_SK)
