"""What FLOP is told: how much to keep, how long and how fast to train."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from nas.long_work import without_free

MIN_STEPS = 10
"""Of a run: gates sink, close and are folded, and weights are trained on, for some steps each."""
PRECISIONS = ("no", "bf16", "fp16")


class FlopError(ValueError):
    """A training that cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopConfig:
    """One run of FLOP.

    Attributes:
        keep: Share of the weights of the factorisable matrices to keep at most, in (0, 1); with bands, the embedding is
            one of them.
        num_steps: Batches to train on, in all; 10 at least.
        embedding_bands: Into how many bands of tokens, by frequency, the embedding is cut to be pruned as well (with
            the head over the vocabulary where both are one table); 0 leaves it as it is.
        warmup_share: Of the steps, those in which the target sinks from everything to ``keep``.
        settled_share: Of the steps, the last ones, in which gates are fixed and folded, and weights alone are trained.
        learning_rate: Of the weights; it rises linearly over the first twentieth of the steps and falls linearly to 0.
        gate_travel: How far all logits can move together while the target sinks: the rate of their common shift is that
            by those steps. Gates begin at 45 to -3 and close at about -2.4.
        gate_learning: How far one logit can move against the others meanwhile.
        multiplier_learning_rate: Of the two multipliers, which ascend.
        curvature: What the multiplier of the squared violation begins at.
        num_whitening_batches: Batches whose activations sort the directions at the start, and whose losses sort the
            gates; 0 for plain SVD.
        weight_decay: Of matrices; never of gates.
        max_grad_norm: Longer gradients of the weights are scaled down to it.
        mixed_precision: ``no``, ``bf16`` or ``fp16``, as accelerate takes it; the weights trained are float32.
        device: As ``Supernet.load`` takes it.
        max_bad_steps: Steps whose loss or gradient is NaN or infinite are skipped; so many in a row end training.
        checkpoint_every: Steps between two checkpoints, where there is a place for them.
        seed: Of the gates' noise, of dropout and of the order of batches.

    Raises:
        FlopError: A number out of its range, or a precision that is none.
    """

    keep: float
    num_steps: int
    embedding_bands: int = 0
    warmup_share: float = 0.3
    settled_share: float = 0.5
    learning_rate: float = 1e-4
    gate_travel: float = 72.0
    gate_learning: float = 6.0
    multiplier_learning_rate: float = 5.0
    curvature: float = 50.0
    num_whitening_batches: int = 16
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    mixed_precision: str = "no"
    device: str = "auto"
    max_bad_steps: int = 10
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise FlopError(f"keep must lie between 0 and 1, both excluded, got {self.keep}; 0.5 keeps half.")
        if self.warmup_share <= 0 or self.settled_share < 0 or not self.warmup_share + self.settled_share < 1:
            raise FlopError(
                "warmup_share must be above 0, settled_share at least 0, and both together below 1, got "
                f"{self.warmup_share} and {self.settled_share}; 0.3 and 0.5 leave a fifth to hold the target."
            )
        for name in ("learning_rate", "gate_travel", "gate_learning", "multiplier_learning_rate", "max_grad_norm"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise FlopError(f"{name} must be a finite number above 0, got {value}; leave it at its default.")
        for name in ("curvature", "weight_decay"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise FlopError(f"{name} must be a finite number of at least 0, got {value}; 0 leaves it out.")
        if self.mixed_precision not in PRECISIONS:
            raise FlopError(
                f"mixed_precision must be one of {', '.join(PRECISIONS)}, got {self.mixed_precision!r}; set 'no'."
            )
        least_of = {
            "num_steps": MIN_STEPS,
            "embedding_bands": 0,
            "num_whitening_batches": 0,
            "max_bad_steps": 1,
            "checkpoint_every": 1,
        }
        for name, least in least_of.items():
            if (count := getattr(self, name)) < least:
                raise FlopError(f"{name} must be at least {least}, got {count}; raise it.")

    @property
    def decisive(self) -> dict[str, Any]:
        """What the result depends on."""
        return without_free(asdict(self), "device")

    @property
    def num_warmup_steps(self) -> int:
        """Steps in which the target sinks."""
        return max(1, round(self.warmup_share * self.num_steps))

    @property
    def num_settled_steps(self) -> int:
        """Steps after the gates were folded."""
        return int(self.settled_share * self.num_steps)

    @property
    def num_gated_steps(self) -> int:
        """Steps in which gates are drawn and trained."""
        return self.num_steps - self.num_settled_steps
