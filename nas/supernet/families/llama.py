"""Llama, Mistral, Qwen2 and Qwen3: separate projections, gated MLP, pre-norm.

Qwen2 adds biases to the query, key and value; Qwen3 normalises each head's query and key with weights that all
heads share, so removing a head leaves them alone.
"""

from nas.supernet.families.base import (
    Family,
    Projection,
    Sublayer,
    Unit,
    grouped_query_attributes,
    whole_head_rotation,
)

SEPARATE_ATTENTION = (
    Projection(path="self_attn.q_proj", outputs=(Unit.QUERY_HEAD,)),
    Projection(path="self_attn.k_proj", outputs=(Unit.KV_HEAD,)),
    Projection(path="self_attn.v_proj", outputs=(Unit.KV_HEAD,)),
    Projection(path="self_attn.o_proj", input=Unit.QUERY_HEAD),
)
GATED_MLP = (
    Projection(path="mlp.gate_proj", outputs=(Unit.NEURON,)),
    Projection(path="mlp.up_proj", outputs=(Unit.NEURON,)),
    Projection(path="mlp.down_proj", input=Unit.NEURON),
)

LLAMA = Family(
    name="Llama, Mistral, Qwen2, Qwen3",
    model_types=("llama", "mistral", "qwen2", "qwen3"),
    is_decoder=True,
    layers="layers",
    attention=Sublayer(projections=SEPARATE_ATTENTION, modules=("self_attn",), norms=("input_layernorm",)),
    mlp=Sublayer(projections=GATED_MLP, modules=("mlp",), norms=("post_attention_layernorm",)),
    attention_module="self_attn",
    attention_attributes=grouped_query_attributes,
    rotary_dims=whole_head_rotation,
    whole_queries=("qwen3",),
)
