"""Reading a supernet's dimensions from its config."""

from typing import Any

from transformers import PreTrainedConfig

from nas.supernet.families import family_of
from search_spaces.shape import SupernetShape


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


def _first(config: PreTrainedConfig, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _required_attention(layer_types: list[str]) -> tuple[int, ...]:
    """The first layer of each attention type: transformers sizes the mask of a type by the cache of its first layer."""
    return tuple(sorted({layer_types.index(layer_type) for layer_type in layer_types}))
