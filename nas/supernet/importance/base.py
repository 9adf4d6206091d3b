"""Importance scores and the ranking they make.

Legend: L layers, H query heads, K KV groups, G query heads a group, N neurons.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.base import UnitRanking
from search_spaces.shape import SupernetShape

Scores = NDArray[np.float64]


class ImportanceError(ValueError):
    """A method or its calibration text cannot be used on this model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitScores:
    """What each unit is worth; higher = keep. Scores compare within one array only.

    Attributes:
        heads_LH: ``(num_layers, num_heads)``, by original number.
        neurons_LN: ``(num_layers, num_neurons)``, by original number.
        attention_L: ``(num_layers,)``: each attention sublayer as a whole.
        mlp_L: ``(num_layers,)``: each MLP sublayer as a whole.
        groups_LK: ``(num_layers, num_kv_groups)``, by original number, where the method scores a group as one unit.

    Raises:
        ImportanceError: A score is NaN or infinite.
    """

    heads_LH: Scores
    neurons_LN: Scores
    attention_L: Scores
    mlp_L: Scores
    groups_LK: Scores | None = None

    def __post_init__(self) -> None:
        groups = () if self.groups_LK is None else ("groups_LK",)
        _require_finite(self, ("heads_LH", "neurons_LN", "attention_L", "mlp_L", *groups))

    def kv_groups_LK(self, shape: SupernetShape) -> Scores:
        """``(num_layers, num_kv_groups)``: a group's own score, else the sum of its query heads'."""
        if self.groups_LK is not None:
            return self.groups_LK
        groups: Scores = self.heads_LH.reshape(shape.num_layers, shape.num_kv_groups, -1).sum(axis=2)
        return groups


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DimScores:
    """What each unit within a head is worth; higher = keep. Scores compare within one head alone.

    Attributes:
        queries_LKU: ``(num_layers, num_kv_groups, num_query_units)``.
        values_LKD: ``(num_layers, num_kv_groups, head_dim)``.

    Raises:
        ImportanceError: A score is NaN or infinite.
    """

    queries_LKU: Scores
    values_LKD: Scores

    def __post_init__(self) -> None:
        _require_finite(self, ("queries_LKU", "values_LKD"))

    @classmethod
    def of(cls, queries_LKD: Scores, values_LKD: Scores, shape: SupernetShape) -> "DimScores":
        """From scores of single dimensions: a pair that positions turn is worth the mean of its two."""
        pairs = shape.rotary_dims // 2
        first, rest = queries_LKD[..., :pairs], queries_LKD[..., pairs:]
        return cls(
            queries_LKU=np.concatenate([(first + rest[..., :pairs]) / 2, rest[..., pairs:]], axis=2),
            values_LKD=values_LKD,
        )


def rank(scores: UnitScores, shape: SupernetShape, dims: DimScores | None = None) -> UnitRanking:
    """Each layer's units from best to worst, and the dimensions of its heads where ``dims`` is given.

    Ties keep their original order.
    """
    heads_LKG = scores.heads_LH.reshape(shape.num_layers, shape.num_kv_groups, -1)
    first_of_group_K1 = np.arange(shape.num_kv_groups)[:, None] * shape.heads_per_group
    ranking = UnitRanking(
        kv_groups_LK=_descending(scores.kv_groups_LK(shape)),
        heads_LKG=_descending(heads_LKG) + first_of_group_K1,
        neurons_LN=_descending(scores.neurons_LN),
        attention_L=scores.attention_L,
        mlp_L=scores.mlp_L,
    )
    return ranking if dims is None else rank_within_heads(ranking, dims)


def rank_within_heads(ranking: UnitRanking, dims: DimScores) -> UnitRanking:
    """A ranking completed by the dimensions of heads, from best to worst."""
    return replace(ranking, queries_LKU=_descending(dims.queries_LKU), values_LKD=_descending(dims.values_LKD))


def _descending(scores: Scores) -> NDArray[np.int64]:
    order: NDArray[np.int64] = np.argsort(-scores, axis=-1, kind="stable")
    return order


def _require_finite(scores: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not np.isfinite(getattr(scores, name)).all():
            raise ImportanceError(
                f"Importance scores must be finite, got NaN or infinity in {name}; "
                "load the model in float32 or check the calibration text."
            )
