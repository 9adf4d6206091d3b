"""FLOP on tiny models: it meets its target, learns, and its result is an ordinary sub-network with weights."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from evaluators.inputs import Batch
from nas.flop import FlopConfig, FlopError, Step, flop, train_sub_network
from nas.flop.training import Loop
from nas.supernet.supernet import Supernet
from search_spaces.low_rank import uniform_ranks, weights_kept
from search_spaces.sub_network import SubNetwork
from tests.evaluators.encoder_tasks import tiny_encoders
from tests.nas.supernet.test_supernet import assert_equal_logits, logits_of, num_parameters, random_ranking
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

BATCHES = batches_of(*[token_ids(8, seed=seed) for seed in range(4)])


def config(**options: Any) -> FlopConfig:
    return FlopConfig(**{"keep": 0.5, "num_steps": 60, "device": "cpu", "learning_rate": 1e-3, **options})


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_it_meets_the_target_and_learns(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    before = {key: value.clone() for key, value in supernet.model.state_dict().items()}
    steps: list[Step] = []
    found = flop(supernet, BATCHES, config(), on_step=steps.append)
    assert 0.45 < found.kept <= 0.5
    assert weights_kept(found.sub_network) == pytest.approx(found.kept)
    assert [step.number for step in steps] == list(range(1, 61))
    assert (steps[-1].kept, steps[-1].target) == (found.kept, 0.5)
    # Gates were still led to the target when they were settled.
    assert steps[29].kept == pytest.approx(0.5, abs=0.15)
    assert np.mean(found.losses[-8:]) < np.mean(found.losses[:8])
    assert all(torch.equal(before[key], value) for key, value in supernet.model.state_dict().items())
    with supernet.activate(found.sub_network, found.weights) as model:
        logits = logits_of(model, ids)
    extracted = supernet.extract(found.sub_network, found.weights)
    assert_equal_logits(logits_of(extracted, ids), logits)
    assert num_parameters(extracted) < num_parameters(supernet.model)


def test_examples_of_a_task_are_learnt_by_their_labels() -> None:
    supernet = Supernet(tiny_model("bert"))
    labels = {"labels": torch.tensor([0, 1] * 4)}
    batches = [Batch(inputs=batch.inputs, labels=labels) for batch in BATCHES]
    found = flop(supernet, batches, config(num_steps=40))
    assert found.kept <= 0.5
    assert np.mean(found.losses[-8:]) < np.mean(found.losses[:8])


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator() -> None:
    supernet = Supernet(tiny_model("gpt2"))  # with dropout
    state = torch.random.get_rng_state()
    one, other, another = (flop(supernet, BATCHES, config(num_steps=10, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.losses == other.losses != another.losses
    assert one.sub_network == other.sub_network
    assert all(torch.equal(value, other.weights.parameters[key]) for key, value in one.weights.parameters.items())


def test_the_order_of_units_does_not_matter() -> None:
    supernet, ids = Supernet(tiny_model("llama")), token_ids()
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(0)))
    found = flop(supernet, BATCHES, config(num_steps=10))
    with supernet.activate(found.sub_network, found.weights) as model:
        logits = logits_of(model, ids)
    fresh = Supernet(tiny_model("llama"))
    assert_equal_logits(logits_of(fresh.extract(found.sub_network, found.weights), ids), logits)


def test_a_fixed_sub_network_is_trained_alike() -> None:
    supernet = Supernet(tiny_model("llama"))
    half = uniform_ranks(supernet.shape, 0.5)
    steps: list[Step] = []
    weights = train_sub_network(supernet, half, BATCHES, config(num_steps=40), on_step=steps.append)
    losses = [step.loss for step in steps]
    assert np.mean(losses[-8:]) < np.mean(losses[:8])
    with supernet.activate(half) as untrained, torch.no_grad():
        ids = BATCHES[0].inputs["input_ids"]
        before = untrained(input_ids=ids, labels=ids).loss
    with supernet.activate(half, weights) as trained, torch.no_grad():
        assert trained(input_ids=ids, labels=ids).loss < before


def test_losses_that_are_not_finite_are_left_out_then_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = Supernet(tiny_model("llama"))
    own_loss = Loop.train.__globals__["loss_of"]
    broken = {3, 7}

    def loss(model: Any, batch: Batch) -> torch.Tensor:
        calls.append(0)
        return own_loss(model, batch) * (math.nan if len(calls) in broken else 1.0)

    calls: list[int] = []
    monkeypatch.setitem(Loop.train.__globals__, "loss_of", loss)
    found = flop(supernet, BATCHES, config(num_steps=12, max_bad_steps=2))
    assert [number for number, one in enumerate(found.losses, 1) if math.isnan(one)] == [3, 7]
    assert all(value.isfinite().all() for value in found.weights.parameters.values())
    calls.clear()
    broken = {3, 7, 8}
    with pytest.raises(FlopError, match=r"for 2 steps in a row .* the last of them the loss of step 8 \(loss nan\)"):
        flop(supernet, BATCHES, config(num_steps=12, max_bad_steps=2))


def test_gradients_that_are_not_finite_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Loop.train.__globals__, "loss_of", lambda model, batch: _infinitely_steep(model))
    with pytest.raises(FlopError, match="the last of them the gradient of step 2"):
        flop(Supernet(tiny_model("llama")), BATCHES, config(num_steps=12, max_bad_steps=2))


def _infinitely_steep(model: Any) -> torch.Tensor:
    parameter = next(model.parameters()).flatten()[:1]
    return (parameter - parameter.detach()).abs().sqrt().sum()


def test_nothing_to_train_on() -> None:
    with pytest.raises(FlopError, match="must have a batch to train on, got none; give a longer text"):
        flop(Supernet(tiny_model("llama")), [], config())


def test_an_encoder_without_labels() -> None:
    supernet = Supernet(tiny_encoders.bert("classification"))
    labelled = Batch(inputs={"input_ids": token_ids(8)}, labels={"labels": torch.zeros(8, dtype=torch.int64)})
    with pytest.raises(FlopError, match=r"learns a task's labels, got examples without; give importance\.examples"):
        flop(supernet, [labelled, labelled.unlabelled], config())
    with pytest.raises(FlopError, match="learns a task's labels, got examples without"):
        train_sub_network(supernet, SubNetwork.full(supernet.shape), [labelled.unlabelled], config())


def test_a_target_below_rank_one() -> None:
    with pytest.raises(FlopError, match=r"at least the share of weights at rank 1, which is 0\.0\d+ .* got 0\.01; rai"):
        flop(Supernet(tiny_model("llama")), BATCHES, config(keep=0.01))


def test_a_model_without_a_loss() -> None:
    model = tiny_model("llama").model
    with pytest.raises(FlopError, match="head that computes a loss, got LlamaModel; load a task model"):
        flop(Supernet(model), BATCHES, config())
