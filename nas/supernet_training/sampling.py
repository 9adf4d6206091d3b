"""Drawing the random sub-networks of a training step.

Evenly over choices, most sub-networks come out of middling size: the sum of many sizes has a narrow distribution, and
the small ones that a budget asks for are hardly ever trained. Calibrated sampling (arXiv:2410.06479) draws a bin of the
cost first, all with the same probability, then a sub-network inside it: one drawn evenly over choices, of which single
choices are drawn anew, upwards or downwards, until its cost lies in the bin.

The paper sorts a stock of sub-networks into bins beforehand; drawing them anew leaves none out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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

    def smallest(self, rng: np.random.Generator) -> SubNetwork:
        """The smallest that training is for."""


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

    def smallest(self, rng: np.random.Generator) -> SubNetwork:
        """The space's."""
        del rng
        return self.space.sub_network(smallest(self.space))


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedSampler:
    """Every bin of the cost is drawn uniformly, then a sub-network inside it.

    Attributes:
        space: Where from.
        cost: What a sub-network costs.
        edges: ``num_bins + 1`` costs, ascending to the supernet's.
        bins: Numbers of the bins that the space reaches; the others are never drawn.
        has_floor: Whether the space goes on below the lowest bin, to sub-networks that are not trained.
    """

    space: SearchSpace
    cost: Cost
    edges: tuple[float, ...]
    bins: tuple[int, ...]
    has_floor: bool = False

    @classmethod
    def over(
        cls, space: SearchSpace, cost: Cost, *, num_bins: int, seed: int, min_share: float = 0.0
    ) -> "CalibratedSampler":
        """Bins of equal width up to the cost of the supernet, from that of the smallest sub-network or a share of it.

        Args:
            space: Where sub-networks come from.
            cost: Growing with the sizes chosen, as parameters do.
            num_bins: At least 2.
            seed: For finding out which bins the space reaches.
            min_share: Of the supernet's cost, below which nothing is drawn.

        Raises:
            SamplingError: The smallest sub-network costs as much as the supernet.
        """
        least, high = (cost(space.sub_network(end(space))) for end in (smallest, largest))
        low = max(least, min_share * high)
        if not low < high:
            raise SamplingError(
                f"Calibrated sampling needs sub-networks of different cost, got {least:.6g} for the smallest and "
                f"{high:.6g} for the largest; widen the space, or set sampling.type to random."
            )
        edges = tuple(np.linspace(low, high, num_bins + 1).tolist())
        every = cls(space=space, cost=cost, edges=edges, bins=tuple(range(num_bins)), has_floor=least < low)
        rng = np.random.default_rng(seed)
        reached = tuple(number for number in every.bins if every._walk_to(number, rng) is not None)
        return replace(every, bins=reached)

    def draw(self, rng: np.random.Generator) -> SubNetwork:
        """A random one."""
        while True:
            if (found := self._walk_to(self.bins[rng.integers(len(self.bins))], rng)) is not None:
                return found

    def smallest(self, rng: np.random.Generator) -> SubNetwork:
        """The space's, or where that is not to be trained one out of the lowest bin."""
        if not self.has_floor:
            return self.space.sub_network(smallest(self.space))
        while True:
            if (found := self._walk_to(self.bins[0], rng)) is not None:
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
