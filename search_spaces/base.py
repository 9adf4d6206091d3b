"""What a search space is: named choices, each an ordered list of sizes, and what a pick of sizes means.

A candidate holds one size per choice. Every combination of sizes is a valid sub-network by construction, so a
strategy may draw, mutate and cross over freely. Sizes name sub-networks because units are ranked by importance:
"4 KV groups" means the four best of that layer.

Legend: L layers, K KV groups, G query heads a group, N neurons, U query units of a head, D head_dim.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

Candidate = tuple[int, ...]
"""One index per choice, into that choice's ``sizes``; index 0 is the smallest."""


class SearchSpaceError(ValueError):
    """A search space that cannot be built as asked; the message says why and what to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One thing to decide.

    Attributes:
        name: Unique in its space, such as ``layer_3.neurons``.
        sizes: What may be chosen, strictly ascending; the last is the supernet's own.
    """

    name: str
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes or any(b <= a for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            raise ValueError(f"The sizes of choice {self.name!r} must ascend strictly, got {self.sizes}.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitRanking:
    """For each layer, its units from the most to the least important.

    Attributes:
        kv_groups_LK: ``(num_layers, num_kv_groups)`` int, each row a permutation.
        heads_LKG: ``(num_layers, num_kv_groups, heads_per_group)`` int: for each KV group (by its number, not its
            rank) the original numbers of its query heads, best first.
        neurons_LN: ``(num_layers, num_neurons)`` int, each row a permutation.
        attention_L: ``(num_layers,)`` float: importance of each attention sublayer, higher = keep.
        mlp_L: ``(num_layers,)`` float: importance of each MLP sublayer.
        queries_LKU: ``(num_layers, num_kv_groups, num_query_units)`` int, by the number of the group: the query units
            of its heads, best first; None for the order they are numbered in.
        values_LKD: ``(num_layers, num_kv_groups, head_dim)`` int: the same of value dimensions.
    """

    kv_groups_LK: NDArray[np.int64]
    heads_LKG: NDArray[np.int64]
    neurons_LN: NDArray[np.int64]
    attention_L: NDArray[np.float64]
    mlp_L: NDArray[np.float64]
    queries_LKU: NDArray[np.int64] | None = None
    values_LKD: NDArray[np.int64] | None = None

    @classmethod
    def as_numbered(cls, shape: SupernetShape) -> "UnitRanking":
        """The order of the original model, with every sublayer equally important."""
        layers, groups, neurons = shape.num_layers, shape.num_kv_groups, shape.num_neurons
        return cls(
            kv_groups_LK=np.tile(np.arange(groups), (layers, 1)),
            heads_LKG=np.tile(np.arange(shape.num_heads).reshape(groups, -1), (layers, 1, 1)),
            neurons_LN=np.tile(np.arange(neurons), (layers, 1)),
            attention_L=np.ones(layers),
            mlp_L=np.ones(layers),
        )

    def keep_best(
        self,
        shape: SupernetShape,
        *,
        kv_groups_L: NDArray[np.int64],
        heads_per_group_L: NDArray[np.int64],
        neurons_L: NDArray[np.int64],
    ) -> SubNetwork:
        """The sub-network that keeps, in each layer, the best units of the given numbers.

        Args:
            shape: The supernet's.
            kv_groups_L: ``(num_layers,)`` int, 0 drops the attention.
            heads_per_group_L: ``(num_layers,)`` int, query heads kept in every kept group.
            neurons_L: ``(num_layers,)`` int, 0 drops the MLP.
        """
        heads_LH = np.zeros((shape.num_layers, shape.num_heads), dtype=np.bool_)
        neurons_LN = np.zeros((shape.num_layers, shape.num_neurons), dtype=np.bool_)
        for layer in range(shape.num_layers):
            groups = self.kv_groups_LK[layer, : kv_groups_L[layer]]
            heads_LH[layer, self.heads_LKG[layer, groups, : heads_per_group_L[layer]].ravel()] = True
            neurons_LN[layer, self.neurons_LN[layer, : neurons_L[layer]]] = True
        return SubNetwork(shape=shape, heads_LH=heads_LH, neurons_LN=neurons_LN)

    def keep_dims(
        self, sub_network: SubNetwork, *, queries_L: NDArray[np.int64], values_L: NDArray[np.int64]
    ) -> SubNetwork:
        """The same heads and neurons, with the best dimensions of each head alone.

        Args:
            sub_network: What to cut.
            queries_L: ``(num_layers,)`` int, query units that the heads of each layer keep, 1 at least.
            values_L: ``(num_layers,)`` int, value dimensions, 1 at least.
        """
        shape = sub_network.shape
        groups = (shape.num_layers, shape.num_kv_groups)
        units_LKU = _first(self.queries_LKU, (*groups, shape.num_query_units), queries_L)
        pairs = shape.rotary_dims // 2
        return SubNetwork(
            shape=shape,
            heads_LH=sub_network.heads_LH,
            neurons_LN=sub_network.neurons_LN,
            queries_LKD=np.concatenate([units_LKU[..., :pairs], units_LKU], axis=2),
            values_LKD=_first(self.values_LKD, (*groups, shape.head_dim), values_L),
        )


def _first(
    order_LKU: NDArray[np.int64] | None, shape: tuple[int, int, int], counts_L: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """``shape`` bool: in each layer as many units as ``counts_L`` says, those that come first."""
    kept_LKU = np.broadcast_to(np.arange(shape[2]), shape) < counts_L[:, None, None]
    if order_LKU is None:
        return kept_LKU
    placed_LKU = np.zeros(shape, dtype=np.bool_)
    np.put_along_axis(placed_LKU, order_LKU, kept_LKU, axis=2)
    return placed_LKU


class SearchSpace(Protocol):
    """Named choices over a supernet."""

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What a candidate decides, in the order of its entries."""

    def canonical(self, candidate: Candidate) -> Candidate:
        """The one candidate that stands for all those with the same sub-network.

        (The widths of a dropped layer do not matter, for example.)
        """

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        """What the candidate keeps."""

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        """The canonical candidate whose counts are nearest to the sub-network's, never above them if avoidable."""


def num_candidates(space: SearchSpace) -> int:
    """How many combinations of sizes there are; some may stand for the same sub-network."""
    product = 1
    for choice in space.choices:
        product *= len(choice.sizes)
    return product


def largest(space: SearchSpace) -> Candidate:
    """The supernet itself."""
    return space.canonical(tuple(len(choice.sizes) - 1 for choice in space.choices))


def smallest(space: SearchSpace) -> Candidate:
    """Everything at its smallest size."""
    return space.canonical(tuple(0 for _ in space.choices))


def sample(space: SearchSpace, rng: np.random.Generator) -> Candidate:
    """A candidate with every choice drawn uniformly."""
    return space.canonical(tuple(int(rng.integers(len(choice.sizes))) for choice in space.choices))


def neighbours(space: SearchSpace, candidate: Candidate) -> Iterator[Candidate]:
    """Every other canonical candidate that differs by one step in one choice."""
    for position, choice in enumerate(space.choices):
        for step in (-1, 1):
            if 0 <= (index := candidate[position] + step) < len(choice.sizes):
                other = space.canonical((*candidate[:position], index, *candidate[position + 1 :]))
                if other != candidate:
                    yield other


def as_sizes(space: SearchSpace, candidate: Candidate) -> Mapping[str, int]:
    """The candidate with names and sizes instead of indices, for people."""
    return {choice.name: choice.sizes[index] for choice, index in zip(space.choices, candidate, strict=True)}
