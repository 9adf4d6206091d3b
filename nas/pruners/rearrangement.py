"""Exchange of units within a layer, so that those pruned together harm least (arXiv:2204.09656, Kwon et al.).

    minimise (1−m)ᵀ F (1−m),    F = Σ_b g_b g_bᵀ,    as many units pruned as before

The diagonal of F alone does not see that two units may do the same, or cancel each other. Greedy, from the paper: begin
with the units of smallest F_ii pruned; for each other unit i, ascending, prune it too and keep that pruned unit j whose
return makes the objective smallest (i itself where none is better). F is never formed: the objective is ‖s‖² with
s = G (1−m), and trying i costs one product of the pruned units' gradients with s + g_i, because

    ‖s + g_i − g_j‖² = ‖s + g_i‖² − 2 (s + g_i)·g_j + ‖g_j‖².

Where we differ: a mask that was better than what came out is returned as it was.

Legend: B batches, U units, P pruned units.
"""

import numpy as np
from numpy.typing import NDArray

from nas.pruners.errors import PrunerInputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ROUNDING = 1e-12
"""Less than this share of the objective is no improvement."""


def rearrange(gradients_BU: Floats, kept_U: Bools) -> Bools:
    """Keeps as many units of one layer and kind, such that the objective is never above that of ``kept_U``.

    Takes O(B · P) for each unit tried: on one CPU core 10 ms for 1,536 units and 64 batches, and
    half a second for 14,336 units.

    Args:
        gradients_BU: ``(num_batches, num_units)``: of each batch's loss with respect to the units' mask.
        kept_U: ``(num_units,)`` bool, True = kept. Where all or none are, it is returned as it is.

    Returns:
        ``(num_units,)`` bool with as many kept.

    Raises:
        PrunerInputError: NaN or infinite gradients, or not one for each unit.
    """
    if gradients_BU.ndim != 2 or gradients_BU.shape[1:] != kept_U.shape:
        raise PrunerInputError(
            f"Gradients must have shape (batches, {len(kept_U)}) for {len(kept_U)} units, "
            f"got {gradients_BU.shape}; pass those of one layer."
        )
    if not np.isfinite(gradients_BU).all():
        raise PrunerInputError("Gradients must be finite, got NaN or infinity; load the model in float32.")
    num_pruned = int((~kept_U).sum())
    if num_pruned in (0, len(kept_U)):
        return kept_U.copy()
    rows_UB = np.ascontiguousarray(gradients_BU.T, dtype=np.float64)
    rearranged_U = np.ones(len(kept_U), dtype=np.bool_)
    rearranged_U[_greedy(rows_UB, num_pruned)] = False
    better = harm(gradients_BU, rearranged_U) <= harm(gradients_BU, kept_U)
    return rearranged_U if better else kept_U.copy()


def harm(gradients_BU: Floats, kept_U: Bools) -> float:
    """(1−m)ᵀ F (1−m): twice the loss that pruning adds, to second order."""
    return float((gradients_BU[:, ~kept_U].sum(axis=1) ** 2).sum())


def _greedy(rows_UB: Floats, num_pruned: int) -> NDArray[np.int64]:
    """The units to prune."""
    norms_U = (rows_UB**2).sum(axis=1)
    order = np.argsort(norms_U, kind="stable")
    pruned_P = order[:num_pruned].copy()
    rows_PB, norms_P = rows_UB[pruned_P], norms_U[pruned_P]
    sum_B = rows_PB.sum(axis=0)
    for unit in order[num_pruned:]:
        with_unit_B = sum_B + rows_UB[unit]
        change_P = norms_P - 2 * (rows_PB @ with_unit_B)  # of ‖s + g_i‖², when j returns
        returned = int(change_P.argmin())
        stay = norms_U[unit] - 2 * (rows_UB[unit] @ with_unit_B)
        if change_P[returned] < stay - ROUNDING * (with_unit_B @ with_unit_B):
            sum_B = with_unit_B - rows_PB[returned]
            pruned_P[returned], norms_P[returned], rows_PB[returned] = unit, norms_U[unit], rows_UB[unit]
    return pruned_P
