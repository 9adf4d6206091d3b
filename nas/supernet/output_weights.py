"""Other weights for a sub-network's output projections than those it shares with the supernet.

What wins quality back after pruning changes the matrices that read a sublayer's units and write into the residual
stream, and nothing else: their columns belong to units, so they follow the units wherever the supernet keeps them.

Legend: D hidden_size, S features of the kept units (head_dim for each head, one for each neuron).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nas.supernet.activation import UnitOrder
from nas.supernet.changes import Changes
from nas.supernet.families import Family, Sublayer
from search_spaces.sub_network import SubNetwork

SublayerName = Literal["attention", "mlp"]
SUBLAYER_NAMES: tuple[SublayerName, ...] = ("attention", "mlp")


class OutputWeightsError(ValueError):
    """Weights that do not fit the sub-network they are to be used with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutputWeights:
    """The weights of output projections, for one sub-network.

    Columns are those of the kept units by ascending unit number, ``head_dim`` adjacent columns for each head. Layers
    that are absent keep the supernet's weights.

    Attributes:
        attention: By layer number ``(hidden_size, kept_heads * head_dim)``, float32 or the model's dtype.
        mlp: By layer number ``(hidden_size, kept_neurons)``, float32 or the model's dtype.
    """

    attention: Mapping[int, Tensor] = field(default_factory=dict)
    mlp: Mapping[int, Tensor] = field(default_factory=dict)

    def of(self, sublayer: SublayerName) -> Mapping[int, Tensor]:
        """The weights of one kind of sublayer."""
        return self.attention if sublayer == "attention" else self.mlp


def sublayer_of(family: Family, name: SublayerName) -> Sublayer:
    """What the adapter says of that sublayer."""
    return family.attention if name == "attention" else family.mlp


def require_fitting(weights: OutputWeights, sub_network: SubNetwork) -> None:
    """Checks that every matrix belongs to a kept sublayer and has its size.

    Raises:
        OutputWeightsError: One does not.
    """
    shape = sub_network.shape
    if sub_network.cuts_heads and weights.attention:
        raise OutputWeightsError(
            "Output weights of attention must be of whole heads, got some for a sub-network that lacks dimensions "
            "within heads; leave those of attention out, or give all its weights as OwnWeights."
        )
    widths: tuple[tuple[SublayerName, tuple[int, ...], int], ...] = (
        ("attention", sub_network.num_heads, shape.head_dim),
        ("mlp", sub_network.num_neurons, 1),
    )
    for sublayer, counts, width in widths:
        for index, weight_DS in weights.of(sublayer).items():
            if not 0 <= index < shape.num_layers or counts[index] == 0:
                raise OutputWeightsError(
                    f"Output weights must be of sublayers that the sub-network keeps, got some of the {sublayer} of "
                    f"layer {index}; leave that layer out."
                )
            if _is_factorised(sub_network, index, sublayer):
                raise OutputWeightsError(
                    f"Output weights must be of matrices that are not factorised, got some of the {sublayer} of layer "
                    f"{index}; leave that layer out."
                )
            expected = (shape.hidden_size, counts[index] * width)
            if tuple(weight_DS.shape) != expected:
                raise OutputWeightsError(
                    f"The output weights of the {sublayer} of layer {index} must have shape {expected}, "
                    f"got {tuple(weight_DS.shape)}; give those found for this very sub-network."
                )


def _is_factorised(sub_network: SubNetwork, index: int, sublayer: SublayerName) -> bool:
    """Whether the output projection, which is the last matrix of its sublayer, has a rank."""
    if sub_network.ranks_LM is None:
        return False
    of_sublayer = [matrix.sublayer == sublayer for matrix in sub_network.shape.matrices]
    return bool(sub_network.ranks_LM[index, of_sublayer][-1])


def feature_positions(sub_network: SubNetwork, order: UnitOrder, index: int, sublayer: SublayerName) -> Tensor:
    """Where the features of kept units enter an output projection while their sub-network is active.

    Activation brings kept units to the front in their present order; here they are sorted by unit number.

    Args:
        sub_network: What is active.
        order: Where the supernet's units lie.
        index: The layer's number.
        sublayer: Which of its output projections.

    Returns:
        ``(S,)`` int64: the position of each feature, by ascending unit number.
    """
    if sublayer == "attention":
        kept_U, order_U, width = sub_network.heads_LH[index], order.heads_LH[index], sub_network.shape.head_dim
    else:
        kept_U, order_U, width = sub_network.neurons_LN[index], order.neurons_LN[index], 1
    positions_U = np.argsort(order_U[kept_U[order_U]])
    return torch.from_numpy((positions_U[:, None] * width + np.arange(width)).ravel())


def set_output_weights(
    layers: Sequence[nn.Module],
    family: Family,
    order: UnitOrder,
    sub_network: SubNetwork,
    weights: OutputWeights,
    changes: Changes,
) -> None:
    """Lets the output projections compute with ``weights``, once the sub-network is active.

    Args:
        layers: All layers of the supernet.
        family: Its adapter.
        order: Where its units lie.
        sub_network: What is active.
        weights: Such as fit it.
        changes: Records how to put the supernet's weights back.
    """
    for sublayer in SUBLAYER_NAMES:
        path = sublayer_of(family, sublayer).output
        for index, weight_DS in weights.of(sublayer).items():
            positions_S = feature_positions(sub_network, order, index, sublayer)
            _set(layers[index].get_submodule(path), weight_DS, positions_S, changes)


def _set(projection: nn.Module, weight_DS: Tensor, positions_S: Tensor, changes: Changes) -> None:
    present = projection.get_parameter("weight")
    placed_DS = torch.empty_like(weight_DS)
    placed_DS[:, positions_S.to(weight_DS.device)] = weight_DS.detach()
    stored = placed_DS.t() if isinstance(projection, Conv1D) else placed_DS
    stored = stored.to(present.device, present.dtype).contiguous()
    changes.set_parameter(projection, "weight", nn.Parameter(stored, requires_grad=False))
