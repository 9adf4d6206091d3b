r"""Hard-concrete gates: 0 or 1 with positive probability, and differentiable in between.

From arXiv:1712.01312, with the numbers of arXiv:1910.04732:

    u ~ U(ε, 1 − ε),   s = σ(logit u + a),   z = clip(1.2 s − 0.1, 0, 1)
    P(z > 0) = σ(a + log 11),   ẑ = σ(0.8 a)

Legend: R directions.
"""

import math

import torch
from torch import Tensor

EPSILON = 1e-6
LOW, HIGH = -0.1, 1.1
SHIFT = math.log(HIGH / -LOW)
SOFTNESS = 0.8
FIRST_LOGIT, LAST_LOGIT = 15.0, -1.0
"""Gates begin open, the less so the less their direction matters: the order is known beforehand, and the steps of a
noisy gradient should not change it before it is learnt."""


def first_logits(num_directions: int) -> Tensor:
    """``(num_directions,)``: what the gates of sorted directions begin at."""
    return torch.linspace(FIRST_LOGIT, LAST_LOGIT, num_directions)


def sampled(logits_R: Tensor, generator: torch.Generator) -> Tensor:
    """``(R,)`` in [0, 1]: one draw, through which gradients flow to the logits."""
    noise_R = torch.rand(logits_R.shape, generator=generator).to(logits_R)
    uniform_R = EPSILON + (1 - 2 * EPSILON) * noise_R
    concrete_R = torch.sigmoid(torch.logit(uniform_R) + logits_R)
    return (LOW + (HIGH - LOW) * concrete_R).clamp(0.0, 1.0)


def open_probability(logits_R: Tensor, shift: float = 0.0) -> Tensor:
    """``(R,)``: how probably each gate is not 0; with all logits higher by ``shift``."""
    return torch.sigmoid(logits_R + SHIFT + shift)


def soft(logits_R: Tensor) -> Tensor:
    """``(R,)``: what an open gate multiplies by once nothing is drawn any more."""
    return torch.sigmoid(SOFTNESS * logits_R)
