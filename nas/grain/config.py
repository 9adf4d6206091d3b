"""How GRAIN trains and prunes; the defaults are the paper's where it gives any."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nas.long_work import without_free


class GrainError(ValueError):
    """A pruning that cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrainConfig:
    """Settings of one run.

    Attributes:
        density: Share of the parameters of units (within heads, and neurons) to keep; below 1, or 1 where the embedding
            is factorised.
        num_steps: Steps of training in all.
        embedding_rank: At which the token embedding is factorised before training begins, and the head over the
            vocabulary with it where both are one table; None leaves it as it is. The density does not count it.
        prune_from: Share of the steps after which units begin to leave.
        prune_until: Share of the steps after which the density is reached; training goes on without removals.
        units: ``dims`` within heads, or whole ``heads`` (a KV group with its query heads); neurons in either case.
        regularise_structure: Whether values of heads that have few left count for less, which empties whole heads.
        structure_width: The α of tanh(density / α).
        smoothing: The β of the scores' exponential moving average.
        temperature: Of the soft cross-entropy.
        hidden_weight: Of the hidden states' mean squared error beside the cross-entropy.
        learning_rate: Highest rate of AdamW; it rises over the first tenth of the steps and falls linearly to 0.
        weight_decay: Of matrices.
        max_grad_norm: Gradients are clipped to it.
        dropout: Whether the student's dropout is at work; a student far smaller than its teacher can do without.
        bfloat16: Whether matrix products run in bfloat16 (autocast); weights stay in float32.
        max_bad_steps: Steps whose loss or gradient is infinite or NaN are skipped; so many in a row end training.
        checkpoint_every: Steps between two checkpoints, where there is a place for them.
        seed: Decides the order of batches and dropout.

    Raises:
        GrainError: A number out of its range.
    """

    density: float
    num_steps: int
    embedding_rank: int | None = None
    prune_from: float = 0.2
    prune_until: float = 0.4
    units: Literal["dims", "heads"] = "dims"
    regularise_structure: bool = True
    structure_width: float = 0.3
    smoothing: float = 0.998
    temperature: float = 8.0
    hidden_weight: float = 1.0
    learning_rate: float = 3e-5
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    dropout: bool = True
    bfloat16: bool = False
    max_bad_steps: int = 10
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        # With the embedding factorised, a budget may leave room for all units.
        if not (0 < self.density < 1 or (self.density == 1 and self.embedding_rank is not None)):
            raise GrainError(f"density must lie between 0 and 1, got {self.density}; choose 0.1 for a tenth.")
        if not 0 <= self.prune_from < self.prune_until <= 1:
            raise GrainError(
                f"Removals must begin before they end, within the training, got prune_from={self.prune_from} and "
                f"prune_until={self.prune_until}; choose 0.2 and 0.4."
            )
        for name in ("num_steps", "max_bad_steps", "checkpoint_every"):
            if (count := getattr(self, name)) < 1:
                raise GrainError(f"{name} must be at least 1, got {count}; raise it.")
        for name in ("structure_width", "temperature", "learning_rate", "max_grad_norm"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise GrainError(f"{name} must be a finite number above 0, got {value}; leave it at its default.")
        for name in ("hidden_weight", "weight_decay"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise GrainError(f"{name} must be a finite number of at least 0, got {value}; 0 leaves it out.")
        if not 0 <= self.smoothing < 1:
            raise GrainError(f"smoothing must lie between 0 and 1, 1 excluded, got {self.smoothing}; 0.998 is usual.")

    @property
    def decisive(self) -> dict[str, Any]:
        """What the result depends on."""
        return without_free(asdict(self))

    @property
    def last_removal(self) -> int:
        """The number of steps after which nothing is removed any more, 1 at least."""
        return max(1, round(self.prune_until * self.num_steps))

    def density_after(self, step: int) -> float:
        """The share to keep after so many steps: 1 at first, falling to ``density`` by a cubic curve."""
        begin, end = self.prune_from * self.num_steps, self.last_removal
        if step >= end:
            return self.density
        remaining = 1 - max(0.0, step - begin) / (end - begin)
        return float(self.density + (1 - self.density) * remaining**3)
