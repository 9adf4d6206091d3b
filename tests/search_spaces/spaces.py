"""Small supernets and every kind of space over them, small enough to enumerate."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from search_spaces import make_space
from search_spaces.base import Candidate, SearchSpace, UnitRanking
from search_spaces.shape import Matrix, SupernetShape


def with_matrices(**counts: Any) -> SupernetShape:
    """A shape with a fused attention input, an attention output, and an MLP without a gate."""
    shape = SupernetShape(**counts)
    hidden, neurons = shape.hidden_size, shape.num_neurons
    heads, groups = shape.num_heads * shape.head_dim, shape.num_kv_groups * shape.head_dim
    sizes = {
        "qkv_proj": ("attention", heads + 2 * groups, hidden),
        "o_proj": ("attention", hidden, heads),
        "up_proj": ("mlp", neurons, hidden),
        "down_proj": ("mlp", hidden, neurons),
    }
    matrices = tuple(
        Matrix(name=name, sublayer=sublayer, num_outputs=num_outputs, num_inputs=num_inputs)
        for name, (sublayer, num_outputs, num_inputs) in sizes.items()
    )
    return replace(shape, matrices=matrices)


GQA = with_matrices(num_layers=3, num_heads=4, num_kv_groups=2, num_neurons=32, head_dim=4, hidden_size=16)
MHA = with_matrices(num_layers=2, num_heads=3, num_kv_groups=3, num_neurons=20, head_dim=4, hidden_size=12)
TWO_CACHES = with_matrices(
    num_layers=3, num_heads=4, num_kv_groups=1, num_neurons=64, head_dim=4, hidden_size=16, required_attention=(0, 2)
)
SHAPES = {"gqa": GQA, "mha": MHA, "two_caches": TWO_CACHES}

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *(
        (type, {"heads": heads, "neurons_multiple_of": 16, "loadable_by": loadable_by})
        for type in ("uniform", "per_layer", "joint")
        for heads in ("kv_group", "head", "fixed")
        for loadable_by in ((), ("vllm",))
    ),
    *(
        ("layer_drop", {"drop": drop, "loadable_by": loadable_by})
        for drop in ("layer", "sublayer")
        for loadable_by in ((), ("vllm", "transformers"))
    ),
    ("low_rank", {}),
    ("low_rank", {"matrices": ["up_proj", "o_proj"], "ranks_multiple_of": 2}),
]

Where = tuple[str, str, dict[str, Any]]
"""A supernet's name, a space's, and its options."""

SPACES: list[Where] = [(shape, type, options) for shape in SHAPES for type, options in OPTIONS]


def shuffled_ranking(shape: SupernetShape, seed: int) -> UnitRanking:
    rng = np.random.default_rng(seed)
    in_order = UnitRanking.as_numbered(shape)
    return UnitRanking(
        kv_groups_LK=rng.permuted(in_order.kv_groups_LK, axis=1),
        heads_LKG=rng.permuted(in_order.heads_LKG, axis=2),
        neurons_LN=rng.permuted(in_order.neurons_LN, axis=1),
        attention_L=rng.random(shape.num_layers),
        mlp_L=rng.random(shape.num_layers),
    )


def build(where: Where, seed: int = 0) -> SearchSpace:
    shape, type, options = where
    return make_space(type, SHAPES[shape], shuffled_ranking(SHAPES[shape], seed), **options)


def all_candidates(space: SearchSpace) -> Iterator[Candidate]:
    return itertools.product(*(range(len(choice.sizes)) for choice in space.choices))
