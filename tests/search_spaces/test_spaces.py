"""Truths that hold for every search space, over small supernets, by enumeration and by random draws."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.base import largest, neighbours, num_candidates, sample, smallest
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from tests.search_spaces.spaces import SPACES, Where, all_candidates, build

ENUMERABLE = 3000

every_space = pytest.mark.parametrize("where", SPACES, ids=str)


def any_candidate(test: Callable[[Where, int], None]) -> Callable[[], None]:
    """Runs the test over spaces and seeds, however busy the machine is."""
    return settings(deadline=None)(given(where=st.sampled_from(SPACES), seed=st.integers(0, 2**32 - 1))(test))


@every_space
def test_canonical_candidates_and_sub_networks_are_one_to_one(where: Where) -> None:
    space = build(where)
    if num_candidates(space) > ENUMERABLE:
        rng = np.random.default_rng(1)
        candidates = {tuple(int(rng.integers(len(choice.sizes))) for choice in space.choices) for _ in range(300)}
    else:
        candidates = set(all_candidates(space))
    key_of = {candidate: space.sub_network(candidate).key for candidate in candidates}
    canonical = {space.canonical(candidate) for candidate in candidates}
    assert {space.canonical(candidate): key for candidate, key in key_of.items()} == {
        candidate: space.sub_network(candidate).key for candidate in canonical
    }
    assert len(canonical) == len(set(key_of.values()))


@every_space
def test_the_largest_is_the_supernet(where: Where) -> None:
    space = build(where)
    assert space.sub_network(largest(space)).is_full


@every_space
def test_no_sub_network_is_smaller_than_the_smallest(where: Where) -> None:
    space = build(where)
    least = space.sub_network(smallest(space))
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = space.sub_network(sample(space, rng))
        assert np.all(np.less_equal(least.num_heads, other.num_heads))
        assert np.all(np.less_equal(least.num_neurons, other.num_neurons))


@any_candidate
def test_every_combination_is_valid_and_its_canonical_form_means_the_same(where: Where, seed: int) -> None:
    space = build(where, seed)
    rng = np.random.default_rng(seed)
    candidate = tuple(int(rng.integers(len(choice.sizes))) for choice in space.choices)
    canonical = space.canonical(candidate)
    assert space.canonical(canonical) == canonical
    assert all(index <= drawn for index, drawn in zip(canonical, candidate, strict=True))
    assert space.sub_network(canonical) == space.sub_network(candidate)


@any_candidate
def test_nearest_finds_a_candidate_from_its_sub_network(where: Where, seed: int) -> None:
    space = build(where, seed)
    candidate = sample(space, np.random.default_rng(seed))
    assert space.nearest(space.sub_network(candidate)) == candidate


@any_candidate
def test_kept_groups_keep_equally_many_heads(where: Where, seed: int) -> None:
    space = build(where, seed)
    shape = space.shape
    sub_network = space.sub_network(sample(space, np.random.default_rng(seed)))
    for heads_KG in sub_network.heads_LH.reshape(shape.num_layers, shape.num_kv_groups, shape.heads_per_group):
        assert len({int(group_G.sum()) for group_G in heads_KG if group_G.any()}) <= 1


@any_candidate
def test_sub_networks_survive_json(where: Where, seed: int) -> None:
    space = build(where, seed)
    sub_network = space.sub_network(sample(space, np.random.default_rng(seed)))
    assert SubNetwork.from_json(json.loads(json.dumps(sub_network.to_json())), space.shape) == sub_network


@any_candidate
def test_neighbours_are_other_canonical_candidates(where: Where, seed: int) -> None:
    space = build(where, seed)
    candidate = sample(space, np.random.default_rng(seed))
    for other in neighbours(space, candidate):
        assert other == space.canonical(other)
        assert other != candidate


@any_candidate
def test_nearest_of_any_mask_is_canonical_and_keeps_no_more_in_total_if_avoidable(where: Where, seed: int) -> None:
    space = build(where, seed)
    wanted = _random_sub_network(space.shape, np.random.default_rng(seed))
    candidate = space.nearest(wanted)
    assert candidate == space.canonical(candidate)
    found, least = space.sub_network(candidate), space.sub_network(smallest(space))
    for counts in ("num_heads", "num_neurons"):
        found_L, wanted_L, least_L = (getattr(sub_network, counts) for sub_network in (found, wanted, least))
        assert sum(found_L) <= sum(np.maximum(wanted_L, least_L))


def _random_sub_network(shape: SupernetShape, rng: np.random.Generator) -> SubNetwork:
    heads_LKG = np.zeros((shape.num_layers, shape.num_kv_groups, shape.heads_per_group), dtype=np.bool_)
    for layer in range(shape.num_layers):
        least = int(layer in shape.required_attention)
        groups = rng.permutation(shape.num_kv_groups)[: rng.integers(least, shape.num_kv_groups + 1)]
        heads_LKG[layer, groups, : rng.integers(1, shape.heads_per_group + 1)] = True
    return SubNetwork(
        shape=shape,
        heads_LH=heads_LKG.reshape(shape.num_layers, -1),
        neurons_LN=rng.random((shape.num_layers, shape.num_neurons)) < rng.random((shape.num_layers, 1)),
    )
