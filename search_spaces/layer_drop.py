"""Which layers, or which sublayers, go; what stays keeps its full width.

Legend: L layers, S = 2 sublayers (attention, MLP).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from search_spaces.base import Candidate, Choice, SearchSpaceError, UnitRanking
from search_spaces.loadable import limits_for
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask, SubNetwork

DropGranularity = Literal["layer", "sublayer"]
"""What goes as one: a layer, or each attention and each MLP on its own."""

_ATTENTION, _MLP = 0, 1

_SWITCHES: dict[DropGranularity, dict[str, list[int]]] = {
    "layer": {"": [_ATTENTION, _MLP]},
    "sublayer": {".attention": [_ATTENTION], ".mlp": [_MLP]},
}
"""For each granularity, the ends of the choices' names and which sublayers they switch."""


class LayerDropSpace:
    """Choices ``layer_3``, or ``layer_3.attention`` and ``layer_3.mlp``: 1 keeps, 0 drops.

    What the KV cache needs (``SupernetShape.required_attention``) is kept and is no choice: with ``layer`` the
    layer, with ``sublayer`` its attention.
    """

    def __init__(
        self,
        shape: SupernetShape,
        ranking: UnitRanking,
        *,
        drop: DropGranularity = "layer",
        loadable_by: Sequence[str] = (),
    ) -> None:
        """Builds the space.

        Args:
            shape: The supernet's.
            ranking: Which sublayers stay where ``nearest`` has to decide between equals.
            drop: What goes as one.
            loadable_by: Runtimes that must be able to load every sub-network.

        Raises:
            SearchSpaceError: An option that is unknown, or that this supernet cannot satisfy.
        """
        if drop not in get_args(DropGranularity):
            raise SearchSpaceError(f"drop must be one of {', '.join(get_args(DropGranularity))}, got {drop!r}.")
        self._shape = shape
        self._ranking = ranking
        self._drop = drop
        self._mlp_needs_attention = limits_for(loadable_by, shape).mlp_needs_attention
        self._required_L = np.isin(np.arange(shape.num_layers), shape.required_attention)
        switches = [
            (f"layer_{layer}{suffix}", (sublayers, layer))
            for layer in range(shape.num_layers)
            for suffix, sublayers in _SWITCHES[drop].items()
            if not (_ATTENTION in sublayers and self._required_L[layer])
        ]
        self._switched = tuple(what for _, what in switches)
        self._choices = tuple(Choice(name=name, sizes=(0, 1)) for name, _ in switches)

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""
        return self._shape

    @property
    def choices(self) -> tuple[Choice, ...]:
        """One for each layer or sublayer that may go."""
        return self._choices

    def canonical(self, candidate: Candidate) -> Candidate:
        """0 for the MLP of a dropped attention, where a runtime drops it too; else the candidate itself."""
        return self._candidate(self._kept(candidate))

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        """What is not dropped, at full width."""
        shape = self._shape
        attention_L, mlp_L = self._kept(candidate)
        return SubNetwork(
            shape=shape,
            heads_LH=np.repeat(attention_L[:, np.newaxis], shape.num_heads, axis=1),
            neurons_LN=np.repeat(mlp_L[:, np.newaxis], shape.num_neurons, axis=1),
        )

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        """As many sublayers as the units of the sub-network would fill, the fullest first, then the most important.

        Taking each layer by itself instead would drop every sublayer that has lost but one unit.
        """
        ranking = self._ranking
        heads_L = np.array(sub_network.num_heads) / self._shape.num_heads
        neurons_L = np.array(sub_network.num_neurons) / self._shape.num_neurons
        num_attention = sum(sub_network.num_heads) // self._shape.num_heads
        num_mlp = sum(sub_network.num_neurons) // self._shape.num_neurons
        if self._drop == "layer":
            number = min(num_attention, num_mlp)
            kept_L = _fullest(heads_L + neurons_L, ranking.attention_L + ranking.mlp_L, number, self._required_L)
            return self._candidate(np.stack([kept_L, kept_L]))
        attention_L = _fullest(heads_L, ranking.attention_L, num_attention, self._required_L)
        mlp_L = _fullest(neurons_L, ranking.mlp_L, num_mlp, np.zeros_like(self._required_L))
        return self.canonical(self._candidate(np.stack([attention_L, mlp_L])))

    def _kept(self, candidate: Candidate) -> BoolMask:
        """``(2, num_layers)`` bool: kept attention, kept MLPs."""
        kept_SL = np.ones((2, self._shape.num_layers), dtype=np.bool_)
        for (sublayers, layer), index in zip(self._switched, candidate, strict=True):
            kept_SL[sublayers, layer] = index
        if self._mlp_needs_attention:
            kept_SL[_MLP] &= kept_SL[_ATTENTION]
        return kept_SL

    def _candidate(self, kept_SL: BoolMask) -> Candidate:
        return tuple(int(kept_SL[sublayers, layer].all()) for sublayers, layer in self._switched)


def _fullest(
    share_L: NDArray[np.float64], importance_L: NDArray[np.float64], number: int, required_L: BoolMask
) -> BoolMask:
    """``(num_layers,)`` bool: the ``number`` layers with the largest share kept, the required ones in any case."""
    order = np.lexsort((-importance_L, -share_L, ~required_L))
    kept_L = required_L.copy()
    kept_L[order[:number]] = True
    return kept_L
