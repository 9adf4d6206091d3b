"""What every search space must hold to, with its default options, on a supernet of ordinary proportions."""

from itertools import islice

import numpy as np
import pytest

from search_spaces import SEARCH_SPACES, make_space
from search_spaces.base import SearchSpace, UnitRanking, as_sizes, largest, neighbours, sample, smallest
from search_spaces.shape import Matrix, SupernetShape

SHAPE = SupernetShape(
    num_layers=6,
    num_heads=8,
    num_kv_groups=4,
    num_neurons=352,
    head_dim=16,
    hidden_size=128,
    matrices=(
        Matrix(name="qkv_proj", sublayer="attention", num_outputs=256, num_inputs=128),
        Matrix(name="o_proj", sublayer="attention", num_outputs=128, num_inputs=128),
        Matrix(name="up_proj", sublayer="mlp", num_outputs=352, num_inputs=128),
        Matrix(name="down_proj", sublayer="mlp", num_outputs=128, num_inputs=352),
    ),
)


@pytest.fixture(params=SEARCH_SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return make_space(request.param, SHAPE, UnitRanking.as_numbered(SHAPE))


def test_it_knows_its_supernet(space: SearchSpace) -> None:
    assert space.shape == SHAPE


def test_choices_have_distinct_names_and_something_to_choose(space: SearchSpace) -> None:
    names = [choice.name for choice in space.choices]
    assert len(set(names)) == len(names) > 0
    assert all(len(choice.sizes) > 1 for choice in space.choices)


def test_the_ends_are_the_supernet_and_something_smaller(space: SearchSpace) -> None:
    assert space.sub_network(largest(space)).is_full
    assert not space.sub_network(smallest(space)).is_full


def test_candidates_sub_networks_and_back(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for candidate in [largest(space), smallest(space), *(sample(space, rng) for _ in range(100))]:
        assert space.canonical(candidate) == candidate
        assert space.nearest(space.sub_network(candidate)) == candidate
        assert list(as_sizes(space, candidate)) == [choice.name for choice in space.choices]


def test_equal_keys_are_equal_canonical_candidates(space: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    candidates = {sample(space, rng) for _ in range(200)}
    assert len({space.sub_network(candidate).key for candidate in candidates}) == len(candidates)


def test_a_step_leads_to_another_sub_network(space: SearchSpace) -> None:
    start = sample(space, np.random.default_rng(2))
    others = list(islice(neighbours(space, start), 10))
    assert others
    assert space.sub_network(start) not in {space.sub_network(other) for other in others}


def test_the_same_candidate_is_the_same_sub_network(space: SearchSpace) -> None:
    candidate = sample(space, np.random.default_rng(3))
    assert space.sub_network(candidate) == space.sub_network(candidate)


def test_more_of_one_choice_never_removes_a_unit(space: SearchSpace) -> None:
    start = smallest(space)
    small = space.sub_network(start)
    for other in neighbours(space, start):
        grown = space.sub_network(other)
        assert not (small.heads_LH & ~grown.heads_LH).any()
        assert not (small.neurons_LN & ~grown.neurons_LN).any()
        if small.ranks_LM is not None:
            full_M = [matrix.full_rank for matrix in SHAPE.matrices]
            grown_LM = np.zeros_like(small.ranks_LM) if grown.ranks_LM is None else grown.ranks_LM
            assert (small.ranks_LM <= np.where(grown_LM > 0, grown_LM, full_M)).all()
