r"""A matrix as a product of two factors whose directions are sorted, so that every rank is a prefix of both.

Of all matrices of rank r, U_r U_rᵀ W is nearest to W where it matters: it minimises ‖(W − W') L‖² with L Lᵀ = G. Here
G is the Gram matrix of what enters the matrix, G = Σ over tokens of x xᵀ, so that the error counted is that of the
outputs on those tokens; or G = I, which is truncated SVD. U are the left singular vectors of W L, which are the
eigenvectors of W G Wᵀ; no inverse of L is taken, and at full rank the product is W itself, however G looks.

Activation-whitened SVD is that of arXiv:2403.07378 (SVD-LLM), which computes the same product as U_r S_r V_rᵀ L⁻¹.

Legend: O output features, I input features, R = min(O, I) directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 1e-6
"""A share of the mean of G's diagonal, added to it: directions that no token entered by are sorted by W alone. It must
lie above the square of the relative error of activations, some 1e-12 in float32, or that error sorts them."""
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factors:
    """The factors of one matrix; W = expand @ reduce.

    Attributes:
        expand_OR: ``(num_outputs, num_directions)``, the directions that matter most first.
        reduce_RI: ``(num_directions, num_inputs)``. Row r of it is as long as column r of ``expand_OR``.
    """

    expand_OR: Tensor
    reduce_RI: Tensor

    def product(self, rank: int) -> Tensor:
        """``(num_outputs, num_inputs)``: the matrix of that rank."""
        return self.expand_OR[:, :rank] @ self.reduce_RI[:rank]


def factorise(weight_OI: Tensor, gram_II: Tensor | None = None) -> Factors:
    """Factorises a matrix.

    Args:
        weight_OI: ``(num_outputs, num_inputs)``, any floating dtype.
        gram_II: ``(num_inputs, num_inputs)``, of what enters it; None for plain SVD.

    Returns:
        In the dtype and on the device of the matrix; computed in float64.
    """
    wide_OI = weight_OI.detach().double()
    expand_OR = _directions(wide_OI, None if gram_II is None else _damped(gram_II.to(wide_OI)))
    reduce_RI = expand_OR.T @ wide_OI
    lengths_R = torch.linalg.vector_norm(reduce_RI, dim=1)
    shares_R = torch.where(lengths_R > 0, lengths_R, torch.ones_like(lengths_R)).sqrt()
    return Factors(
        expand_OR=(expand_OR * shares_R).to(weight_OI.dtype),
        reduce_RI=(reduce_RI / shares_R[:, None]).to(weight_OI.dtype),
    )


def _directions(weight_OI: Tensor, gram_II: Tensor | None) -> Tensor:
    """``(O, R)``: orthonormal columns, the most important first."""
    if weight_OI.shape[0] <= weight_OI.shape[1]:
        energy_OO = weight_OI @ (weight_OI.T if gram_II is None else gram_II @ weight_OI.T)
        directions_OO: Tensor = torch.linalg.eigh(energy_OO).eigenvectors
        return directions_OO.flip(dims=[1])
    seen_OI = weight_OI if gram_II is None else weight_OI @ _square_root(gram_II)
    directions_OI: Tensor = torch.linalg.svd(seen_OI, full_matrices=False).U
    return directions_OI


def _damped(gram_II: Tensor, damping: float = DAMPING) -> Tensor:
    damped_II = gram_II.clone()
    damped_II.diagonal().add_(damping * gram_II.diagonal().mean().clamp(min=torch.finfo(gram_II.dtype).tiny))
    return damped_II


def _square_root(gram_II: Tensor) -> Tensor:
    """A lower triangular L with L Lᵀ = G; sums of float32 products may be indefinite, which more damping mends."""
    for attempt in range(_ATTEMPTS):
        root_II: Tensor
        root_II, failed = torch.linalg.cholesky_ex(_damped(gram_II, DAMPING * 10.0**attempt) if attempt else gram_II)
        if not failed.item():
            break
    return root_II
