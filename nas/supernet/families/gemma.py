"""Gemma 2 and the text models of Gemma 3: Llama's layout with a norm before and after each sublayer."""

from nas.supernet.families.base import Family, Sublayer, grouped_query_attributes, whole_head_rotation
from nas.supernet.families.llama import GATED_MLP, SEPARATE_ATTENTION

GEMMA = Family(
    name="Gemma 2, Gemma 3 (text)",
    model_types=("gemma2", "gemma3_text"),
    is_decoder=True,
    layers="layers",
    attention=Sublayer(
        projections=SEPARATE_ATTENTION,
        modules=("self_attn",),
        norms=("input_layernorm", "post_attention_layernorm"),
    ),
    mlp=Sublayer(
        projections=GATED_MLP,
        modules=("mlp",),
        norms=("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    ),
    attention_module="self_attn",
    attention_attributes=grouped_query_attributes,
    rotary_dims=whole_head_rotation,
    whole_queries=("gemma3_text",),
)
