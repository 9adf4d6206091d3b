"""Sub-networks to export, one of each kind, and a way to spoil an export."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from search_spaces.base import UnitRanking
from search_spaces.embedding import Band
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.test_supernet import random_ranking, random_sub_network


def keep(shape: SupernetShape, *, groups: list[int], heads_per_group: list[int], neurons: list[int]) -> SubNetwork:
    """The units with the lowest numbers; layers that must have attention keep one KV group at least."""
    for layer in shape.required_attention:
        groups[layer] = max(1, groups[layer])
    return UnitRanking.as_numbered(shape).keep_best(
        shape,
        kv_groups_L=np.array(groups),
        heads_per_group_L=np.array(heads_per_group),
        neurons_L=np.array(neurons),
    )


def narrower(shape: SupernetShape) -> SubNetwork:
    """All heads, half the neurons, everywhere."""
    layers = shape.num_layers
    return keep(
        shape,
        groups=[shape.num_kv_groups] * layers,
        heads_per_group=[shape.heads_per_group] * layers,
        neurons=[shape.num_neurons // 2] * layers,
    )


def three_quarters(shape: SupernetShape) -> SubNetwork:
    """Three of four KV groups and neurons, everywhere: 6 of 8 heads, which do not divide a hidden size of 32."""
    return random_ranking(shape, np.random.default_rng(1)).keep_best(
        shape,
        kv_groups_L=np.full(shape.num_layers, shape.num_kv_groups * 3 // 4),
        heads_per_group_L=np.full(shape.num_layers, shape.heads_per_group),
        neurons_L=np.full(shape.num_layers, shape.num_neurons * 3 // 4),
    )


def fewer_layers(shape: SupernetShape) -> SubNetwork:
    """The third layer of four gone, nothing else."""
    groups, neurons = [shape.num_kv_groups] * 4, [shape.num_neurons] * 4
    groups[2] = neurons[2] = 0
    return keep(shape, groups=groups, heads_per_group=[shape.heads_per_group] * 4, neurons=neurons)


def heterogeneous(shape: SupernetShape) -> SubNetwork:
    """One query head of each kept group; no MLP; nothing at all; no attention."""
    full, neurons = shape.heads_per_group, shape.num_neurons
    groups = [shape.num_kv_groups - 1, shape.num_kv_groups, 0, 0]
    return keep(shape, groups=groups, heads_per_group=[1, full, full, full], neurons=[neurons - 5, 0, 0, neurons])


def low_rank(shape: SupernetShape) -> SubNetwork:
    """Ranks that differ, some above break-even; a layer of whole matrices; one without an MLP; one cut in width."""
    groups, neurons = [shape.num_kv_groups] * 4, [shape.num_neurons] * 4
    neurons[2] = 0
    groups[3] = 1
    units = keep(shape, groups=groups, heads_per_group=[shape.heads_per_group] * 4, neurons=neurons)
    ranks_LM = np.array([[rank + number for number in range(len(shape.matrices))] for rank in (1, 0, 5, 3)])
    ranks_LM[0, -1] = shape.matrices[-1].full_rank
    ranks_LM[1] = 0
    ranks_LM[3, [matrix.sublayer == "attention" for matrix in shape.matrices]] = 0
    return replace(units, ranks_LM=ranks_LM)


def bands(shape: SupernetShape) -> SubNetwork:
    """An embedding of whole rows, a low rank and one above break-even; sublayers of all kinds."""
    ranks = ((6, 0), (20, 3), (shape.vocab_size - 26, 24))
    return replace(
        heterogeneous(shape), bands=tuple(Band(num_tokens=num_tokens, rank=rank) for num_tokens, rank in ranks)
    )


KINDS = {
    "narrower": narrower,
    "three_quarters": three_quarters,
    "fewer_layers": fewer_layers,
    "heterogeneous": heterogeneous,
    "low_rank": low_rank,
    "bands": bands,
    "random_0": lambda shape: random_sub_network(shape, np.random.default_rng(0)),
    "random_1": lambda shape: random_sub_network(shape, np.random.default_rng(1)),
}


def damage(folder: Path) -> None:
    """Zeroes the last 16 numbers of the weights; the file stays readable."""
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-64:] = bytes(64)
    weights.write_bytes(content)
