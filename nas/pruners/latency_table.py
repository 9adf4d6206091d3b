"""Seconds of attention and MLP at each width, the same for all layers.

    seconds of a sub-network = fixed + Σ over layers (attention(groups kept) + mlp(neurons kept))

After the lookup table of arXiv:2204.09656 (Kwon et al.), which fits one flat and one linear piece per sublayer. Here
the measurements themselves are joined by lines, after a running maximum: noise must not make more units cheaper. Below
the smallest measured width the first line is carried on, so that a sublayer that is as slow with few units as with
many is not taken to be fast with very few; never further down than a line to the origin, which is where a table of
two widths, or one that is linear from the start, ends up.

Legend: K KV groups, W measured widths, L layers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.pruners.errors import PrunerInputError

Floats = NDArray[np.float64]
TOLERANCE = 0.05
"""How much more than the least a width may take and still count as taking as long."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LatencyTable:
    """What was measured. All times are in seconds.

    Attributes:
        fixed_s: Everything outside of attention and MLP.
        attention_s: ``(num_kv_groups + 1,)``: an attention sublayer with 0, 1, … groups kept; 0.0 for none.
        mlp_widths: ``(num_widths,)`` int, ascending from 0 to all neurons.
        mlp_s: ``(num_widths,)``: an MLP with so many neurons kept; 0.0 for none.

    Raises:
        PrunerInputError: A shape, a width or a time that breaks these rules; NaN, infinite and negative times do.
    """

    fixed_s: float
    attention_s: Floats
    mlp_widths: NDArray[np.int64]
    mlp_s: Floats

    def __post_init__(self) -> None:
        for name, dtype in (("attention_s", np.float64), ("mlp_widths", np.int64), ("mlp_s", np.float64)):
            array = np.array(getattr(self, name), dtype=dtype)  # a private copy
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        times_s = np.concatenate([[self.fixed_s], self.attention_s.ravel(), self.mlp_s.ravel()])
        if not (np.isfinite(times_s).all() and (times_s >= 0).all()):
            raise PrunerInputError(
                f"Times in a latency table must be finite and at least 0 s, got {times_s.min():.6g} s at the least; "
                "measure again."
            )
        if self.attention_s.ndim != 1 or len(self.attention_s) < 2 or self.attention_s[0] != 0:
            raise PrunerInputError(
                "attention_s must hold the seconds of 0, 1, … groups, 0.0 for none, "
                f"got {self.attention_s.tolist()}; put 0.0 first and one time for each number of groups after it."
            )
        if len(self.mlp_widths) < 2 or self.mlp_widths[0] != 0 or (np.diff(self.mlp_widths) <= 0).any():
            raise PrunerInputError(
                f"mlp_widths must ascend from 0 to all neurons, got {self.mlp_widths.tolist()}; sort them and add 0."
            )
        if self.mlp_s.shape != self.mlp_widths.shape or self.mlp_s[0] != 0:
            raise PrunerInputError(
                f"mlp_s must hold one time for each of the {len(self.mlp_widths)} widths, 0.0 for none, "
                f"got {self.mlp_s.tolist()}; put 0.0 first and one time for each width after it."
            )

    @property
    def num_kv_groups(self) -> int:
        """Of each layer."""
        return len(self.attention_s) - 1

    @property
    def num_neurons(self) -> int:
        """Of each layer."""
        return int(self.mlp_widths[-1])

    def attention_at(self, num_groups: ArrayLike) -> Floats:
        """Seconds of attention sublayers with so many groups; of the same shape. Never less for more groups."""
        times_s: Floats = np.maximum.accumulate(self.attention_s)[np.asarray(num_groups, dtype=np.int64)]
        return times_s

    def mlp_at(self, num_neurons: ArrayLike) -> Floats:
        """Seconds of MLPs with so many neurons; of the same shape. Never less for more neurons."""
        neurons = np.asarray(num_neurons, dtype=np.float64)
        rising_s = np.maximum.accumulate(self.mlp_s)
        times_s: Floats = np.interp(neurons, self.mlp_widths, rising_s)
        if len(rising_s) > 2:
            (first, second), (first_s, second_s) = self.mlp_widths[1:3], rising_s[1:3]
            carried_on_s = first_s - (first - neurons) * (second_s - first_s) / (second - first)
            times_s = np.where((neurons > 0) & (neurons < first), np.maximum(times_s, carried_on_s), times_s)
        return times_s

    def of(self, num_groups_L: ArrayLike, num_neurons_L: ArrayLike) -> float:
        """Seconds of a sub-network.

        Args:
            num_groups_L: ``(num_layers,)`` int, KV groups kept.
            num_neurons_L: ``(num_layers,)`` int, neurons kept.
        """
        return math.fsum([self.fixed_s, *self.attention_at(num_groups_L), *self.mlp_at(num_neurons_L)])

    def attention_flat_until(self, *, tolerance: float = TOLERANCE) -> int:
        """The most groups that take as long as one group does, give or take a share of ``tolerance``."""
        return _flat_until(self.attention_at(np.arange(self.num_kv_groups + 1)), tolerance)

    def mlp_flat_until(self, *, tolerance: float = TOLERANCE) -> int:
        """The most neurons that take as long as one neuron does, give or take a share of ``tolerance``."""
        return _flat_until(self.mlp_at(np.arange(self.num_neurons + 1)), tolerance)

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` reads."""
        return {
            "fixed_s": self.fixed_s,
            "attention_s": self.attention_s.tolist(),
            "mlp_widths": self.mlp_widths.tolist(),
            "mlp_s": self.mlp_s.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "LatencyTable":
        """The table that ``to_json`` wrote.

        Raises:
            PrunerInputError: See the class.
        """
        return cls(
            fixed_s=float(record["fixed_s"]),
            attention_s=np.array(record["attention_s"], dtype=np.float64),
            mlp_widths=np.array(record["mlp_widths"], dtype=np.int64),
            mlp_s=np.array(record["mlp_s"], dtype=np.float64),
        )


def _flat_until(times_s: Floats, tolerance: float) -> int:
    return int(np.flatnonzero(times_s <= (1 + tolerance) * times_s[1])[-1])
