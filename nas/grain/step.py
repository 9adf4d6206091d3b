"""What GRAIN tells after every step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GrainStep:
    """How a run stands after a step.

    Attributes:
        number: Steps done.
        num_steps: Steps in all.
        cross_entropy: Of this step's batch; NaN or infinite where the step was skipped.
        hidden: The hidden states' error, with its weight.
        density: Share of the parameters of units that is kept.
        target: What that is led to.
        learning_rate: Of this step.
        num_skipped: Steps so far whose loss or gradient was infinite or NaN.
    """

    number: int
    num_steps: int
    cross_entropy: float
    hidden: float
    density: float
    target: float
    learning_rate: float
    num_skipped: int

    @property
    def loss(self) -> float:
        """Both together."""
        return self.cross_entropy + self.hidden

    @property
    def scalars(self) -> dict[str, float]:
        """For TensorBoard."""
        return {
            "loss/cross_entropy": self.cross_entropy,
            "loss/hidden": self.hidden,
            "density/kept": self.density,
            "density/target": self.target,
            "learning_rate": self.learning_rate,
            "skipped_steps": self.num_skipped,
        }
