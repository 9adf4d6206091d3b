"""A model whose time is known: the table must find it again, and what it adds up to is the time of the whole."""

import numpy as np
import pytest

from evaluators.base import Direction, Evaluator, Measurement, Subject
from nas.judge import Judge
from nas.latency_tables import measure_latency_table
from nas.pruners import PRUNERS, BudgetTooSmallError, Evidence, flops_costs
from nas.pruners.latency_table import LatencyTable
from nas.pruners.within_latency import predicted_s, prune_within_latency
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

FIXED_S, GROUP_S, NEURON_S = 0.5, 0.02, 0.003


class Known:
    """Seconds in proportion to groups and neurons, read off the model's own weights."""

    name = "decode_latency"
    unit = "s"
    direction: Direction = "minimize"
    varies = True

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        seconds = FIXED_S
        for path, module in subject.model.named_modules():
            if path.endswith("k_proj"):
                seconds += GROUP_S * len(module.get_parameter("weight")) / 4
            if path.endswith("gate_proj"):
                seconds += NEURON_S * len(module.get_parameter("weight"))
        return {self.name: Measurement(value=seconds, unit="s")}


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return Supernet(tiny_model("llama"))


@pytest.fixture(scope="module")
def table(supernet: Supernet) -> LatencyTable:
    clock: Evaluator = Known()
    judge = Judge(supernet, [clock])
    full = judge.measure(SubNetwork.full(supernet.shape), [clock], {})
    return measure_latency_table(judge, supernet.shape, name="decode_latency", supernet=full)


def test_the_table_is_the_formula(table: LatencyTable) -> None:
    np.testing.assert_allclose(table.attention_at(np.arange(5)), GROUP_S * np.arange(5), atol=1e-12)
    np.testing.assert_allclose(table.mlp_at(np.arange(25)), NEURON_S * np.arange(25), atol=1e-12)
    assert table.fixed_s == pytest.approx(FIXED_S)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("share", [0.95, 0.85, 0.75, 0.1])
def test_every_pruner_keeps_within_the_table(
    pruner: str, share: float, supernet: Supernet, table: LatencyTable
) -> None:
    evidence = Evidence(supernet, batches_of(token_ids()))
    budget_s = share * predicted_s(table, SubNetwork.full(supernet.shape))
    flops = flops_costs(supernet, context_tokens=16)
    try:
        found = prune_within_latency(PRUNERS[pruner], evidence, flops, table, budget_s)
    except BudgetTooSmallError:
        assert share == 0.1 or pruner in {"kcm", "block_influence"}
    else:
        assert predicted_s(table, found) <= budget_s
        assert predicted_s(table, found) > budget_s - (4 * GROUP_S + 24 * NEURON_S)  # a sublayer's worth
