"""OPT: separate projections with biases; the MLP's two matrices sit directly on the layer.

The norms are left in place when a sublayer is dropped, because OPT-350m applies them after the residual sum.
"""

from typing import Any

from torch import nn

from nas.supernet.families.base import Family, Projection, Sublayer, Unit


def _attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    del attention, num_kv_heads
    return {"num_heads": num_heads}


OPT = Family(
    name="OPT",
    model_types=("opt",),
    is_decoder=True,
    layers="decoder.layers",
    attention=Sublayer(
        projections=(
            Projection(path="self_attn.q_proj", outputs=(Unit.QUERY_HEAD,)),
            Projection(path="self_attn.k_proj", outputs=(Unit.KV_HEAD,)),
            Projection(path="self_attn.v_proj", outputs=(Unit.KV_HEAD,)),
            Projection(path="self_attn.out_proj", input=Unit.QUERY_HEAD),
        ),
        modules=("self_attn",),
    ),
    mlp=Sublayer(
        projections=(
            Projection(path="fc1", outputs=(Unit.NEURON,)),
            Projection(path="fc2", input=Unit.NEURON),
        ),
        modules=("fc1", "fc2"),
    ),
    attention_module="self_attn",
    attention_attributes=_attributes,
)
