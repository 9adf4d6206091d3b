"""The first trials of every search, whatever its strategy: one-shot results at a ladder of budgets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.pruners import BudgetTooSmallError, Evidence, UnitCosts, pruner_named
from nas.supernet.own_weights import OwnWeights
from nas.trained_pruners import TrainedSubNetwork
from search_spaces.base import Candidate, SearchSpace, UnitRanking, largest, smallest
from search_spaces.intra_attention import dims_by_layer
from search_spaces.low_rank import uniform_ranks
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask, SubNetwork

LADDER = (0.9, 0.75, 0.6, 0.5, 0.4, 0.25)
"""Shares of the layers' parameters to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A sub-network to begin with.

    Attributes:
        candidate: Its place in the search space; None for one outside it.
        sub_network: What it keeps: as many units as the candidate says, but those that its pruner chose.
        source: Who proposed it.
        weights: Its own, where its pruner trained it.
        training: The name of that training, whose checkpoint is needed until the trial is stored.
    """

    candidate: Candidate | None
    sub_network: SubNetwork
    source: str
    weights: OwnWeights | None = None
    training: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A sub-network and the pruner that proposed it."""

    sub_network: SubNetwork
    source: str


def propose(names: Sequence[str], evidence: Evidence, costs: UnitCosts) -> Iterator[Proposal]:
    """Each pruner's result at each rung of the ladder, but for rungs below the least that the pruner can keep.

    Args:
        names: Of pruners; not of those that train, which are asked later (``nas.trainings``).
        evidence: What they go by.
        costs: What they spend.
    """
    for share in LADDER:
        budget = costs.budget_for(evidence.shape, share=share)
        for name in names:
            try:
                sub_network = pruner_named(name)(evidence, costs, budget)
            except BudgetTooSmallError:
                continue
            yield Proposal(sub_network=sub_network, source=name)


def truncations(shape: SupernetShape) -> Iterator[Proposal]:
    """Truncated SVD with the same share for every matrix, at each rung of the ladder."""
    for share in LADDER:
        yield Proposal(sub_network=uniform_ranks(shape, share), source="truncated_svd")


def seeds(space: SearchSpace, ranking: UnitRanking, proposals: Sequence[Proposal]) -> Iterator[Seed]:
    """The supernet, the smallest, then the proposals, no sub-network twice.

    A proposal takes the sizes of the nearest candidate of the space, and of the units it kept the best ones by the
    search's ranking: so it stays within what the space allows, and stays the pruner's. One of ranks is a seed
    outside of a space that has none.
    """
    ends = [(largest(space), "supernet"), (smallest(space), "smallest")]
    found = [Seed(candidate=end, sub_network=space.sub_network(end), source=source) for end, source in ends]
    for one in proposals:
        candidate = space.nearest(one.sub_network)
        sizes = space.sub_network(candidate)
        has_ranks = one.sub_network.ranks_LM is not None
        if has_ranks and sizes.ranks_LM is None:
            found.append(Seed(candidate=None, sub_network=one.sub_network, source=one.source))
            continue
        sub_network = cut_down(one.sub_network, sizes, ranking)
        found.append(Seed(candidate=candidate, sub_network=sub_network, source=one.source))
    seen: set[SubNetwork] = set()
    for seed in found:
        if seed.sub_network not in seen:
            seen.add(seed.sub_network)
            yield seed


def trained_seed(space: SearchSpace, trained: TrainedSubNetwork, source: str, *, training: str | None = None) -> Seed:
    """A trained sub-network as it is: other units would not go with its weights.

    It has a place in the space only if the space has exactly that sub-network.

    Args:
        space: The search's.
        trained: What came of it.
        source: The pruner's name.
        training: The training's name.
    """
    nearest = space.nearest(trained.sub_network)
    is_inside = space.sub_network(nearest) == trained.sub_network
    return Seed(
        candidate=nearest if is_inside else None,
        sub_network=trained.sub_network,
        source=source,
        weights=trained.weights,
        training=training,
    )


def cut_down(proposed: SubNetwork, sizes: SubNetwork, ranking: UnitRanking) -> SubNetwork:
    """As many units of each layer as ``sizes`` keeps, the best of those proposed first, and matrices at its ranks."""
    proposed_LKG = proposed.heads_LH.reshape(ranking.heads_LKG.shape)
    first_LK1 = np.arange(proposed.shape.num_kv_groups)[:, None] * proposed.shape.heads_per_group
    preferred = UnitRanking(
        kv_groups_LK=_first(proposed.kv_groups_LK, ranking.kv_groups_LK),
        heads_LKG=_first(proposed_LKG, ranking.heads_LKG - first_LK1) + first_LK1,
        neurons_LN=_first(proposed.neurons_LN, ranking.neurons_LN),
        attention_L=ranking.attention_L,
        mlp_L=ranking.mlp_L,
        queries_LKU=ranking.queries_LKU,
        values_LKD=ranking.values_LKD,
    )
    heads, groups = np.array(sizes.num_heads), np.array(sizes.num_kv_groups)
    units = preferred.keep_best(
        proposed.shape,
        kv_groups_L=groups,
        heads_per_group_L=heads // np.maximum(groups, 1),
        neurons_L=np.array(sizes.num_neurons),
    )
    if sizes.cuts_heads:
        dims = dims_by_layer(sizes)
        return preferred.keep_dims(units, queries_L=np.array(dims["queries"]), values_L=np.array(dims["values"]))
    return units if sizes.ranks_LM is None else replace(units, ranks_LM=sizes.ranks_LM)


def _first(proposed: BoolMask, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """``order`` with the units proposed before the others."""
    at_front = np.argsort(~np.take_along_axis(proposed, order, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(order, at_front, axis=-1)
