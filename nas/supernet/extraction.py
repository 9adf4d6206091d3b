"""From an activated module tree to a standalone model."""

import copy
from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedConfig

from nas.supernet.changes import Changes
from nas.supernet.stand_ins import ConcatenatedProjection
from search_spaces.sub_network import SubNetwork

NEURON_NAMES = ("intermediate_size", "ffn_dim", "hidden_dim", "n_inner")
"""What configs call the width of the MLP."""


def projection_kinds(model: nn.Module) -> dict[str, nn.Module]:
    """A module of each kind, by its path without the layer's number; of a supernet at rest."""
    return {_within_layer(path): module for path, module in model.named_modules()}


def fuse_projections(model: nn.Module, kinds: Mapping[str, nn.Module], changes: Changes) -> None:
    """Replaces each concatenated projection of ``model`` by one fused matrix.

    Args:
        model: An activated supernet, or a copy of one.
        kinds: Say of which kind each module is at rest. (Layers of ``model`` may be fewer; they are all of one kind.)
        changes: Records how to put the concatenated ones back.
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, ConcatenatedProjection):
            changes.set_module(model, path, module.fuse(kinds[_within_layer(path)]))


def standalone_config(config: PreTrainedConfig, sub_network: SubNetwork) -> PreTrainedConfig:
    """The config of an extracted model.

    The number of layers is right already. Widths are set where all layers share them; layers of different widths
    have no place in a native config, so they keep the supernet's numbers there.
    """
    config = copy.copy(config)
    if not sub_network.is_uniform:
        return config
    first = sub_network.kept_layers[0]
    widths = {
        "num_attention_heads": sub_network.num_heads[first],
        "num_key_value_heads": sub_network.num_kv_groups[first],
        **dict.fromkeys(NEURON_NAMES, sub_network.num_neurons[first]),
    }
    for name, width in widths.items():
        if name in vars(config) or name in config.attribute_map:
            setattr(config, name, width)
    if sub_network.num_heads[first] < sub_network.shape.num_heads:  # many configs derive it from the number of heads
        config.head_dim = sub_network.shape.head_dim
    return config


def _within_layer(path: str) -> str:
    """The path without the layer's number."""
    return ".".join(part for part in path.split(".") if not part.isdecimal())
