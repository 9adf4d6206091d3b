r"""How much of the matrices (and bands of the embedding) is kept, and the constraint that it be the target.

    kept = Σ over matrices of min(E‖z‖₀ (m + n), m n) / Σ m n
    objective = loss + λ₁ (kept − t) + λ₂ (kept − t)²,   λ₁, λ₂ by gradient ascent

From break-even on a matrix costs m n, since it goes back to one product. There the minimum is flat, so the gradient
taken is that of the rank: it is what leads below break-even. (The paper's layers begin at break-even, which costs
quality before anything was learnt; here they begin at full rank.)
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.flop.gates import open_probability
from nas.supernet.low_rank.energies import Place


class Gated(Protocol):
    """Two factors with a gate for each direction between them."""

    logits: nn.Parameter

    @property
    def sides(self) -> int:
        """Weights of one direction."""

    @property
    def dense(self) -> int:
        """Weights of the one product."""

    def draw(self, generator: torch.Generator, shift: Tensor | float = 0.0) -> None:
        """Draws the gates of the next forward pass, all logits higher by ``shift``."""


def expected_share(gated: Sequence[Gated], shift: Tensor | float = 0.0) -> Tensor:
    """The share of weights that is kept, on average over the gates; differentiable in their logits and the shift."""
    kept = [_kept(open_probability(one.logits, shift).sum(), one) for one in gated]
    return torch.stack(kept).sum() / sum(one.dense for one in gated)


def share_at(gated: Mapping[Place, Gated], ranks: Mapping[Place, int]) -> float:
    """The share of weights that is kept at those ranks."""
    kept = sum(min(ranks[place] * one.sides, one.dense) for place, one in gated.items())
    return kept / sum(one.dense for one in gated.values())


def least_share(gated: Mapping[Place, Gated]) -> float:
    """The share of weights at rank 1."""
    return share_at(gated, dict.fromkeys(gated, 1))


@torch.no_grad()
def settled_ranks(gated: Mapping[Place, Gated], target: float) -> dict[Place, int]:
    """Ranks to settle at: the rounded numbers of gates expected to be open, as many more or fewer as meet the target.

    All logits are shifted by one number, found by bisection: 0 where training met the target exactly.

    Args:
        gated: By place.
        target: At most that share is kept, unless rank 1 everywhere is above it.
    """

    def ranks(shift: float) -> dict[Place, int]:
        return {place: max(1, round(open_probability(one.logits, shift).sum().item())) for place, one in gated.items()}

    below, above = -50.0, 50.0
    for _ in range(40):
        middle = (below + above) / 2
        if share_at(gated, ranks(middle)) <= target:
            below = middle
        else:
            above = middle
    return ranks(below)


class Multipliers:
    """λ₁ and λ₂ of the augmented Lagrangian.

    Attributes:
        linear: λ₁, of either sign.
        quadratic: λ₂.
    """

    def __init__(self, *, curvature: float) -> None:
        self.linear = 0.0
        self.quadratic = curvature

    def state_dict(self) -> dict[str, float]:
        """Both."""
        return {"linear": self.linear, "quadratic": self.quadratic}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Takes over what ``state_dict`` gave."""
        self.linear, self.quadratic = state["linear"], state["quadratic"]

    def penalty(self, share: Tensor, target: float) -> Tensor:
        """What is added to the loss."""
        violation = share - target
        return self.linear * violation + self.quadratic * violation.square()

    def ascend(self, share: float, target: float, learning_rate: float) -> None:
        """One step of gradient ascent."""
        violation = share - target
        self.linear += learning_rate * violation
        self.quadratic += learning_rate * violation**2


def _kept(rank: Tensor, one: Gated) -> Tensor:
    counted = rank * one.sides
    return counted + (counted.clamp(max=one.dense) - counted).detach()
