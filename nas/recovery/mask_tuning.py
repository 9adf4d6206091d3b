"""Mask tuning: a factor for every kept head and neuron, folded into the output weights.

With W_i the columns of unit i in the output projection and X_i its features, the factors x of a sublayer are the
least-squares solution of

    minimise ‖b - Σ_i x_i W_i X_i‖²,   normal equations M x = r,
    M_ij = Σ (W_iᵀ W_j) ∘ G_ij,   r_i = Σ W_i ∘ C_i   (sums over all entries),

which for neurons, of one feature each, is M = (WᵀW) ∘ G. Mask tuning of arXiv:2204.09656 (Kwon et al., section 3.4),
with differences:

- They solve for x - 1 by LSMR on the normal equations with damp 1. That pulls towards 1 as well, but how hard depends
  on the scale of the activations and on the number of tokens. Here (M + λ I)(x - 1) = r - M 1 is solved directly, by
  Cholesky in float64, with λ a share of the mean diagonal of M. The residual is never above that of ones.
- The target is the full model unless a teacher is given; theirs is the mask at the square root of the budget.
- They stop at the first sublayer whose factors leave [-10, 10]. Here that sublayer keeps its weights and the others
  are tuned all the same.

Legend: D hidden_size, S features of the kept units, U kept units, F features of a unit.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from evaluators.inputs import Batch
from nas.recovery.base import Problem, solve_ridge
from nas.recovery.sweep import sweep
from nas.supernet.output_weights import SUBLAYER_NAMES, OutputWeights, SublayerName
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork

LARGEST_FACTOR = 10.0
"""A factor beyond it is a sign of a sublayer that factors cannot mend; the paper's own limit."""


def mask_tuning(
    supernet: Supernet,
    sub_network: SubNetwork,
    batches: Sequence[Batch],
    *,
    sublayers: Sequence[SublayerName] = SUBLAYER_NAMES,
    residual: bool = True,
    teacher: SubNetwork | None = None,
    damping: float = 1e-3,
) -> OutputWeights:
    """Tunes the factors of all kept units, from the first layer to the last.

    Args:
        supernet: Left as it was.
        sub_network: Of its shape.
        batches: Calibration examples, labelled or not.
        sublayers: Which to tune.
        residual: As ``sweep`` takes it.
        teacher: As ``sweep`` takes it.
        damping: How hard factors are pulled towards 1, as a share of the mean diagonal of M; above 0.

    Raises:
        RecoveryError: There is no batch, or the teacher lacks a sublayer.
    """
    solve = partial(tuned_weights, damping=damping)
    return sweep(supernet, sub_network, batches, solve, sublayers=sublayers, residual=residual, teacher=teacher)


def tuned_weights(problem: Problem, *, damping: float) -> Tensor:
    """``(D, S)`` float64: the present weights times the factors of their units.

    A unit whose columns or features are all zero keeps the factor 1.
    """
    matrix_UU, right_U = normal_equations(problem)
    change_U = solve_ridge(matrix_UU, (right_U - matrix_UU.sum(dim=1))[:, None], damping=damping)[:, 0]
    factors_U = 1 + change_U
    if bool((factors_U.abs() > LARGEST_FACTOR).any()):
        return problem.weight_DS
    return problem.weight_DS * factors_U.repeat_interleave(problem.unit_width)


def normal_equations(problem: Problem) -> tuple[Tensor, Tensor]:
    """M ``(U, U)`` and r ``(U,)``, float64."""
    weight_DS, width = problem.weight_DS, problem.unit_width
    num_units = weight_DS.shape[1] // width
    matrix_SS = (weight_DS.T @ weight_DS) * problem.gram_SS
    matrix_UU = matrix_SS.view(num_units, width, num_units, width).sum(dim=(1, 3))
    right_U = (weight_DS * problem.cross_DS).sum(dim=0).view(num_units, width).sum(dim=1)
    return matrix_UU, right_U
