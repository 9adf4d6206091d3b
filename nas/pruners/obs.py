"""Optimal brain surgeon over whole units: remove what the others can best make up for.

Within a sublayer units go in the order of least squared output error after the rest has been refit
(``elimination.py``; as ZipLM, arXiv:2302.04089, does it, from Gram matrices alone). That gives each sublayer a curve of
error against width. Which sublayer gives up its next unit is decided by

    Δ error / (energy of the residual stream there · cost of the unit)

smallest first: an error matters in relation to what it is added to. The curves are made convex by a running maximum,
so that a unit that is cheap only once others are gone waits for them. No labels and no gradients.

The masks are chosen for refit weights: use the recovery ``refit`` with them.

Legend: U units of a sublayer (KV groups or neurons).
"""

from dataclasses import dataclass

import numpy as np
import torch

from nas.pruners.best_units import of_groups
from nas.pruners.costs import UnitCosts
from nas.pruners.elimination import Elimination, eliminate
from nas.pruners.errors import BudgetTooSmallError
from nas.pruners.evidence import Evidence
from nas.supernet.families import Sublayer
from nas.supernet.importance.base import Scores
from nas.supernet.importance.gram import gram_matrices, stream_energies
from nas.supernet.importance.recording import output_weight
from search_spaces.sub_network import BoolMask, SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The order of removal and its errors, for the two sublayers of every layer.

    Attributes:
        groups: Of KV groups, layer by layer.
        neurons: Of neurons, layer by layer.
        energies_L: ``(num_layers,)`` float64 of the residual stream.
    """

    groups: tuple[Elimination, ...]
    neurons: tuple[Elimination, ...]
    energies_L: Scores


def prune_by_obs(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """Removes units along the curves until the budget is met.

    Raises:
        BudgetTooSmallError: The groups that must be kept cost more than the budget.
    """
    shape = evidence.shape
    curves = evidence.once("elimination curves", lambda: elimination_curves(evidence))
    groups_LU = _prices(curves.groups, curves.energies_L) / costs.whole_group(shape)
    groups_LU[list(shape.required_attention), -1] = np.inf
    neurons_LU = _prices(curves.neurons, curves.energies_L) / costs.neuron
    prices = np.concatenate([groups_LU.ravel(), neurons_LU.ravel()])
    unit_costs = np.repeat([costs.whole_group(shape), costs.neuron], [groups_LU.size, neurons_LU.size])
    order = np.argsort(prices, kind="stable")
    left = costs.outside_units(shape) + unit_costs.sum() - np.concatenate([[0], np.cumsum(unit_costs[order])])
    num_removed = int(np.argmax(left <= budget)) if (left <= budget).any() else len(order)
    if num_removed > np.isfinite(prices).sum():
        least = float(left[np.isfinite(prices).sum()])
        raise BudgetTooSmallError.of(costs.name, "OBS", least=least, received=budget)
    removed = np.zeros(len(order), dtype=np.bool_)
    removed[order[:num_removed]] = True
    return of_groups(
        _kept(curves.groups, removed[: groups_LU.size].reshape(groups_LU.shape)),
        _kept(curves.neurons, removed[groups_LU.size :].reshape(neurons_LU.shape)),
        shape,
    )


@torch.no_grad()
def elimination_curves(evidence: Evidence) -> Curves:
    """From the calibration examples; labels are not looked at."""
    family, shape = evidence.supernet.family, evidence.shape
    return Curves(
        groups=_eliminate(evidence, family.attention, width=shape.head_dim * shape.heads_per_group),
        neurons=_eliminate(evidence, family.mlp, width=1),
        energies_L=stream_energies(evidence.supernet, evidence.batches),
    )


def _eliminate(evidence: Evidence, sublayer: Sublayer, *, width: int) -> tuple[Elimination, ...]:
    supernet = evidence.supernet
    unlabelled = [batch.unlabelled for batch in evidence.batches]
    return tuple(
        eliminate(gram_FF, output_weight(layer, sublayer).float().cpu(), width=width)
        for layer, gram_FF in zip(supernet.layers, gram_matrices(supernet, sublayer, unlabelled), strict=True)
    )


def _prices(eliminations: tuple[Elimination, ...], energies_L: Scores) -> Scores:
    """``(num_layers, num_units)``: what removing the next unit costs in error, in the order of removal."""
    errors_LU = np.stack([elimination.errors_U for elimination in eliminations])
    steps_LU = np.diff(errors_LU, axis=1, prepend=0.0)
    prices_LU: Scores = (
        np.maximum.accumulate(steps_LU, axis=1) / np.maximum(energies_L, np.finfo(np.float64).tiny)[:, None]
    )
    return prices_LU


def _kept(eliminations: tuple[Elimination, ...], removed_LU: BoolMask) -> BoolMask:
    """From positions in the orders of removal to unit numbers."""
    kept_LU = np.ones(removed_LU.shape, dtype=np.bool_)
    for layer, elimination in enumerate(eliminations):
        kept_LU[layer, np.asarray(elimination.order_U)[removed_LU[layer]]] = False
    return kept_LU
