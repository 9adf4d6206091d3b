"""GPT-NeoX (Pythia): the query, key and value of a head lie side by side in one matrix; parallel residual."""

from nas.supernet.families.base import Family, Projection, Sublayer, Unit, partial_rotation

GPT_NEOX = Family(
    name="GPT-NeoX (Pythia)",
    model_types=("gpt_neox",),
    is_decoder=True,
    layers="layers",
    attention=Sublayer(
        projections=(
            Projection(path="attention.query_key_value", outputs=(Unit.QUERY_HEAD,), rows_per_head=3),
            Projection(path="attention.dense", input=Unit.QUERY_HEAD),
        ),
        modules=("attention",),
        norms=("input_layernorm",),
    ),
    mlp=Sublayer(
        projections=(
            Projection(path="mlp.dense_h_to_4h", outputs=(Unit.NEURON,)),
            Projection(path="mlp.dense_4h_to_h", input=Unit.NEURON),
        ),
        modules=("mlp",),
        norms=("post_attention_layernorm",),
    ),
    attention_module="attention",
    rotary_dims=partial_rotation,
)
