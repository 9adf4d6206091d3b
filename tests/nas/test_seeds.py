from typing import Any

import numpy as np
import pytest

from nas.pruners import PRUNERS, UnitCosts
from nas.seeds import LADDER, scores_for, seeds, unit_costs
from nas.supernet.importance import UnitScores, importance_scores, rank
from nas.supernet.supernet import Supernet
from search_spaces import make_space
from search_spaces.base import SearchSpace, largest, smallest
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model, token_ids

SPACES: list[tuple[str, dict[str, Any]]] = [
    ("uniform", {"neurons_multiple_of": 8}),
    ("per_layer", {"heads": "head", "neurons_multiple_of": 8}),
    ("joint", {"neurons_multiple_of": 8, "loadable_by": ["vllm"]}),
    ("layer_drop", {"drop": "sublayer"}),
]


@pytest.fixture(scope="module")
def llama() -> Supernet:
    return Supernet(tiny_model("llama"))


@pytest.fixture(scope="module")
def scores(llama: Supernet) -> dict[str, UnitScores]:
    batches = [token_ids()]
    return scores_for(list(PRUNERS), llama, importance_scores("magnitude", llama, batches), batches)


def build(space: tuple[str, dict[str, Any]], supernet: Supernet, scores: UnitScores) -> SearchSpace:
    kind, options = space
    return make_space(kind, supernet.shape, rank(scores, supernet.shape), **options)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space[0])
def test_supernet_and_smallest_come_first_and_none_twice(
    space: tuple[str, dict[str, Any]], llama: Supernet, scores: dict[str, UnitScores]
) -> None:
    built = build(space, llama, scores["uniform"])
    proposed = list(seeds(built, unit_costs(llama), scores))
    candidates = [seed.candidate for seed in proposed]
    assert candidates[:2] == [largest(built), smallest(built)]
    assert [seed.source for seed in proposed[:2]] == ["supernet", "smallest"]
    assert built.sub_network(candidates[0]).is_full
    assert len(set(candidates)) == len(candidates)
    assert {seed.source for seed in proposed[2:]} <= set(PRUNERS)
    for candidate in candidates:
        assert all(0 <= index < len(choice.sizes) for index, choice in zip(candidate, built.choices, strict=True))
        assert built.canonical(candidate) == candidate
    assert len({built.sub_network(candidate) for candidate in candidates}) == len(candidates)


def test_each_pruner_climbs_down_the_ladder(llama: Supernet, scores: dict[str, UnitScores]) -> None:
    """In a space as fine as the pruners, where no two of them agree, each comes within one unit of each rung."""
    space = build(("joint", {"neurons_multiple_of": 1}), llama, scores["uniform"])
    costs = unit_costs(llama)
    proposed = list(seeds(space, costs, {name: scores[name] for name in ("uniform", "magnitude", "block_influence")}))
    total = costs.layers_total(llama.shape)
    coarsest = (costs.kv_group + llama.shape.heads_per_group * costs.head) / total
    for name in ("uniform", "magnitude"):
        shares = [costs.of(space.sub_network(seed.candidate)) / total for seed in proposed if seed.source == name]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == len(LADDER)
        assert all(rung - coarsest < share <= rung for share, rung in zip(shares, LADDER, strict=True))
    assert [seed.source for seed in proposed[2:5]] == ["uniform", "magnitude", "block_influence"]


def test_no_pruner_leaves_supernet_and_smallest(llama: Supernet, scores: dict[str, UnitScores]) -> None:
    space = build(SPACES[0], llama, scores["uniform"])
    assert [seed.source for seed in seeds(space, unit_costs(llama), {})] == ["supernet", "smallest"]


def test_each_pruner_gets_the_scores_it_goes_by(llama: Supernet, scores: dict[str, UnitScores]) -> None:
    for name in ("magnitude", "activation", "fisher", "block_influence"):
        expected = importance_scores(name, llama, [token_ids()])
        np.testing.assert_array_equal(scores[name].heads_LH, expected.heads_LH)
        np.testing.assert_array_equal(scores[name].mlp_L, expected.mlp_L)


def test_uniform_goes_by_the_searchs_own_scores(llama: Supernet) -> None:
    own = importance_scores("magnitude", llama, [])
    assert scores_for(["uniform"], llama, own, [])["uniform"] is own


@pytest.mark.parametrize("name", TINY_MODELS)
def test_costs_of_units_are_what_extraction_saves(name: str) -> None:
    """No sublayer is dropped, so that no norm and no output bias goes."""
    supernet = Supernet(tiny_model(name))
    shape, costs = supernet.shape, unit_costs(supernet)
    rng = np.random.default_rng(0)
    kept = rank(importance_scores("magnitude", supernet, []), shape).keep_best(
        shape,
        kv_groups_L=rng.integers(1, shape.num_kv_groups + 1, shape.num_layers),
        heads_per_group_L=rng.integers(1, shape.heads_per_group + 1, shape.num_layers),
        neurons_L=rng.integers(1, shape.num_neurons + 1, shape.num_layers),
    )
    saved = supernet.model.num_parameters() - supernet.extract(kept).num_parameters()
    assert saved == costs.of(SubNetwork.full(shape)) - costs.of(kept)


def test_costs_of_llamas_units_by_hand(llama: Supernet) -> None:
    """Hidden size 32, head_dim 4, no biases: two matrices a head and a KV group, three a neuron."""
    assert unit_costs(llama) == UnitCosts(head=2 * 4 * 32, kv_group=2 * 4 * 32, neuron=3 * 32)
