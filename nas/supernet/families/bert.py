"""BERT and RoBERTa: post-norm encoders; the output projections sit beside the attention and the MLP."""

from typing import Any

from torch import nn

from nas.supernet.families.base import Family, Projection, Sublayer, Unit


def _attributes(attention: nn.Module, num_heads: int, num_kv_heads: int) -> dict[str, Any]:
    del num_kv_heads
    head_dim: Any = attention.attention_head_size
    return {"num_attention_heads": num_heads, "all_head_size": num_heads * head_dim}


BERT = Family(
    name="BERT, RoBERTa",
    model_types=("bert", "roberta"),
    is_decoder=False,
    layers="encoder.layer",
    attention=Sublayer(
        projections=(
            Projection(path="attention.self.query", outputs=(Unit.QUERY_HEAD,)),
            Projection(path="attention.self.key", outputs=(Unit.KV_HEAD,)),
            Projection(path="attention.self.value", outputs=(Unit.KV_HEAD,)),
            Projection(path="attention.output.dense", input=Unit.QUERY_HEAD),
        ),
        modules=("attention.self", "attention.output.dense"),
    ),
    mlp=Sublayer(
        projections=(
            Projection(path="intermediate.dense", outputs=(Unit.NEURON,)),
            Projection(path="output.dense", input=Unit.NEURON),
        ),
        modules=("intermediate", "output.dense"),
    ),
    attention_module="attention.self",
    attention_attributes=_attributes,
)
