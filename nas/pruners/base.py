"""What a pruner is: one sub-network for one budget, in one shot.

Here the budget is the share of the layers' parameters to keep; whatever is proposed lands on the same front as all
else, scored by the same evaluators.
"""

from dataclasses import dataclass
from typing import Protocol

from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """Parameters of one unit of each kind; norms and output biases are left out of account.

    Attributes:
        head: A query head: its rows of the query projection and its columns of the output projection.
        kv_group: The key and value of a KV group, without its query heads.
        neuron: Its rows and its column.
    """

    head: int
    kv_group: int
    neuron: int

    def layers_total(self, shape: SupernetShape) -> int:
        """Parameters of all units of all layers."""
        per_layer = shape.num_heads * self.head + shape.num_kv_groups * self.kv_group + shape.num_neurons * self.neuron
        return shape.num_layers * per_layer

    def of(self, sub_network: SubNetwork) -> int:
        """Parameters of the units that a sub-network keeps."""
        return (
            sum(sub_network.num_heads) * self.head
            + sum(sub_network.num_kv_groups) * self.kv_group
            + sum(sub_network.num_neurons) * self.neuron
        )


class Pruner(Protocol):
    """A one-shot method."""

    def __call__(self, scores: UnitScores, shape: SupernetShape, costs: UnitCosts, *, share: float) -> SubNetwork:
        """Keeps at most ``share`` of the parameters of the layers' units, or the least that is valid.

        Args:
            scores: What each unit is worth.
            shape: The supernet's.
            costs: What each unit costs.
            share: In (0, 1].
        """
