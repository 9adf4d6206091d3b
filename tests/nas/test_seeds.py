from typing import Any

import numpy as np
import pytest

from nas.pruners import PRUNERS, RANK_PRUNERS, Evidence, parameter_costs
from nas.seeds import LADDER, Proposal, cut_down, propose, seeds, truncations
from nas.supernet.importance import rank
from nas.supernet.supernet import Supernet
from search_spaces import make_space
from search_spaces.base import SearchSpace, largest, smallest
from search_spaces.low_rank import weights_kept
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

SPACES: list[tuple[str, dict[str, Any]]] = [
    ("uniform", {"neurons_multiple_of": 8}),
    ("per_layer", {"heads": "head", "neurons_multiple_of": 8}),
    ("joint", {"neurons_multiple_of": 8, "loadable_by": ["vllm"]}),
    ("joint", {"neurons_multiple_of": 1}),
    ("layer_drop", {"drop": "sublayer"}),
    ("low_rank", {}),
]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(Supernet(tiny_model("llama")), batches_of(token_ids()), importance="magnitude")


@pytest.fixture(scope="module")
def proposals(evidence: Evidence) -> list[Proposal]:
    return list(propose(list(PRUNERS), evidence, parameter_costs(evidence.supernet)))


def build(space: tuple[str, dict[str, Any]], evidence: Evidence) -> SearchSpace:
    kind, options = space
    return make_space(kind, evidence.shape, rank(evidence.own_scores, evidence.shape), **options)


def counts(sub_network: SubNetwork) -> tuple[tuple[int, ...], ...]:
    return sub_network.num_heads, sub_network.num_kv_groups, sub_network.num_neurons


def test_each_pruner_climbs_down_the_ladder(evidence: Evidence, proposals: list[Proposal]) -> None:
    """But for rungs it cannot reach: KCM keeps all heads, and block influence and uniform widths end somewhere."""
    costs = parameter_costs(evidence.supernet)
    for name in PRUNERS:
        spent = [costs.of(one.sub_network) for one in proposals if one.source == name]
        rungs = [costs.budget_for(evidence.shape, share=share) for share in LADDER[: len(spent)]]
        assert all(cost <= rung for cost, rung in zip(spent, rungs, strict=True))
        assert len(spent) == len(LADDER) or name in {"kcm", "block_influence"}
    assert [one.source for one in proposals[: len(PRUNERS)]] == list(PRUNERS)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space[0])
def test_seeds_lie_in_the_space_and_none_comes_twice(
    space: tuple[str, dict[str, Any]], evidence: Evidence, proposals: list[Proposal]
) -> None:
    built = build(space, evidence)
    found = list(seeds(built, rank(evidence.own_scores, evidence.shape), proposals))
    assert [seed.source for seed in found[:2]] == ["supernet", "smallest"]
    assert [seed.candidate for seed in found[:2]] == [largest(built), smallest(built)]
    assert found[0].sub_network.is_full
    assert len({seed.sub_network for seed in found}) == len(found)
    for seed in found:
        assert built.canonical(seed.candidate) == seed.candidate
        assert counts(seed.sub_network) == counts(built.sub_network(seed.candidate))


def test_a_space_as_fine_as_the_pruner_takes_its_mask_as_it_is(evidence: Evidence) -> None:
    [proposal] = list(propose(["fisher"], evidence, parameter_costs(evidence.supernet)))[2:3]
    space = build(("joint", {"neurons_multiple_of": 1}), evidence)
    found = list(seeds(space, rank(evidence.own_scores, evidence.shape), [proposal]))
    assert found[2].sub_network == proposal.sub_network
    assert found[2].sub_network != space.sub_network(found[2].candidate)  # that one keeps the largest weights


def test_a_mask_is_cut_down_to_the_best_of_what_it_kept(evidence: Evidence) -> None:
    shape, ranking = evidence.shape, rank(evidence.own_scores, evidence.shape)
    rng = np.random.default_rng(0)
    heads_LH = np.repeat(rng.random((shape.num_layers, shape.num_kv_groups)) < 0.6, shape.heads_per_group, axis=1)
    heads_LH[0] = True
    proposed = SubNetwork(
        shape=shape, heads_LH=heads_LH, neurons_LN=rng.random((shape.num_layers, shape.num_neurons)) < 0.5
    )
    sizes = ranking.keep_best(
        shape,
        kv_groups_L=np.minimum(proposed.num_kv_groups, 1),
        heads_per_group_L=np.full(shape.num_layers, shape.heads_per_group),
        neurons_L=np.array(proposed.num_neurons) // 2,
    )
    cut = cut_down(proposed, sizes, ranking)
    assert counts(cut) == counts(sizes)
    assert not (cut.heads_LH & ~proposed.heads_LH).any()
    assert not (cut.neurons_LN & ~proposed.neurons_LN).any()
    magnitudes_LN = evidence.own_scores.neurons_LN
    for layer in range(shape.num_layers):
        left_out = proposed.neurons_LN[layer] & ~cut.neurons_LN[layer]
        kept = cut.neurons_LN[layer]
        if kept.any() and left_out.any():
            assert magnitudes_LN[layer, kept].min() >= magnitudes_LN[layer, left_out].max()


def test_no_pruner_leaves_supernet_and_smallest(evidence: Evidence) -> None:
    space = build(SPACES[0], evidence)
    found = seeds(space, rank(evidence.own_scores, evidence.shape), [])
    assert [seed.source for seed in found] == ["supernet", "smallest"]


def test_truncated_svd_climbs_down_the_ladder(evidence: Evidence) -> None:
    space = build(("low_rank", {"ranks_multiple_of": 1}), evidence)
    proposed = list(truncations(evidence.shape))
    found = list(seeds(space, rank(evidence.own_scores, evidence.shape), proposed))
    assert [seed.source for seed in found] == ["supernet", "smallest", *["truncated_svd"] * len(LADDER)]
    for seed, proposal, share in zip(found[2:], proposed, LADDER, strict=True):
        assert seed.sub_network == proposal.sub_network == space.sub_network(seed.candidate)
        assert weights_kept(seed.sub_network) <= share


def test_pruners_of_units_propose_nothing_to_a_space_of_ranks(evidence: Evidence, proposals: list[Proposal]) -> None:
    space = build(("low_rank", {}), evidence)
    found = list(seeds(space, rank(evidence.own_scores, evidence.shape), proposals))
    assert [seed.source for seed in found] == ["supernet", "smallest"]


def test_pruners_of_ranks_take_their_place_there_and_stay_outside_of_other_spaces(evidence: Evidence) -> None:
    proposed = list(propose(list(RANK_PRUNERS), evidence, parameter_costs(evidence.supernet)))
    assert [one.source for one in proposed] == ["fisher_ranks"] * len(LADDER)
    ranking = rank(evidence.own_scores, evidence.shape)
    inside = list(seeds(build(("low_rank", {"ranks_multiple_of": 1}), evidence), ranking, proposed))[2:]
    assert [seed.sub_network for seed in inside] == [one.sub_network for one in proposed]
    assert all(seed.candidate is not None for seed in inside)
    outside = list(seeds(build(SPACES[0], evidence), ranking, proposed))[2:]
    assert [seed.sub_network for seed in outside] == [one.sub_network for one in proposed]
    assert all(seed.candidate is None for seed in outside)
