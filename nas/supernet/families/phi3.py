"""Phi-3: Llama's layout with query, key and value fused into one matrix, and gate and up into another."""

import copy
from typing import Any

from torch import nn

from nas.supernet.families.base import Family, Projection, Sublayer, Unit, partial_rotation


def _attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    """Phi-3 splits the fused projection at ``config.num_attention_heads``, so each layer needs its own config."""
    config: Any = copy.copy(attention.config)
    config.num_attention_heads = num_heads
    config.num_key_value_heads = num_kv_heads
    return {
        "config": config,
        "num_key_value_heads": num_kv_heads,
        "num_key_value_groups": num_heads // num_kv_heads,
    }


PHI3 = Family(
    name="Phi-3",
    model_types=("phi3",),
    is_decoder=True,
    layers="layers",
    attention=Sublayer(
        projections=(
            Projection(path="self_attn.qkv_proj", outputs=(Unit.QUERY_HEAD, Unit.KV_HEAD, Unit.KV_HEAD)),
            Projection(path="self_attn.o_proj", input=Unit.QUERY_HEAD),
        ),
        modules=("self_attn",),
        norms=("input_layernorm",),
    ),
    mlp=Sublayer(
        projections=(
            Projection(path="mlp.gate_up_proj", outputs=(Unit.NEURON, Unit.NEURON)),
            Projection(path="mlp.down_proj", input=Unit.NEURON),
        ),
        modules=("mlp",),
        norms=("post_attention_layernorm",),
    ),
    attention_module="self_attn",
    attention_attributes=_attributes,
    rotary_dims=partial_rotation,
)
