"""GPT-2: fused query, key and value; weights stored input-first (``Conv1D``); biases everywhere."""

from typing import Any

from torch import nn

from nas.supernet.families.base import Family, Projection, Sublayer, Unit


def _attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    """GPT-2 splits the fused projection into three stretches of ``split_size``."""
    del num_kv_heads
    head_dim: Any = attention.head_dim
    return {"num_heads": num_heads, "split_size": num_heads * head_dim}


GPT2 = Family(
    name="GPT-2",
    model_types=("gpt2",),
    is_decoder=True,
    layers="h",
    attention=Sublayer(
        projections=(
            Projection(path="attn.c_attn", outputs=(Unit.QUERY_HEAD, Unit.KV_HEAD, Unit.KV_HEAD)),
            Projection(path="attn.c_proj", input=Unit.QUERY_HEAD),
        ),
        modules=("attn",),
        norms=("ln_1",),
    ),
    mlp=Sublayer(
        projections=(
            Projection(path="mlp.c_fc", outputs=(Unit.NEURON,)),
            Projection(path="mlp.c_proj", input=Unit.NEURON),
        ),
        modules=("mlp",),
        norms=("ln_2",),
    ),
    attention_module="attn",
    attention_attributes=_attributes,
)
