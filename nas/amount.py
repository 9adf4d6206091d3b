"""Amounts as people write them in budgets: ``4.1ms``, ``0.6x``, ``4M``, ``1.5GiB``."""

import math
import re
from dataclasses import dataclass

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_SUFFIXES: dict[str, dict[str, float]] = {
    "s": {"": 1.0, **_SECONDS},
    "bytes": _BYTES,
    "parameters": _COUNTS,
    "flops": _COUNTS,
}
_DURATIONS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ%]*)\s*")


class AmountError(ValueError):
    """A text that is no amount, or one in a unit that does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number with a suffix, not yet in any unit.

    Attributes:
        number: What stands before the suffix.
        suffix: ``x`` means "times the supernet's own"; empty means the measurement's stored unit.
    """

    number: float
    suffix: str = ""

    @property
    def is_relative(self) -> bool:
        """Whether it is a multiple of what the supernet measures."""
        return self.suffix == "x"

    def __str__(self) -> str:
        """As people write it, every digit kept."""
        return f"{self.number!r}".removesuffix(".0") + self.suffix

    def absolute(self, unit: str, supernet: float) -> float:
        """The amount in ``unit``.

        Args:
            unit: Of the measurement: ``s``, ``bytes``, ``parameters``, ``flops``, or another that takes no suffix.
            supernet: What the supernet measures, in that unit.

        Raises:
            AmountError: The suffix does not go with the unit.
        """
        if self.is_relative:
            return self.number * supernet
        return self.number * self.factor(unit)

    def factor(self, unit: str) -> float:
        """What the suffix multiplies by, in ``unit``.

        Raises:
            AmountError: The suffix does not go with the unit.
        """
        factors = _SUFFIXES.get(unit, {"": 1.0})
        if self.suffix not in factors:
            known = ", ".join(suffix for suffix in (*factors, "x") if suffix)
            raise AmountError(
                f"An amount in {unit} must end in {known} or nothing, got '{self}'; write it in one of these."
            )
        return factors[self.suffix]


def parse_amount(text: str | float) -> Amount:
    """Reads an amount.

    Args:
        text: A positive number with an optional suffix, as ``4.1ms``.

    Raises:
        AmountError: It is no such thing.
    """
    match = _AMOUNT.fullmatch(str(text))
    if match is None or not 0 < float(match[1]) < math.inf:
        raise AmountError(f"An amount must be a positive number with a unit, got {text!r}; write 4.1ms, 0.6x or 4M.")
    return Amount(number=float(match[1]), suffix=match[2])


def parse_duration_s(text: str | float) -> float:
    """Reads a duration such as ``20m``, ``1.5h`` or ``90s``, in seconds; a bare number is seconds.

    Raises:
        AmountError: It is no such thing.
    """
    try:
        amount = parse_amount(text)
        return amount.number * _DURATIONS[amount.suffix]
    except (AmountError, KeyError) as error:
        raise AmountError(
            f"A duration must be a positive number that ends in s, m or h, got {text!r}; write 90s, 20m or 1.5h."
        ) from error
