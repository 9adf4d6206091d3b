"""Which units GRAIN has kept so far, and which go next.

A query unit is a dimension of a KV group's key and of the queries that meet it (a pair of dimensions where positions
turn them), a value unit a dimension of its value and of its heads' outputs. All units of all layers stand in one line,
by score per parameter; from its low end as many leave as the budget asks, and never come back.

    a head's values count for score · tanh(share of its values kept / α)      (structure regularisation)

A head without values loses its queries. Where we differ from arXiv:2212.07634: its units all cost about the same,
those of gated MLPs and shared keys do not, hence score per parameter; the best query unit of a head stays as long as a
value does, since a head without queries would be no head but a mean; and what the KV cache takes its length from
(``SupernetShape.required_attention``) keeps one unit of each kind.

Legend: L layers, K KV groups, U query units, D head_dim, N neurons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.grain.config import GrainConfig, GrainError
from nas.pruners.costs import UnitCosts
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask, SubNetwork

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """What is kept; True = kept.

    Attributes:
        shape: The supernet's.
        queries_LKU: ``(num_layers, num_kv_groups, num_query_units)`` bool.
        values_LKD: ``(num_layers, num_kv_groups, head_dim)`` bool.
        neurons_LN: ``(num_layers, num_neurons)`` bool.
    """

    shape: SupernetShape
    queries_LKU: BoolMask
    values_LKD: BoolMask
    neurons_LN: BoolMask

    @classmethod
    def all_of(cls, shape: SupernetShape) -> "Units":
        """Everything."""
        groups = (shape.num_layers, shape.num_kv_groups)
        return cls(
            shape=shape,
            queries_LKU=np.ones((*groups, shape.num_query_units), dtype=np.bool_),
            values_LKD=np.ones((*groups, shape.head_dim), dtype=np.bool_),
            neurons_LN=np.ones((shape.num_layers, shape.num_neurons), dtype=np.bool_),
        )

    @property
    def groups_LK(self) -> BoolMask:
        """``(L, K)``: groups that have values."""
        return np.asarray(self.values_LKD.any(axis=2), dtype=np.bool_)

    @property
    def query_dims_LKD(self) -> BoolMask:
        """``(L, K, D)``: query units as dimensions."""
        pairs = self.shape.rotary_dims // 2
        return np.concatenate([self.queries_LKU[..., :pairs], self.queries_LKU], axis=2)

    @property
    def sub_network(self) -> SubNetwork:
        """The same as a sub-network: a group is kept with all its heads where it has values."""
        kept_LK = self.groups_LK
        return SubNetwork(
            shape=self.shape,
            heads_LH=kept_LK.repeat(self.shape.heads_per_group, axis=1),
            neurons_LN=self.neurons_LN,
            queries_LKD=self.query_dims_LKD,
            values_LKD=self.values_LKD,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameters:
    """How many parameters leave with a unit.

    Attributes:
        queries_U: ``(U,)`` int.
        value: Of a value unit.
        neuron: Of a neuron.
    """

    queries_U: NDArray[np.int64]
    value: int
    neuron: int

    @classmethod
    def of(cls, shape: SupernetShape, costs: UnitCosts) -> "Parameters":
        """From what ``parameter_costs`` counted."""
        assert costs.dims is not None
        per_dim = costs.dims.key + shape.heads_per_group * costs.dims.query
        dims_U = np.array([len(shape.query_dims_of(unit)) for unit in range(shape.num_query_units)])
        value = costs.dims.value + shape.heads_per_group * costs.dims.output
        return cls(queries_U=dims_U * per_dim, value=value, neuron=costs.neuron)

    def total(self, units: Units) -> int:
        """Of all units that are kept."""
        queries = (units.queries_LKU * self.queries_U).sum()
        return int(queries + units.values_LKD.sum() * self.value + units.neurons_LN.sum() * self.neuron)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitScores:
    """What each unit is worth; higher = keep.

    Attributes:
        queries_LKU: ``(L, K, U)``.
        values_LKD: ``(L, K, D)``.
        heads_LK: ``(L, K)``: whole groups, for when they leave as one.
        neurons_LN: ``(L, N)``.
    """

    queries_LKU: Scores
    values_LKD: Scores
    heads_LK: Scores
    neurons_LN: Scores

    @classmethod
    def zeros(cls, shape: SupernetShape) -> "UnitScores":
        """Before the first batch."""
        groups = (shape.num_layers, shape.num_kv_groups)
        return cls(
            queries_LKU=np.zeros((*groups, shape.num_query_units)),
            values_LKD=np.zeros((*groups, shape.head_dim)),
            heads_LK=np.zeros(groups),
            neurons_LN=np.zeros((shape.num_layers, shape.num_neurons)),
        )

    def smoothed(self, new: "UnitScores", smoothing: float) -> "UnitScores":
        """The moving average once a batch's scores are in."""
        names = ("queries_LKU", "values_LKD", "heads_LK", "neurons_LN")
        return UnitScores(
            **{name: smoothing * getattr(self, name) + (1 - smoothing) * getattr(new, name) for name in names}
        )


def prune(units: Units, scores: UnitScores, parameters: Parameters, share: float, config: GrainConfig) -> Units:
    """Removes the least units until no more than ``share`` of all units' parameters remain.

    Args:
        units: Kept so far.
        scores: By which they stand in line.
        parameters: What each one holds.
        share: Of the parameters of all units of the supernet.
        config: Which units there are, and whether values of thin heads count for less.

    Raises:
        GrainError: What must stay holds more.
    """
    shape = units.shape
    budget = share * parameters.total(Units.all_of(shape))
    excess = parameters.total(units) - budget
    if excess <= 0:
        return units
    kept, kept_by_kind = units, _whole_heads if config.units == "heads" else _dims
    while excess > 0:  # more than once where whole heads go: what had to stay may go with the last value
        removable, worth, holds = kept_by_kind(kept, scores, parameters, config)
        order = np.argsort(worth[removable] / holds[removable], kind="stable")
        numbers = np.flatnonzero(removable)[order]
        if not len(numbers):
            raise GrainError(
                f"density must leave room for the units that have to stay, got {config.density}, and they hold "
                f"{parameters.total(kept) / parameters.total(Units.all_of(shape)):.2g} of all; ask for more."
            )
        held = np.cumsum(holds[numbers])
        gone = numbers[: int(np.searchsorted(held, excess)) + 1]
        kept = _without(kept, gone, config)
        excess = parameters.total(kept) - budget
    return kept


def _dims(
    units: Units, scores: UnitScores, parameters: Parameters, config: GrainConfig
) -> tuple[BoolMask, Scores, Scores]:
    """What may go, what it is worth and what it holds, all units in one line: queries, values, neurons."""
    values_LKD = scores.values_LKD
    if config.regularise_structure:
        values_LKD = values_LKD * np.tanh(units.values_LKD.mean(axis=2, keepdims=True) / config.structure_width)
    queries_LKU = units.queries_LKU & ~_best(units.queries_LKU, scores.queries_LKU)
    if units.shape.whole_queries:
        queries_LKU = np.zeros_like(queries_LKU)
    removable = [queries_LKU, units.values_LKD & ~_best_required(units, values_LKD), units.neurons_LN]
    worth = [scores.queries_LKU, values_LKD, scores.neurons_LN]
    holds = [
        np.broadcast_to(parameters.queries_U, units.queries_LKU.shape),
        np.full(units.values_LKD.shape, parameters.value),
        np.full(units.neurons_LN.shape, parameters.neuron),
    ]
    return _in_line(removable), _in_line(worth), _in_line(holds)


def _whole_heads(
    units: Units, scores: UnitScores, parameters: Parameters, config: GrainConfig
) -> tuple[BoolMask, Scores, Scores]:
    """The same where groups leave as one: groups, neurons."""
    del config
    kept_LK = units.groups_LK
    required_LK = _best_required(units, scores.heads_LK[..., None])[..., 0]
    of_group = int(parameters.queries_U.sum()) + parameters.value * units.shape.head_dim
    holds = [np.full(kept_LK.shape, of_group), np.full(units.neurons_LN.shape, parameters.neuron)]
    return (
        _in_line([kept_LK & ~required_LK, units.neurons_LN]),
        _in_line([scores.heads_LK, scores.neurons_LN]),
        _in_line(holds),
    )


def _without(units: Units, gone: NDArray[np.int64], config: GrainConfig) -> Units:
    """Without the units of these numbers in line, and without queries of heads that have no values."""
    if config.units == "heads":
        kept_LK, neurons_LN = _out_of_line([units.groups_LK, units.neurons_LN], gone)
        values_LKD, queries_LKU = units.values_LKD & kept_LK[..., None], units.queries_LKU
    else:
        queries_LKU, values_LKD, neurons_LN = _out_of_line(
            [units.queries_LKU, units.values_LKD, units.neurons_LN], gone
        )
    queries_LKU = queries_LKU & values_LKD.any(axis=2, keepdims=True)
    return replace(units, queries_LKU=queries_LKU, values_LKD=values_LKD, neurons_LN=neurons_LN)


def _best(kept: BoolMask, scores: Scores) -> BoolMask:
    """The one unit of each head that is worth most, of those kept."""
    ranked = np.where(kept, scores, -np.inf)
    best = np.zeros_like(kept)
    np.put_along_axis(best, ranked.argmax(axis=-1)[..., None], True, axis=-1)
    return best & kept


def _best_required(units: Units, scores: Scores) -> BoolMask:
    """The one value of each layer whose attention must stay; where ``scores`` are of groups, the one group."""
    kept = np.broadcast_to(units.groups_LK[..., None], scores.shape)
    kept = units.values_LKD if scores.shape == units.values_LKD.shape else kept
    layers = units.shape.num_layers
    best = _best(kept.reshape(layers, -1), scores.reshape(layers, -1)).reshape(scores.shape)
    required_L = np.isin(np.arange(layers), units.shape.required_attention)
    result: BoolMask = best & required_L[:, None, None]
    return result


def _in_line(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([part.ravel() for part in parts])


def _out_of_line(masks: list[BoolMask], gone: NDArray[np.int64]) -> list[BoolMask]:
    line = _in_line(masks).copy()
    line[gone] = False
    parts = np.split(line, np.cumsum([mask.size for mask in masks])[:-1])
    return [part.reshape(mask.shape) for part, mask in zip(parts, masks, strict=True)]
