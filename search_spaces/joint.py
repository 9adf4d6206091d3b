"""Widths and drops together: each sublayer of each layer is dropped or keeps any of its widths.

It holds all that ``uniform``, ``per_layer`` and ``layer_drop`` hold. The attention that the KV cache takes its length
from (``SupernetShape.required_attention``) is never dropped.
"""

from collections.abc import Sequence

from search_spaces.base import Candidate, Choice, UnitRanking
from search_spaces.loadable import limits_for
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from search_spaces.widths import HeadGranularity, WidthChoices, counts_by_layer, keep_widths, width_sizes


class JointSpace:
    """Choices ``layer_3.kv_groups``, ``layer_3.heads_per_group`` and ``layer_3.neurons``; 0 drops the sublayer."""

    def __init__(
        self,
        shape: SupernetShape,
        ranking: UnitRanking,
        *,
        heads: HeadGranularity = "kv_group",
        neurons_multiple_of: int | None = None,
        loadable_by: Sequence[str] = (),
    ) -> None:
        """Builds the space.

        Args:
            shape: The supernet's.
            ranking: Which units go first in each layer.
            heads: How finely attention is searched; with ``fixed`` it is dropped or keeps its full width.
            neurons_multiple_of: Step between MLP widths; see ``width_sizes`` for the default.
            loadable_by: Runtimes that must be able to load every sub-network.

        Raises:
            SearchSpaceError: An option that is unknown, or that this supernet cannot satisfy.
        """
        limits = limits_for(loadable_by, shape)
        sizes = width_sizes(shape, limits, heads=heads, neurons_multiple_of=neurons_multiple_of)
        self._shape = shape
        self._ranking = ranking
        self._widths = WidthChoices(
            {
                f"layer_{layer}.": sizes.droppable(attention=layer not in shape.required_attention)
                for layer in range(shape.num_layers)
            },
            limits,
        )

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""
        return self._shape

    @property
    def choices(self) -> tuple[Choice, ...]:
        """One for each width that can vary, layer by layer."""
        return self._widths.choices

    def canonical(self, candidate: Candidate) -> Candidate:
        """Smallest indices for the heads of a dropped attention and, where a runtime drops it too, for its MLP."""
        return self._widths.canonical(candidate)

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        """The best units of each layer."""
        return keep_widths(self._shape, self._ranking, self._widths.widths(candidate))

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        """The widest candidate with no more units in any layer."""
        return self._widths.nearest(counts_by_layer(sub_network))
