"""The widths of layers as choices: what ``uniform``, ``per_layer`` and ``joint`` have in common.

A layer has three widths: KV groups, query heads in each kept group, and neurons. A width that can take only one size
is not a choice, so a candidate has no entry for it.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from search_spaces.base import Candidate, Choice, SearchSpaceError, UnitRanking
from search_spaces.loadable import Limits
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

HeadGranularity = Literal["kv_group", "head", "fixed"]
"""How finely attention is searched: whole KV groups with all their query heads; KV groups and query heads a group;
or not at all."""

DEFAULT_NEURONS_MULTIPLE_OF = 32


class Widths(NamedTuple):
    """The widths of one layer; 0 KV groups = attention dropped, 0 neurons = MLP dropped."""

    kv_groups: int
    heads_per_group: int
    neurons: int


class WidthSizes(NamedTuple):
    """The sizes that each width of a layer may take, ascending."""

    kv_groups: tuple[int, ...]
    heads_per_group: tuple[int, ...]
    neurons: tuple[int, ...]

    def droppable(self, *, attention: bool) -> "WidthSizes":
        """The same sizes, and 0 for the MLP and, where ``attention`` is true, for the attention."""
        return self._replace(
            kv_groups=(0, *self.kv_groups) if attention else self.kv_groups, neurons=(0, *self.neurons)
        )


class Counts(NamedTuple):
    """The units that one layer of a sub-network keeps."""

    kv_groups: int
    heads: int
    neurons: int


def width_sizes(
    shape: SupernetShape, limits: Limits, *, heads: HeadGranularity, neurons_multiple_of: int | None
) -> WidthSizes:
    """The sizes of a layer of which no sublayer is dropped.

    Args:
        shape: The supernet's.
        limits: What the runtimes ask for; MLP widths are multiples of theirs and of ``neurons_multiple_of``.
        heads: How finely attention is searched.
        neurons_multiple_of: Step between MLP widths; the full width is always among them. None means 32, or less in
            an MLP of fewer than 256 neurons: the power of two that leaves eight widths or more.

    Raises:
        SearchSpaceError: An unknown granularity, or a step that no narrower MLP is a multiple of.
    """
    if heads not in get_args(HeadGranularity):
        raise SearchSpaceError(f"heads must be one of {', '.join(get_args(HeadGranularity))}, got {heads!r}.")
    default = min(DEFAULT_NEURONS_MULTIPLE_OF, 1 << (max(1, shape.num_neurons // 8).bit_length() - 1))
    wanted = default if neurons_multiple_of is None else neurons_multiple_of
    step = math.lcm(wanted, limits.neurons_multiple_of)
    if wanted < 1 or step > shape.num_neurons:
        raise SearchSpaceError(
            f"neurons_multiple_of must be at least 1 and, in common with the multiple of {limits.neurons_multiple_of} "
            f"that loadable_by asks for, at most the supernet's {shape.num_neurons} neurons a layer, got {wanted}; "
            f"choose {math.lcm(default, limits.neurons_multiple_of)}."
        )
    groups, per_group = shape.num_kv_groups, shape.heads_per_group
    return WidthSizes(
        kv_groups=(groups,) if heads == "fixed" else tuple(range(1, groups + 1)),
        heads_per_group=tuple(range(1, per_group + 1)) if heads == "head" else (per_group,),
        neurons=(*range(step, shape.num_neurons, step), shape.num_neurons),
    )


def counts_by_layer(sub_network: SubNetwork) -> list[Counts]:
    """What each layer keeps."""
    return [
        Counts(*counts)
        for counts in zip(sub_network.num_kv_groups, sub_network.num_heads, sub_network.num_neurons, strict=True)
    ]


def keep_widths(shape: SupernetShape, ranking: UnitRanking, widths: Sequence[Widths]) -> SubNetwork:
    """The sub-network whose layers keep their best units, as many as ``widths`` says, one entry a layer."""
    kv_groups_L, heads_per_group_L, neurons_L = np.array(widths, dtype=np.int64).T
    return ranking.keep_best(shape, kv_groups_L=kv_groups_L, heads_per_group_L=heads_per_group_L, neurons_L=neurons_L)


class WidthChoices:
    """Converts between candidates and the widths of one or more layers.

    Attributes:
        choices: In the order of a candidate's entries: layer by layer, KV groups, heads a group, neurons.
    """

    def __init__(self, sizes_by_prefix: Mapping[str, WidthSizes], limits: Limits) -> None:
        """Args: the sizes of each layer, by what its choices' names begin with; what the runtimes ask for."""
        self._sizes = tuple(sizes_by_prefix.values())
        self._limits = limits
        self.choices = tuple(
            Choice(name=prefix + name, sizes=sizes)
            for prefix, layer in sizes_by_prefix.items()
            for name, sizes in layer._asdict().items()
            if len(sizes) > 1
        )

    def widths(self, candidate: Candidate) -> list[Widths]:
        """What the candidate means for each layer: a width that does not matter is 0."""
        indices = iter(candidate)
        chosen = [
            Widths(*[sizes[next(indices)] if len(sizes) > 1 else sizes[0] for sizes in layer]) for layer in self._sizes
        ]
        return [self._without_idle_widths(widths) for widths in chosen]

    def canonical(self, candidate: Candidate) -> Candidate:
        """The candidate with the smallest index for each width that does not matter."""
        return self._at_most(self.widths(candidate))

    def nearest(self, counts: Sequence[Counts]) -> Candidate:
        """The canonical candidate with the most units not above ``counts``, one entry a layer.

        Where even the smallest size is above a count, it is the smallest size.
        """
        widths = []
        for (kv_groups, heads, neurons), sizes in zip(counts, self._sizes, strict=True):
            # Groups that must keep all their heads: as many as the kept heads would fill.
            kv_groups = _floor(sizes.kv_groups, min(kv_groups, heads // sizes.heads_per_group[0]))
            widths.append(Widths(kv_groups, heads // max(1, kv_groups), neurons))
        return self.canonical(self._at_most(widths))

    def _without_idle_widths(self, widths: Widths) -> Widths:
        if widths.kv_groups:
            return widths
        return Widths(0, 0, 0 if self._limits.mlp_needs_attention else widths.neurons)

    def _at_most(self, widths: Sequence[Widths]) -> Candidate:
        return tuple(
            _floor_index(sizes, width)
            for layer, wanted in zip(self._sizes, widths, strict=True)
            for sizes, width in zip(layer, wanted, strict=True)
            if len(sizes) > 1
        )


def _floor_index(sizes: Sequence[int], count: int) -> int:
    return max(0, bisect_right(sizes, count) - 1)


def _floor(sizes: Sequence[int], count: int) -> int:
    return sizes[_floor_index(sizes, count)]
