"""Uniform widths: every layer keeps the same number of KV groups, query heads and neurons, and no layer is dropped.

The smallest space, and the one whose sub-networks an ordinary Hugging Face config describes.
"""

from collections.abc import Sequence

from search_spaces.base import Candidate, Choice, UnitRanking
from search_spaces.loadable import limits_for
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from search_spaces.widths import Counts, HeadGranularity, WidthChoices, counts_by_layer, keep_widths, width_sizes


class UniformSpace:
    """Choices ``kv_groups``, ``heads_per_group`` and ``neurons``, for all layers at once."""

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
            ranking: Which units go first; each layer keeps its own best.
            heads: How finely attention is searched.
            neurons_multiple_of: Step between MLP widths; see ``width_sizes`` for the default.
            loadable_by: Runtimes that must be able to load every sub-network.

        Raises:
            SearchSpaceError: An option that is unknown, or that this supernet cannot satisfy.
        """
        limits = limits_for(loadable_by, shape)
        sizes = width_sizes(shape, limits, heads=heads, neurons_multiple_of=neurons_multiple_of)
        self._shape = shape
        self._ranking = ranking
        self._widths = WidthChoices({"": sizes}, limits)

    @property
    def shape(self) -> SupernetShape:
        """The supernet's."""
        return self._shape

    @property
    def choices(self) -> tuple[Choice, ...]:
        """One for each width that can vary."""
        return self._widths.choices

    def canonical(self, candidate: Candidate) -> Candidate:
        """The candidate itself: every width matters."""
        return self._widths.canonical(candidate)

    def sub_network(self, candidate: Candidate) -> SubNetwork:
        """The best units of each layer, equally many in all."""
        return keep_widths(self._shape, self._ranking, self._widths.widths(candidate) * self._shape.num_layers)

    def nearest(self, sub_network: SubNetwork) -> Candidate:
        """The widest candidate that keeps, over all layers, no more units than the sub-network if avoidable."""
        totals = (sum(counts) for counts in zip(*counts_by_layer(sub_network), strict=True))
        return self._widths.nearest([Counts(*(total // self._shape.num_layers for total in totals))])
