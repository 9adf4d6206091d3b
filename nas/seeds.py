"""The first trials of every search, whatever its strategy: one-shot results at a ladder of budgets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from nas.pruners import UnitCosts, pruner_named
from nas.supernet.families import Unit
from nas.supernet.importance import UnitScores, importance_scores
from nas.supernet.layout import parameters_per_unit
from nas.supernet.supernet import Supernet
from search_spaces.base import Candidate, SearchSpace, largest, smallest

LADDER = (0.9, 0.75, 0.6, 0.5, 0.4, 0.25)
"""Shares of the layers' parameters to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A candidate and who proposed it."""

    candidate: Candidate
    source: str


def unit_costs(supernet: Supernet) -> UnitCosts:
    """Parameters of one unit of each kind."""
    layer, family, shape = supernet.layers[0], supernet.family, supernet.shape
    return UnitCosts(
        head=parameters_per_unit(layer, family.attention, shape, Unit.QUERY_HEAD),
        kv_group=parameters_per_unit(layer, family.attention, shape, Unit.KV_HEAD),
        neuron=parameters_per_unit(layer, family.mlp, shape, Unit.NEURON),
    )


def scores_for(
    names: Sequence[str], supernet: Supernet, own: UnitScores, batches: Sequence[Tensor]
) -> dict[str, UnitScores]:
    """The scores that each named pruner goes by.

    Args:
        names: Of pruners.
        supernet: With its weights in their original order.
        own: The scores of the search's own ranking, for pruners that go by that.
        batches: Calibration batches.
    """
    pruners = {name: pruner_named(name) for name in names}
    return {
        name: own if pruner.importance is None else importance_scores(pruner.importance, supernet, batches)
        for name, pruner in pruners.items()
    }


def seeds(space: SearchSpace, costs: UnitCosts, scores: dict[str, UnitScores]) -> Iterator[Seed]:
    """The supernet, the smallest, then each pruner's result at each rung of the ladder, no candidate twice.

    A pruner's result becomes the candidate of the space that is nearest to it by counts.
    """
    proposals = [Seed(candidate=largest(space), source="supernet"), Seed(candidate=smallest(space), source="smallest")]
    for share in LADDER:
        for name, own in scores.items():
            sub_network = pruner_named(name).prune(own, space.shape, costs, share=share)
            proposals.append(Seed(candidate=space.nearest(sub_network), source=name))
    seen: set[Candidate] = set()
    for seed in proposals:
        if seed.candidate not in seen:
            seen.add(seed.candidate)
            yield seed
