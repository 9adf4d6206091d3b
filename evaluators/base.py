"""What an evaluator is: something that looks at a model and returns measurements with their uncertainty."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:  # torch takes seconds to import, and who only reads measurements does not need it
    from torch import nn

Direction = Literal["minimize", "maximize"]

RATIO_SUFFIX = "_ratio"
"""Behind a measurement's name: its ratio to the supernet's, measured in alternation."""
SUPERNET_SUFFIX = "_supernet"
"""Behind a measurement's name: the supernet's own value meanwhile."""
BEFORE_RECOVERY_SUFFIX = "_before_recovery"
"""Behind a score's name: what it was before the sub-network was recovered by training."""
COST_UNITS = frozenset({"s", "bytes", "flops", "parameters"})
"""Units of what a model costs, whatever its weights say; anything else is a score."""
NOT_RECOVERED = "not_recovered"
"""The flag of a score that training did not better, so that the sub-network keeps the weights it had."""


class EvaluationError(ValueError):
    """An evaluator was asked for something it cannot do; the message says what and how to mend it."""


def require_count(name: str, count: object, *, least: int) -> None:
    """Checks an option that counts something.

    Raises:
        EvaluationError: It is no whole number, or too small.
    """
    if not isinstance(count, int) or isinstance(count, bool):
        raise EvaluationError(f"{name} must be a whole number, got {count!r}; give one.")
    if count < least:
        raise EvaluationError(f"{name} must be at least {least}, got {count}; raise it.")


def require_counts(options: Any, least: Mapping[str, int]) -> None:
    """Checks several at once; None is as good as a count where it is the default.

    Args:
        options: A dataclass that has them.
        least: The smallest allowed, by name.

    Raises:
        EvaluationError: As for ``require_count``.
    """
    for one in fields(options):
        count = getattr(options, one.name)
        if one.name in least and not (count is None and one.default is None):
            require_count(one.name, count, least=least[one.name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number with its unit and its uncertainty.

    Attributes:
        value: The point estimate: a median for latency, a mean for scores, an exact count for parameters.
        unit: ``s``, ``bytes``, ``flops``, ``parameters``, ``accuracy``, ``perplexity``.
        ci95: Bounds of the 95 % confidence interval; None where the number is exact.
        n: How many repeats or examples stand behind it.
        p90: The 90th percentile of the repeats, where that says something.
        flags: What a reader must know: ``wide_interval``, ``contended``.
    """

    value: float
    unit: str
    ci95: tuple[float, float] | None = None
    n: int = 1
    p90: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def relative_half_width(self) -> float:
        """Half the 95 % interval as a share of the value; 0 for an exact number, infinite for a value of 0 or NaN."""
        if self.ci95 is None:
            return 0.0
        low, high = self.ci95
        share = (high - low) / 2 / abs(self.value) if self.value else math.inf
        return math.inf if math.isnan(share) else share

    def scaled(self, factor: float, *, unit: str) -> Self:
        """The same in another unit, of which ``factor`` make one of the old."""
        return replace(
            self,
            value=self.value * factor,
            unit=unit,
            ci95=None if self.ci95 is None else (self.ci95[0] * factor, self.ci95[1] * factor),
            p90=None if self.p90 is None else self.p90 * factor,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the fields that say nothing. NaN becomes None, as JSON has no NaN."""

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        record: dict[str, Any] = {"value": number(self.value), "unit": self.unit, "n": self.n}
        record["ci95"] = None if self.ci95 is None else [number(bound) for bound in self.ci95]
        if self.p90 is not None:
            record["p90"] = number(self.p90)
        if self.flags:
            record["flags"] = list(self.flags)
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""

        def number(value: float | None) -> float:
            return math.nan if value is None else float(value)

        ci95 = record.get("ci95")
        return cls(
            value=number(record["value"]),
            unit=record["unit"],
            ci95=None if ci95 is None else (number(ci95[0]), number(ci95[1])),
            n=record["n"],
            p90=record.get("p90"),
            flags=tuple(record.get("flags", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is being evaluated.

    Attributes:
        model: A transformers model in eval mode: a standalone one, or a supernet with a sub-network active.
        tokenizer: The model's ``PreTrainedTokenizerBase``; None for evaluators that need no text.
        reference: Enters the supernet in the model's place and yields it, so that a latency can be taken in
            alternation; on leaving, ``model`` is what it was. None when there is nothing to compare with.
        reference_measurements: What the reference measured when the search began, by name; empty until then.
    """

    model: "nn.Module"
    tokenizer: Any = None
    reference: "Callable[[], AbstractContextManager[nn.Module]] | None" = None
    reference_measurements: Mapping[str, Measurement] = field(default_factory=dict)


class Evaluator(Protocol):
    """Judges models. Built once a search, so that what all candidates share is prepared once."""

    @property
    def name(self) -> str:
        """The measurement that serves as objective, such as ``decode_latency``."""

    @property
    def unit(self) -> str:
        """Unit of that measurement."""

    @property
    def direction(self) -> Direction:
        """Which way is better."""

    @property
    def varies(self) -> bool:
        """Whether the same model measured twice may give two values (latency does, parameters do not)."""

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Measures the subject.

        Returns:
            At least the measurement called ``name``; more where they come for free (one per lm-eval task).

        Raises:
            EvaluationError: The subject or the task does not allow it. Anything else fails the trial.
        """
