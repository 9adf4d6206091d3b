"""What every pruner that trains must do: keep within its budget, and bring weights that are those of what it keeps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from evaluators.inputs import Batch
from evaluators.parameters import unique_parameters
from nas.pruners import BudgetTooSmallError, Evidence, PrunerInputError, flops_costs, parameter_costs
from nas.supernet.supernet import Supernet
from nas.supernet.training import TrainingStep
from nas.trained_pruners import TRAINED_PRUNERS, TrainedPruner, TrainedSubNetwork
from tests.nas.supernet.test_supernet import assert_equal_logits, logits_of
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

STEPS = 20
PRUNERS: dict[str, Any] = {
    **TRAINED_PRUNERS,
    "grain, embedding": replace(TRAINED_PRUNERS["grain"], embedding_rank=8),  # type: ignore[type-var]
    "flop, embedding": replace(TRAINED_PRUNERS["flop"], embedding_bands=2),  # type: ignore[type-var]
}
"""All there are, and those that can prune the embedding doing so."""
every_pruner = pytest.mark.parametrize("name", PRUNERS)


def short(name: str) -> TrainedPruner:
    shortened: TrainedPruner = replace(PRUNERS[name], steps=STEPS)
    return shortened


def examples(model: str) -> list[Batch]:
    batches = batches_of(*(token_ids(batch_size=4, seed=seed) for seed in range(3)))
    if model != "bert":
        return batches
    return [Batch(inputs=batch.inputs, labels={"labels": torch.tensor([0, 1, 0, 1])}) for batch in batches]


def trained(name: str, model: str, *, share: float, told: list[TrainingStep]) -> tuple[Supernet, TrainedSubNetwork]:
    supernet = Supernet(tiny_model(model))
    costs = parameter_costs(supernet)
    budget = costs.budget_for(supernet.shape, share=share)
    return supernet, short(name)(Evidence(supernet, examples(model)), costs, budget, on_step=told.append)


@every_pruner
@pytest.mark.parametrize("model", ["llama", "bert"])
@pytest.mark.parametrize("share", [0.7, 0.4])
def test_what_is_kept_is_within_the_budget_and_the_weights_are_its_own(name: str, model: str, share: float) -> None:
    told: list[TrainingStep] = []
    supernet, found = trained(name, model, share=share, told=told)
    costs = parameter_costs(supernet)
    extracted = supernet.extract(found.sub_network, found.weights)
    assert costs.of(found.sub_network) == sum(one.numel() for one in unique_parameters(extracted))
    assert costs.of(found.sub_network) <= costs.budget_for(supernet.shape, share=share)
    ids = token_ids(seed=9)
    with supernet.activate(found.sub_network, found.weights) as active:
        logits = logits_of(active, ids)
    assert torch.isfinite(logits).all()
    assert_equal_logits(logits_of(extracted, ids), logits)
    assert not torch.equal(logits, logits_of(supernet.extract(found.sub_network), ids))
    assert [step.number for step in told] == list(range(1, STEPS + 1))
    assert {step.num_steps for step in told} == {STEPS}


@every_pruner
def test_the_supernet_stays_and_the_same_comes_out_again(name: str) -> None:
    before = logits_of(tiny_model("llama"), token_ids())
    (supernet, first), (_, second) = (trained(name, "llama", share=0.6, told=[]) for _ in range(2))
    assert torch.equal(logits_of(supernet.model, token_ids()), before)
    assert first.sub_network == second.sub_network
    assert all(torch.equal(one, second.weights.parameters[key]) for key, one in first.weights.parameters.items())


def budget_of(supernet: Supernet, share: float) -> float:
    return share * parameter_costs(supernet).total(supernet.shape)


@every_pruner
def test_a_budget_below_the_least_is_refused(name: str) -> None:
    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(BudgetTooSmallError, match="must leave room for the least that is kept"):
        short(name)(
            Evidence(supernet, examples("llama")), parameter_costs(supernet), budget_of(supernet, 0.01), on_step=ignored
        )


@every_pruner
def test_budgets_are_on_parameters(name: str) -> None:
    supernet = Supernet(tiny_model("llama"))
    own_name = name.partition(",")[0]
    with pytest.raises(PrunerInputError, match=f"The pruner {own_name} spends parameters, got a budget on flops; give"):
        short(name)(
            Evidence(supernet, examples("llama")), flops_costs(supernet, context_tokens=8), 1e6, on_step=ignored
        )


@every_pruner
def test_what_a_listener_raises_ends_the_training(name: str) -> None:
    class StoppedError(Exception):
        pass

    def stop(step: TrainingStep) -> None:
        if step.number == 3:
            raise StoppedError

    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(StoppedError):
        short(name)(
            Evidence(supernet, examples("llama")), parameter_costs(supernet), budget_of(supernet, 0.8), on_step=stop
        )
    assert supernet.active.is_full


def ignored(step: TrainingStep) -> None:
    del step


def test_there_are_some() -> None:
    names: Sequence[str] = list(TRAINED_PRUNERS)
    assert {"grain", "flop"} <= set(names)
