"""Any pruner under a budget of measured latency.

A table says what each sublayer takes at each width (``latency_table.py``), measured in this model on this device. A
pruner of FLOPs is asked for less and less until the table finds its sub-network fast enough: the largest such FLOPs
budget is found by bisection. The Fisher search needs no such detour: it spends the table's seconds itself
(arXiv:2204.09656).
"""

from nas.pruners.base import Pruner
from nas.pruners.best_units import of_groups
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.pruners.evidence import Evidence
from nas.pruners.fisher import prune_by_fisher, rearranged, search_by_fisher
from nas.pruners.latency_table import LatencyTable
from nas.pruners.mask_search import search_latency
from search_spaces.sub_network import SubNetwork

PRECISION = 1e-3
"""Of the FLOPs budget, as a share of the supernet's FLOPs, at which bisection stops."""


def prune_within_latency(
    pruner: Pruner, evidence: Evidence, flops: UnitCosts, table: LatencyTable, budget_s: float
) -> SubNetwork:
    """The pruner's sub-network of the most FLOPs that takes at most ``budget_s`` by the table.

    Raises:
        BudgetTooSmallError: None of its sub-networks is that fast.
    """
    if pruner in (search_by_fisher, prune_by_fisher):
        found = _search_by_fisher(evidence, table, budget_s)
        return found if pruner is search_by_fisher else rearranged(evidence, found)
    total = float(flops.total(evidence.shape))
    best: SubNetwork | None = None
    fastest_s = float("inf")
    low, high = 0.0, total
    budget = high
    while high - low > PRECISION * total:
        try:
            sub_network = pruner(evidence, flops, budget)
        except BudgetTooSmallError:
            low = budget
        else:
            taken_s = predicted_s(table, sub_network)
            fastest_s = min(fastest_s, taken_s)
            if taken_s <= budget_s:
                best, low = sub_network, budget
            else:
                high = budget
        budget = (low + high) / 2
    if best is None:
        raise BudgetTooSmallError.of("s", "This pruner at its smallest", least=fastest_s, received=budget_s)
    return best


def predicted_s(table: LatencyTable, sub_network: SubNetwork) -> float:
    """Seconds by the table."""
    return table.of(sub_network.num_kv_groups, sub_network.num_neurons)


def _search_by_fisher(evidence: Evidence, table: LatencyTable, budget_s: float) -> SubNetwork:
    gradients, shape = evidence.clipped_gradients, evidence.shape
    groups_LK, neurons_LN = search_latency(
        (gradients.groups_BLK(shape) ** 2).sum(axis=0),
        (gradients.neurons_BLN**2).sum(axis=0),
        budget_s=budget_s,
        table=table,
        required=shape.required_attention,
    )
    return of_groups(groups_LK, neurons_LN, shape)
