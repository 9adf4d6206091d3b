"""Widths and drops as in ``joint``, and the widths of heads: how many query and value dimensions they keep.

The units of GRAIN (arXiv:2212.07634): a query unit is a row of the query projection with the row of the key projection
that it meets, a value unit a row of the value projection with the column of the output projection behind it. Here all
heads of a layer keep the same number, and the query heads of a KV group the same ones; where positions turn dimensions
in pairs, a query unit is a pair.
"""

from collections.abc import Sequence

import numpy as np

from search_spaces.base import Candidate, Choice, SearchSpaceError, UnitRanking
from search_spaces.joint import JointSpace
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from search_spaces.widths import HeadGranularity


class IntraAttentionSpace:
    """The choices of ``joint``, then ``layer_3.queries`` and ``layer_3.values``: units kept in each head."""

    def __init__(
        self,
        shape: SupernetShape,
        ranking: UnitRanking,
        *,
        heads: HeadGranularity = "kv_group",
        neurons_multiple_of: int | None = None,
        dims_multiple_of: int | None = None,
        loadable_by: Sequence[str] = (),
    ) -> None:
        """Builds the space.

        Args:
            shape: The supernet's.
            ranking: Which units go first in each layer and head.
            heads: How finely attention is searched beside the widths of its heads.
            neurons_multiple_of: Step between MLP widths; see ``width_sizes`` for the default.
            dims_multiple_of: Step between widths of a head, in dimensions; a quarter of the head where none is given.
            loadable_by: Runtimes that must be able to load every sub-network.

        Raises:
            SearchSpaceError: An option that is unknown, or that this supernet or a runtime cannot satisfy.
        """
        if unable := [target for target in loadable_by if target != "transformers"]:
            raise SearchSpaceError(
                f"Heads that differ in width are loaded by transformers alone, got loadable_by={unable[0]}; leave it "
                "out, or choose the space joint."
            )
        self._joint = JointSpace(
            shape, ranking, heads=heads, neurons_multiple_of=neurons_multiple_of, loadable_by=loadable_by
        )
        step = max(1, shape.head_dim // 4) if dims_multiple_of is None else dims_multiple_of
        if not 1 <= step <= shape.head_dim:
            raise SearchSpaceError(
                f"dims_multiple_of must lie between 1 and the supernet's head_dim={shape.head_dim}, got {step}; choose "
                f"{max(1, shape.head_dim // 4)}."
            )
        self._shape, self._ranking = shape, ranking
        query_step = max(1, step * shape.num_query_units // shape.head_dim)
        query_sizes = (shape.num_query_units,) if shape.whole_queries else _sizes(shape.num_query_units, query_step)
        self._sizes = {"queries": query_sizes, "values": _sizes(shape.head_dim, step)}
        self._dims = tuple(
            Choice(name=f"layer_{layer}.{name}", sizes=sizes)
            for layer in range(shape.num_layers)
            for name, sizes in self._sizes.items()
            if len(sizes) > 1
        )

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""
        return self._shape

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Those of ``joint``, then the widths of heads, layer by layer."""
        return (*self._joint.choices, *self._dims)

    def canonical(self, candidate: Candidate) -> Candidate:
        """As in ``joint``, and smallest indices for the heads of a dropped attention."""
        widths, dims = self._parts(candidate)
        widths = self._joint.canonical(widths)
        return widths + self._without_idle(dims, self._joint.sub_network(widths))

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        """The best units of each layer, and the best dimensions of their heads."""
        widths, dims = self._parts(candidate)
        chosen = {choice.name: choice.sizes[index] for choice, index in zip(self._dims, dims, strict=True)}
        counts = {
            name: np.array([chosen.get(f"layer_{layer}.{name}", sizes[-1]) for layer in range(self._shape.num_layers)])
            for name, sizes in self._sizes.items()
        }
        whole = self._joint.sub_network(widths)
        return self._ranking.keep_dims(whole, queries_L=counts["queries"], values_L=counts["values"])

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        """As in ``joint``; heads of different widths count with their mean, rounded down."""
        counts = dims_by_layer(sub_network)
        dims = []
        for choice in self._dims:
            layer, _, name = choice.name.removeprefix("layer_").partition(".")
            count = counts[name][int(layer)]
            dims.append(max(0, sum(size <= count for size in choice.sizes) - 1))
        return self.canonical(self._joint.nearest(sub_network) + tuple(dims))

    def _parts(self, candidate: Candidate) -> tuple[Candidate, Candidate]:
        number = len(self._joint.choices)
        return candidate[:number], candidate[number:]

    def _without_idle(self, dims: Candidate, whole: SubNetwork) -> Candidate:
        layers = [int(choice.name.removeprefix("layer_").partition(".")[0]) for choice in self._dims]
        return tuple(index if whole.num_heads[layer] else 0 for layer, index in zip(layers, dims, strict=True))


def dims_by_layer(sub_network: SubNetwork) -> dict[str, list[int]]:
    """The mean number of query units and of value dimensions of a layer's kept heads, rounded down."""
    shape = sub_network.shape
    units_LKU = sub_network.query_dims_LKD[..., shape.rotary_dims // 2 :]  # a pair is there where its second one is
    totals = {"queries": units_LKU.sum(axis=(1, 2)), "values": sub_network.value_dims_LKD.sum(axis=(1, 2))}
    groups = np.maximum(sub_network.num_kv_groups, 1)
    return {name: (total // groups).tolist() for name, total in totals.items()}


def _sizes(number: int, step: int) -> tuple[int, ...]:
    return (*range(step, number, step), number)
