"""Reading a supernet's dimensions from its config, and those of its matrices from a layer."""

from collections import Counter
from typing import Any

from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from nas.supernet.families import Family, family_of
from search_spaces.shape import Matrix, SupernetShape


def shape_of(config: PreTrainedConfig) -> SupernetShape:
    """The dimensions of the model that ``config`` describes.

    Args:
        config: Of a supported architecture. Families that call the MLP's width ``ffn_dim`` (OPT), ``hidden_dim``
            (DistilBERT) or ``n_inner`` (GPT-2) are understood.

    Raises:
        UnsupportedArchitectureError: No adapter knows it.
    """
    family = family_of(config.model_type)
    num_heads: int = config.num_attention_heads
    hidden_size: int = config.hidden_size
    head_dim: int = _first(config, ("head_dim",)) or hidden_size // num_heads
    return SupernetShape(
        num_layers=config.num_hidden_layers,
        num_heads=num_heads,
        num_kv_groups=_first(config, ("num_key_value_heads",)) or num_heads,
        num_neurons=_first(config, ("intermediate_size", "ffn_dim", "hidden_dim", "n_inner")) or 4 * hidden_size,
        head_dim=head_dim,
        hidden_size=hidden_size,
        required_attention=_required_attention(_first(config, ("layer_types",)) or ["attention"]),
        rotary_dims=family.rotary_dims(config, head_dim),
        whole_queries=config.model_type in family.whole_queries,
    )


def matrices_of(family: Family, layer: nn.Module) -> tuple[Matrix, ...]:
    """The weight matrices of a layer, those of the attention first; a fused one is one matrix.

    Args:
        family: The adapter of the architecture.
        layer: One of the supernet's at rest; its layers are all of one kind.
    """
    paths = {name: [one.path for one in sublayer.projections] for name, sublayer in family.sublayers.items()}
    ends = Counter(path.rpartition(".")[2] for of_sublayer in paths.values() for path in of_sublayer)
    matrices = []
    for sublayer, of_sublayer in paths.items():
        for path in of_sublayer:
            module, end = layer.get_submodule(path), path.rpartition(".")[2]
            sides = tuple(module.get_parameter("weight").shape)
            num_outputs, num_inputs = reversed(sides) if isinstance(module, Conv1D) else sides
            name = end if ends[end] == 1 else path
            matrices.append(Matrix(name=name, sublayer=sublayer, num_outputs=num_outputs, num_inputs=num_inputs))
    return tuple(matrices)


def _first(config: PreTrainedConfig, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _required_attention(layer_types: list[str]) -> tuple[int, ...]:
    """The first layer of each attention type: transformers sizes the mask of a type by the cache of its first layer."""
    return tuple(sorted({layer_types.index(layer_type) for layer_type in layer_types}))
