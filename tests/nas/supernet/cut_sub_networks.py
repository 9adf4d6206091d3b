"""Sub-networks that cut dimensions within heads, random and extreme ones."""

import numpy as np

from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask, SubNetwork
from tests.nas.supernet.test_supernet import random_sub_network


def random_queries(shape: SupernetShape, rng: np.random.Generator) -> BoolMask | None:
    """Pairs stay together; every group keeps one; None where queries must stay whole."""
    if shape.whole_queries:
        return None
    keep = rng.random((shape.num_layers, shape.num_kv_groups, shape.num_query_units)) < rng.random()
    np.put_along_axis(keep, rng.integers(0, shape.num_query_units, keep.shape[:2])[..., None], True, axis=2)
    return dims_of(shape, keep)


def dims_of(shape: SupernetShape, units_LKU: BoolMask) -> BoolMask:
    """Query units spelt out as dimensions."""
    half = shape.rotary_dims // 2
    pairs, singles = units_LKU[..., :half], units_LKU[..., half:]
    return np.concatenate([pairs, pairs, singles], axis=-1)


def random_values(shape: SupernetShape, rng: np.random.Generator) -> BoolMask:
    """Every group keeps a dimension."""
    keep = rng.random((shape.num_layers, shape.num_kv_groups, shape.head_dim)) < rng.random()
    np.put_along_axis(keep, rng.integers(0, shape.head_dim, keep.shape[:2])[..., None], True, axis=2)
    return keep


def random_cuts(shape: SupernetShape, rng: np.random.Generator) -> SubNetwork:
    """Any valid masks of heads, dimensions and neurons."""
    whole = random_sub_network(shape, rng)
    return SubNetwork(
        shape=shape,
        heads_LH=whole.heads_LH,
        neurons_LN=whole.neurons_LN,
        queries_LKD=random_queries(shape, rng),
        values_LKD=random_values(shape, rng),
    )


def extreme_cuts(shape: SupernetShape) -> list[SubNetwork]:
    """One dimension of each head; queries alone; values alone; one layer alone; equal widths everywhere."""
    full = SubNetwork.full(shape)
    groups = (shape.num_layers, shape.num_kv_groups)
    units, dims = np.zeros((*groups, shape.num_query_units), bool), np.zeros((*groups, shape.head_dim), bool)
    units[..., -1] = dims[..., 0] = True
    least_queries = None if shape.whole_queries else dims_of(shape, units)
    one_layer = np.ones_like(dims)
    one_layer[1, 0, 1:] = False
    half = np.ones_like(dims)
    half[..., : shape.head_dim // 2] = False
    masks = [(least_queries, dims), (None, dims), (None, one_layer), (None, half)]
    if least_queries is not None:
        masks.append((least_queries, None))
    return [
        SubNetwork(shape=shape, heads_LH=full.heads_LH, neurons_LN=full.neurons_LN, queries_LKD=q, values_LKD=v)
        for q, v in masks
    ]


def cut_candidates(shape: SupernetShape, *, num_random: int = 6) -> list[SubNetwork]:
    """Extremes and random ones; each lacks dimensions."""
    rng = np.random.default_rng(0)
    candidates = extreme_cuts(shape) + [random_cuts(shape, rng) for _ in range(num_random)]
    return [candidate for candidate in candidates if candidate.cuts_heads]
