"""How well each neuron stands for the others, from weights alone: KCM's R2 (arXiv:2303.04185, Nova et al.).

    K_ij = exp(−‖x_i − x_j‖² / σ²),    x_i = column i of the MLP's second matrix
    minimise tr((I − C)ᵀ K (I − C)) over C ≥ 0, by  C ← C ∘ sqrt(K ⊘ (K C)),  from C = 1/N
    score = diag(C), scaled to [0, 1] within the layer

The objective is ‖Φ − Φ C‖² in the kernel's feature space: each neuron written as a non-negative combination of all,
and C_jj is how much it needs itself. Where no two columns are equal K is positive definite and the minimum is C = I,
every score 1: what ranks neurons is how far the updates have got, so they must be neither too few nor too many.

Where we differ: the paper's σ = 1 means something else in every model, so σ is each layer's median distance between two
columns, of a sample where there are many. Column j of C is updated from K and itself alone, so that C is gone through
in blocks of columns, of which only the diagonal is kept, and every column stops by itself.

Legend: N neurons, D hidden size, S sampled neurons, J columns of C at work.
"""

import torch
from torch import Tensor

from nas.pruners.errors import PrunerInputError

NUM_SAMPLED = 512
"""Neurons whose pairwise distances give the median."""
ROUNDING = 64
"""Units in the last place by which equal scores may differ."""


@torch.no_grad()
def representative_scores(
    columns_ND: Tensor, *, block: int = 2048, max_iterations: int = 100, tolerance: float = 1e-3, seed: int = 0
) -> Tensor:
    """R2 of every neuron of one layer.

    Memory: K takes 4 N² bytes, and a block of C, its update and a copy of the columns that go on 12 N · block: 1.2 GB
    for 14,336 neurons. Time is of order N³ an update: 5 s for 1,536 neurons on one CPU core. Updates converge slowly,
    ranks sooner: with these limits the rank correlation with ten times as many updates was 0.99.

    Equal columns share their score. Where all are equal, as all-zero weights or a single neuron are, all scores are 1.

    Args:
        columns_ND: ``(num_neurons, hidden_size)``: column i of the second matrix as row i.
        block: Columns of C at work at once; makes no difference but to memory and time.
        max_iterations: At most so many updates of a column.
        tolerance: A column stops when an update changes it by at most this share of its norm.
        seed: For the sample.

    Returns:
        ``(num_neurons,)`` float32 in [0, 1] on the same device; higher = keep.

    Raises:
        PrunerInputError: NaN or infinite weights, or no neuron at all.
    """
    if columns_ND.ndim != 2 or not len(columns_ND) or not columns_ND.isfinite().all():
        raise PrunerInputError(
            "Neurons must have finite weights in a matrix of one row for each neuron, "
            f"got shape {tuple(columns_ND.shape)}; transpose it, or load the model in float32."
        )
    kernel_NN = gaussian_kernel(columns_ND.float(), seed=seed)
    parts = [
        _own_coefficients(kernel_NN, first, min(first + block, len(kernel_NN)), max_iterations, tolerance)
        for first in range(0, len(kernel_NN), block)
    ]
    return min_max(torch.cat(parts))


def gaussian_kernel(columns_ND: Tensor, *, seed: int = 0) -> Tensor:
    """``(N, N)`` float32 K, with σ the median distance.

    Where the median is 0, σ is the mean distance, and where that is 0 too, 1.
    """
    centred_ND = columns_ND - columns_ND.mean(dim=0)  # distances stay, and lose fewer digits
    squares_N = centred_ND.square().sum(dim=1)
    kernel_NN = centred_ND @ centred_ND.T
    kernel_NN.mul_(-2).add_(squares_N[:, None]).add_(squares_N).clamp_(min=0)
    kernel_NN.fill_diagonal_(0)
    return kernel_NN.div_(-(_width(columns_ND, seed) ** 2)).exp_()


def min_max(scores: Tensor) -> Tensor:
    """Scaled so that the least is 0 and the most is 1; all 1 where all are equal up to rounding.

    Args:
        scores: Of any float dtype and shape, at least one. NaN makes all NaN.
    """
    least, most = scores.min(), scores.max()
    if most - least <= ROUNDING * torch.finfo(scores.dtype).eps * most.abs():
        return torch.ones_like(scores)
    return (scores - least) / (most - least)


def _width(columns_ND: Tensor, seed: int) -> float:
    rng = torch.Generator().manual_seed(seed)
    sample_S = torch.randperm(len(columns_ND), generator=rng)[:NUM_SAMPLED].to(columns_ND.device)
    distances = torch.pdist(columns_ND[sample_S])
    if not len(distances):
        return 1.0
    return float(distances.median()) or float(distances.mean()) or 1.0


def _own_coefficients(kernel_NN: Tensor, first: int, last: int, max_iterations: int, tolerance: float) -> Tensor:
    """``(last - first,)``: the diagonal of C in these columns."""
    tiny = torch.finfo(kernel_NN.dtype).tiny
    own_J = kernel_NN.new_empty(last - first)
    column_J = torch.arange(first, last, device=kernel_NN.device)
    going_J = torch.ones_like(column_J, dtype=torch.bool)
    target_NJ = kernel_NN[:, first:last]
    coefficients_NJ = torch.full_like(target_NJ, 1 / len(kernel_NN))
    for _ in range(max_iterations):
        updated_NJ = kernel_NN @ coefficients_NJ
        torch.div(target_NJ, updated_NJ.clamp_(min=tiny), out=updated_NJ)
        updated_NJ.sqrt_().mul_(coefficients_NJ)
        change_J = coefficients_NJ.sub_(updated_NJ).norm(dim=0) / updated_NJ.norm(dim=0).clamp(min=tiny)
        coefficients_NJ = updated_NJ
        own_J[column_J[going_J] - first] = coefficients_NJ[column_J[going_J], going_J.nonzero().flatten()]
        going_J &= change_J > tolerance
        if not going_J.any():
            break
        if going_J.sum() <= len(going_J) // 2:  # copying is worth it only where it spares much
            column_J, coefficients_NJ, target_NJ = column_J[going_J], coefficients_NJ[:, going_J], target_NJ[:, going_J]
            going_J = going_J[going_J]
    return own_J
