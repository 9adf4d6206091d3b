"""DistilBERT: a post-norm encoder, like BERT with other names."""

from typing import Any

from torch import nn

from nas.supernet.families.base import Family, Projection, Sublayer, Unit


def _attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    del attention, num_kv_heads
    return {"n_heads": num_heads}


DISTILBERT = Family(
    name="DistilBERT",
    model_types=("distilbert",),
    is_decoder=False,
    layers="transformer.layer",
    attention=Sublayer(
        projections=(
            Projection(path="attention.q_lin", outputs=(Unit.QUERY_HEAD,)),
            Projection(path="attention.k_lin", outputs=(Unit.KV_HEAD,)),
            Projection(path="attention.v_lin", outputs=(Unit.KV_HEAD,)),
            Projection(path="attention.out_lin", input=Unit.QUERY_HEAD),
        ),
        modules=("attention",),
    ),
    mlp=Sublayer(
        projections=(
            Projection(path="ffn.lin1", outputs=(Unit.NEURON,)),
            Projection(path="ffn.lin2", input=Unit.NEURON),
        ),
        modules=("ffn",),
    ),
    attention_module="attention",
    attention_attributes=_attributes,
)
