r"""Hard-concrete gates: 0 or 1 with positive probability, and differentiable in between.

From arXiv:1712.01312, with the numbers of arXiv:1910.04732:

    u ~ U(ε, 1 − ε),   s = σ(logit u + a),   z = clip(1.2 s − 0.1, 0, 1)
    P(z > 0) = σ(a + log 11),   ẑ = σ(0.8 a)

Legend: R directions.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-6
LOW, HIGH = -0.1, 1.1
SHIFT = math.log(HIGH / -LOW)
SOFTNESS = 0.8
FIRST_LOGIT, LAST_LOGIT = 45.0, -3.0
"""Gates begin open, the less so the less their direction matters: the order is known beforehand, and the steps of a
noisy gradient should not change it before it is learnt. So far apart, an eighth of the gates is half open at a time,
and the model computes with little noise."""


def first_logits(num_directions: int) -> Tensor:
    """``(num_directions,)``: what the gates of sorted directions begin at."""
    return torch.linspace(FIRST_LOGIT, LAST_LOGIT, num_directions)


def first_logits_by(energies: Sequence[Tensor], sides: Sequence[int]) -> list[Tensor]:
    """What the gates of several matrices begin at where it is known what their directions are worth.

    Directions of all matrices are sorted together, those worth most a weight first; a gate begins the lower, the
    larger the share of all weights that comes before it.

    Args:
        energies: ``(num_directions,)`` for each matrix.
        sides: Weights of one direction of each.

    Returns:
        ``(num_directions,)`` for each, float64.
    """
    worth_D = torch.cat([one_R / weights for one_R, weights in zip(energies, sides, strict=True)])
    weights_D = torch.cat([torch.full_like(one_R, size) for one_R, size in zip(energies, sides, strict=True)])
    order_D = worth_D.argsort(descending=True, stable=True)
    before_D = weights_D[order_D].cumsum(0) / weights_D.sum()
    logits_D = torch.empty_like(worth_D)
    logits_D[order_D] = FIRST_LOGIT + (LAST_LOGIT - FIRST_LOGIT) * before_D
    return list(logits_D.split([len(one_R) for one_R in energies]))


def sampled(logits_R: Tensor, generator: torch.Generator) -> Tensor:
    """``(R,)`` in [0, 1]: one draw, through which gradients flow to the logits."""
    noise_R = torch.rand(logits_R.shape, generator=generator).to(logits_R)
    uniform_R = EPSILON + (1 - 2 * EPSILON) * noise_R
    concrete_R = torch.sigmoid(torch.logit(uniform_R) + logits_R)
    return (LOW + (HIGH - LOW) * concrete_R).clamp(0.0, 1.0)


def open_probability(logits_R: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """``(R,)``: how probably each gate is not 0; with all logits higher by ``shift``."""
    return torch.sigmoid(logits_R + SHIFT + shift)


def soft(logits_R: Tensor) -> Tensor:
    """``(R,)``: what an open gate multiplies by once nothing is drawn any more."""
    return torch.sigmoid(SOFTNESS * logits_R)
