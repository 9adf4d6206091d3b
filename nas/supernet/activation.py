"""Making a supernet's module tree compute one of its sub-networks.

Kept units are brought to the front of their layer (nothing moves when they are there already, as they are for every
size of a ranked search space), then each weight is replaced by a view of its front part. While a supernet is being
trained nothing moves at all, and units that are not in front are copied out. Dropped sublayers fall
silent; layers with nothing left leave the tree, and the KV cache's layer numbers close up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from nas.supernet.changes import Changes
from nas.supernet.families import Family, Sublayer, Unit
from nas.supernet.intra_attention import activate_cut_heads, layer_cuts_heads
from nas.supernet.layout import keep_units, reorder_units
from nas.supernet.stand_ins import Silent, SilentAttention
from search_spaces.base import UnitRanking
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

Order = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitOrder:
    """Which unit lies at which position, layer by layer.

    Attributes:
        heads_LH: ``(num_layers, num_heads)`` int, query heads, group by group in the order of ``kv_groups_LK``.
        kv_groups_LK: ``(num_layers, num_kv_groups)`` int.
        neurons_LN: ``(num_layers, num_neurons)`` int.
    """

    heads_LH: Order
    kv_groups_LK: Order
    neurons_LN: Order

    @classmethod
    def by(cls, ranking: UnitRanking) -> "UnitOrder":
        """Best first."""
        rows = np.arange(len(ranking.kv_groups_LK))[:, None]
        heads_LKG = ranking.heads_LKG[rows, ranking.kv_groups_LK]
        return cls(
            heads_LH=heads_LKG.reshape(len(rows), -1), kv_groups_LK=ranking.kv_groups_LK, neurons_LN=ranking.neurons_LN
        )


def activate(
    model: PreTrainedModel, family: Family, order: UnitOrder, sub_network: SubNetwork, changes: Changes
) -> None:
    """Makes ``model`` compute ``sub_network``.

    Args:
        model: The supernet's, with nothing active.
        family: Its adapter.
        order: Where its units lie.
        sub_network: What to keep.
        changes: Records how to put everything back.
    """
    owner, _, name = family.layers.rpartition(".")
    parent = model.base_model.get_submodule(owner)
    layers = list(parent.get_submodule(name).children())
    for index in sub_network.kept_layers:
        _activate_attention(layers[index], family, order, sub_network, index, changes)
        _activate_mlp(layers[index], family, order, sub_network, index, changes)
    if len(sub_network.kept_layers) < len(layers):
        _close_up(model, parent, name, family, sub_network, changes)


def to_front(kept: NDArray[np.bool_], order: Order) -> Order:
    """The permutation of positions that brings kept units to the front, both parts in their present order.

    Args:
        kept: ``(num_units,)`` bool by unit number.
        order: ``(num_units,)`` int, the unit at each position.
    """
    positions: Order = np.argsort(~kept[order], kind="stable")
    return positions


def _activate_attention(
    layer: nn.Module, family: Family, order: UnitOrder, sub_network: SubNetwork, index: int, changes: Changes
) -> None:
    shape, num_heads, num_kv_groups = sub_network.shape, sub_network.num_heads[index], sub_network.num_kv_groups[index]
    if num_heads and layer_cuts_heads(sub_network, index):
        units = (order.heads_LH[index], order.kv_groups_LK[index])
        activate_cut_heads(layer, family, units, sub_network, index, changes)
        return
    if num_heads == shape.num_heads:
        return
    if num_heads == 0:
        _silence(layer, family.attention, changes, attention_module=family.attention_module)
        return
    orders = {
        Unit.QUERY_HEAD: to_front(sub_network.heads_LH[index], order.heads_LH[index]),
        Unit.KV_HEAD: to_front(sub_network.kv_groups_LK[index], order.kv_groups_LK[index]),
    }
    counts = {Unit.QUERY_HEAD: num_heads, Unit.KV_HEAD: num_kv_groups}
    _narrow(layer, family.attention, shape, orders, counts, changes)
    attention = layer.get_submodule(family.attention_module)
    for name, value in family.attention_attributes(attention, num_heads, num_kv_groups).items():
        changes.set_attribute(attention, name, value)


def _activate_mlp(
    layer: nn.Module, family: Family, order: UnitOrder, sub_network: SubNetwork, index: int, changes: Changes
) -> None:
    shape, num_neurons = sub_network.shape, sub_network.num_neurons[index]
    if num_neurons == shape.num_neurons:
        return
    if num_neurons == 0:
        _silence(layer, family.mlp, changes)
        return
    orders = {Unit.NEURON: to_front(sub_network.neurons_LN[index], order.neurons_LN[index])}
    _narrow(layer, family.mlp, shape, orders, {Unit.NEURON: num_neurons}, changes)


def _narrow(
    layer: nn.Module,
    sublayer: Sublayer,
    shape: SupernetShape,
    orders: Mapping[Unit, Order],
    counts: Mapping[Unit, int],
    changes: Changes,
) -> None:
    at_front = {unit: np.array_equal(orders[unit][:count], np.arange(count)) for unit, count in counts.items()}
    if all(at_front.values()):
        keep_units(layer, sublayer, shape, counts, changes)
    elif torch.is_grad_enabled() and any(parameter.requires_grad for parameter in layer.parameters()):
        # Units that moved would leave their gradients behind.
        kept = {unit: count if at_front[unit] else orders[unit][:count] for unit, count in counts.items()}
        keep_units(layer, sublayer, shape, kept, changes)
    else:
        reorder_units(layer, sublayer, shape, orders, changes)
        keep_units(layer, sublayer, shape, counts, changes)


def _silence(layer: nn.Module, sublayer: Sublayer, changes: Changes, attention_module: str = "") -> None:
    for path in sublayer.modules:
        changes.set_module(layer, path, SilentAttention() if path == attention_module else Silent())
    for path in sublayer.norms:
        changes.set_module(layer, path, nn.Identity())


def _close_up(
    model: PreTrainedModel,
    parent: nn.Module,
    name: str,
    family: Family,
    sub_network: SubNetwork,
    changes: Changes,
) -> None:
    """Takes emptied layers out and renumbers the rest, so that the KV cache has no gaps."""
    layers = list(parent.get_submodule(name).children())
    kept = sub_network.kept_layers
    changes.set_module(parent, name, nn.ModuleList([layers[index] for index in kept]))
    if family.is_decoder:
        for number, index in enumerate(kept):
            if sub_network.num_heads[index]:
                changes.set_attribute(layers[index].get_submodule(family.attention_module), "layer_idx", number)
    config = model.config
    changes.set_attribute(config, "num_hidden_layers", len(kept))
    layer_types = vars(config).get("layer_types")
    if layer_types is not None:
        changes.set_attribute(config, "layer_types", [layer_types[index] for index in kept])
