"""Drawing the random sub-networks of a training step.

Evenly over choices, most sub-networks come out of middling size: the sum of many sizes has a narrow distribution, and
the small ones that a budget asks for are hardly ever trained. Calibrated sampling (arXiv:2410.06479) draws a bin of the
cost first, all with the same probability, then a sub-network inside it: one drawn evenly over choices, of which single
choices are drawn anew, upwards or downwards, until its cost lies in the bin.

The paper sorts a stock of sub-networks into bins beforehand; drawing them anew leaves none out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search_spaces.base import Candidate, SearchSpace, largest, sample, smallest
from search_spaces.sub_network import SubNetwork

Cost = Callable[[SubNetwork], float]
ATTEMPTS = 20
"""Walks towards a bin before it counts as out of reach."""
MOVES_PER_CHOICE = 4
"""Length of a walk."""


class SamplingError(ValueError):
    """Sub-networks cannot be drawn as asked; the message says why and what to choose."""


class Sampler(Protocol):
    """Draws sub-networks of a search space."""

    def draw(self, rng: np.random.Generator) -> SubNetwork:
        """A random one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSampler:
    """Every choice is drawn uniformly.

    Attributes:
        space: Where from.
    """

    space: SearchSpace

    def draw(self, rng: np.random.Generator) -> SubNetwork:
        """A random one."""
        return self.space.sub_network(sample(self.space, rng))


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedSampler:
    """Every bin of the cost is drawn uniformly, then a sub-network inside it.

    Attributes:
        space: Where from.
        cost: What a sub-network costs.
        edges: ``num_bins + 1`` costs, ascending from the smallest sub-network's to the supernet's.
        bins: Numbers of the bins that the space reaches; the others are never drawn.
    """

    space: SearchSpace
    cost: Cost
    edges: tuple[float, ...]
    bins: tuple[int, ...]

    @classmethod
    def over(cls, space: SearchSpace, cost: Cost, *, num_bins: int, seed: int) -> "CalibratedSampler":
        """Bins of equal width between the costs of the smallest sub-network and of the supernet.

        Args:
            space: Where sub-networks come from.
            cost: Growing with the sizes chosen, as parameters do.
            num_bins: At least 2.
            seed: For finding out which bins the space reaches.

        Raises:
            SamplingError: The smallest sub-network costs as much as the supernet.
        """
        low, high = (cost(space.sub_network(end(space))) for end in (smallest, largest))
        if not low < high:
            raise SamplingError(
                f"Calibrated sampling needs sub-networks of different cost, got {low:.6g} for the smallest and "
                f"{high:.6g} for the largest; widen the space, or set sampling.type to random."
            )
        edges = tuple(np.linspace(low, high, num_bins + 1).tolist())
        every = cls(space=space, cost=cost, edges=edges, bins=tuple(range(num_bins)))
        rng = np.random.default_rng(seed)
        reached = tuple(number for number in every.bins if every._walk_to(number, rng) is not None)
        return cls(space=space, cost=cost, edges=edges, bins=reached)

    def draw(self, rng: np.random.Generator) -> SubNetwork:
        """A random one."""
        while True:
            if (found := self._walk_to(self.bins[rng.integers(len(self.bins))], rng)) is not None:
                return found

    def bin_of(self, cost: float) -> int:
        """The number of the bin that a cost lies in."""
        return min(int(np.searchsorted(self.edges, cost, side="right")), len(self.edges) - 1) - 1

    def _walk_to(self, number: int, rng: np.random.Generator) -> SubNetwork | None:
        for _ in range(ATTEMPTS):
            candidate = sample(self.space, rng)
            for _ in range(MOVES_PER_CHOICE * len(self.space.choices)):
                sub_network = self.space.sub_network(candidate)
                here = self.bin_of(self.cost(sub_network))
                if here == number:
                    return sub_network
                moved = _moved(self.space, candidate, rng, up=here < number)
                if moved is None:
                    break
                candidate = moved
        return None


def _moved(space: SearchSpace, candidate: Candidate, rng: np.random.Generator, *, up: bool) -> Candidate | None:
    """The candidate with one choice drawn anew among its larger or its smaller sizes; None where there are none."""
    room = [
        position
        for position, (index, choice) in enumerate(zip(candidate, space.choices, strict=True))
        if (index < len(choice.sizes) - 1 if up else index > 0)
    ]
    if not room:
        return None
    position = room[rng.integers(len(room))]
    index, num_sizes = candidate[position], len(space.choices[position].sizes)
    drawn = int(rng.integers(index + 1, num_sizes) if up else rng.integers(index))
    return space.canonical((*candidate[:position], drawn, *candidate[position + 1 :]))
