"""Distillation: its loss by closed forms, its steps, and what it does where losses are no numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.recovery import RecoveryError
from nas.recovery.finalists import FinalistRecoverer
from nas.recovery.lora_distillation import LoraDistillation, distillation_loss
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from nas.supernet.training import TrainingStep
from tests.nas.recovery.problems import batches_of
from tests.nas.supernet.banded import SEVERAL, in_bands
from tests.nas.supernet.test_supernet import candidates, random_ranking
from tests.nas.supernet.tiny_models import tiny_model, token_ids

QUICK = LoraDistillation(steps=3, rank=2, batch_size=6)


def divergence(own: Tensor, wanted: Tensor, temperature: float) -> float:
    """By the definition, one row at a time."""
    total = 0.0
    for own_V, wanted_V in zip(own.double().tolist(), wanted.double().tolist(), strict=True):
        p = [math.exp(x / temperature) for x in wanted_V]
        q = [math.exp(x / temperature) for x in own_V]
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(own)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_loss_is_the_mean_divergence_of_tokens_without_padding(temperature: float) -> None:
    own, wanted = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    tokens_BT = torch.tensor([[True, True, False], [True, False, False]])
    loss = distillation_loss({"logits": own}, {"logits": wanted}, tokens_BT, temperature=temperature)
    assert loss.item() == pytest.approx(divergence(own[tokens_BT], wanted[tokens_BT], temperature), rel=1e-5)


def test_the_loss_of_a_class_is_that_of_examples_and_of_an_answer_that_of_its_ends() -> None:
    own, wanted, tokens_BT = torch.randn(3, 4), torch.randn(3, 4), torch.ones(3, 4, dtype=torch.bool)
    loss = distillation_loss({"logits": own}, {"logits": wanted}, tokens_BT, temperature=1.0)
    assert loss.item() == pytest.approx(divergence(own, wanted, 1.0), rel=1e-5)
    tokens_BT[:, 3] = False
    ends = [{"start_logits": one, "end_logits": one.flip(0)} for one in (own, wanted)]
    loss = distillation_loss(ends[0], ends[1], tokens_BT, temperature=1.0)
    assert loss.item() == pytest.approx(divergence(own[:, :3], wanted[:, :3], 1.0), rel=1e-5)


def test_a_model_without_logits_is_refused() -> None:
    hidden: dict[str, Any] = {"last_hidden_state": torch.zeros(1, 2, 3)}
    with pytest.raises(RecoveryError, match="needs a model with logits, and this one has none; load it with the head"):
        distillation_loss(hidden, hidden, torch.ones(1, 2, dtype=torch.bool), temperature=1.0)


def test_training_brings_the_sub_network_nearer_to_the_supernet() -> None:
    supernet, batches = Supernet(tiny_model("llama")), batches_of()
    sub_network, steps = candidates(supernet.shape)[-1], list[TrainingStep]()
    recovery = LoraDistillation(steps=40, rank=4, batch_size=6)
    recover = FinalistRecoverer(recovery, supernet, batches, seed=0)
    weights = recover(sub_network, on_step=steps.append)
    assert [(step.number, step.num_steps) for step in steps] == [(number, 40) for number in range(1, 41)]

    def loss(own: OwnWeights | None) -> float:
        with torch.no_grad():
            taught = supernet.model(**batches[0].inputs)
            with supernet.activate(sub_network, own) as model:
                learnt = model(**batches[0].inputs)
        return distillation_loss(learnt, taught, batches[0].tokens_BT, temperature=1.0).item()

    assert loss(weights) < 0.8 * loss(None)


def test_the_ranking_in_force_and_a_second_time_make_no_difference() -> None:
    """A search ranks the units, an export does not; both must find the same weights."""
    supernet, batches = Supernet(tiny_model("gpt2")), batches_of()
    sub_network = candidates(supernet.shape)[-1]
    recover = FinalistRecoverer(QUICK, supernet, batches, seed=3)
    first = recover(sub_network)
    ranking = random_ranking(supernet.shape, np.random.default_rng(1))
    supernet.order_by(ranking)
    second = recover(sub_network)
    assert supernet.ranking is ranking
    assert all(torch.equal(second.parameters[name], one) for name, one in first.parameters.items())
    other = FinalistRecoverer(QUICK, supernet, batches, seed=4)(sub_network)
    assert any(not torch.equal(other.parameters[name], one) for name, one in first.parameters.items())


def test_padding_does_not_teach() -> None:
    supernet, ids = Supernet(tiny_model("bert")), token_ids(batch_size=2, num_tokens=8)
    mask = torch.ones_like(ids)
    mask[:, 5:] = 0
    other = ids.clone()
    other[:, 5:] = 7
    batches = [[Batch(inputs={"input_ids": one, "attention_mask": mask})] for one in (ids, other)]
    sub_network = candidates(supernet.shape)[-1]
    found = [FinalistRecoverer(QUICK, supernet, one, seed=0)(sub_network) for one in batches]
    for name, one in found[0].parameters.items():
        assert torch.allclose(found[1].parameters[name], one, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 8.0])
def test_an_answer_does_not_lie_in_padding(temperature: float) -> None:
    """And no temperature makes the loss NaN."""
    taught = {"start_logits": torch.tensor([[1.0, 2.0, 0.0]]), "end_logits": torch.tensor([[0.0, 1.0, 0.0]])}
    learnt = {name: logits.flip(1) for name, logits in taught.items()}
    found = distillation_loss(learnt, taught, torch.tensor([[True, True, False]]), temperature=temperature)
    both = [{name: logits[:, :2] for name, logits in one.items()} for one in (learnt, taught)]
    expected = distillation_loss(*both, torch.tensor([[True, True]]), temperature=temperature)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)
    assert found > 0


def test_in_bfloat16_the_weights_stay_float32_and_are_near() -> None:
    supernet, batches = Supernet(tiny_model("llama")), batches_of()
    sub_network = candidates(supernet.shape)[-1]
    exact, coarse = (
        FinalistRecoverer(LoraDistillation(steps=3, rank=2, mixed_precision=precision), supernet, batches, seed=0)(
            sub_network
        )
        for precision in ("no", "bf16")
    )
    for name, one in exact.parameters.items():
        assert coarse.parameters[name].dtype == torch.float32
        assert torch.allclose(coarse.parameters[name], one, atol=0.02)


def test_training_begins_from_weights_that_are_given() -> None:
    supernet = Supernet(tiny_model("llama"))
    sub_network = candidates(supernet.shape)[-1]
    start = OwnWeights.of(supernet.extract(sub_network))
    doubled = OwnWeights(parameters={name: 2 * one for name, one in start.parameters.items()})
    weights = FinalistRecoverer(QUICK, supernet, batches_of(), seed=0)(sub_network, start=doubled)
    name = "model.embed_tokens.weight"  # which no adapter changes
    assert torch.equal(weights.parameters[name], doubled.parameters[name])


def test_losses_that_are_no_numbers_are_skipped_and_counted_and_end_it_with_the_cause() -> None:
    supernet, steps = Supernet(tiny_model("llama")), list[TrainingStep]()
    sub_network = candidates(supernet.shape)[-1]
    with torch.no_grad():
        supernet.model.lm_head.weight[0] = math.nan
    recovery = LoraDistillation(steps=30, batch_size=6)
    with pytest.raises(RecoveryError, match=r"for 10 steps in a row, up to step 10, it had none .*nan\); lower"):
        FinalistRecoverer(recovery, supernet, batches_of(), seed=0)(sub_network, on_step=steps.append)
    assert len(steps) == 9
    few = LoraDistillation(steps=4, batch_size=6)
    weights = FinalistRecoverer(few, supernet, batches_of(), seed=0)(sub_network)
    kept = OwnWeights.of(supernet.extract(sub_network))
    for name, one in kept.parameters.items():
        if "layers" in name:
            assert torch.equal(weights.parameters[name], one)


def test_without_a_batch_it_cannot_be_done() -> None:
    supernet = Supernet(tiny_model("llama"))
    with pytest.raises(RecoveryError, match="needs at least one batch of calibration examples, got none"):
        FinalistRecoverer(QUICK, supernet, [], seed=0)(candidates(supernet.shape)[-1])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "recovery.steps must be a whole number of at least 1, got 0"),
        ({"rank": 1.5}, "recovery.rank must be a whole number of at least 1, got 1.5"),
        ({"max_sequences": True}, "recovery.max_sequences must be a whole number of at least 1, got True"),
        ({"learning_rate": math.inf}, "recovery.learning_rate must be a finite number above 0, got inf"),
        ({"temperature": "hot"}, "recovery.temperature must be a finite number above 0, got 'hot'"),
        ({"mixed_precision": "fp16"}, "recovery.mixed_precision must be no or bf16, got 'fp16'"),
        ({"checkpoint_every": 0}, "recovery.checkpoint_every must be a whole number of at least 1, got 0"),
        ({"max_bad_steps": 0.5}, "recovery.max_bad_steps must be a whole number of at least 1, got 0.5"),
        ({"tensorboard": "on"}, "recovery.tensorboard must be true or false, got 'on'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecoveryError, match=sentence):
        LoraDistillation(**options)


def test_as_many_examples_as_the_steps_need_unless_there_is_a_limit() -> None:
    assert LoraDistillation(steps=5, batch_size=3).num_sequences == 15
    assert LoraDistillation(steps=5, batch_size=3, max_sequences=7).num_sequences == 7
    assert LoraDistillation(steps=5, batch_size=3, max_sequences=70).num_sequences == 15


def test_an_embedding_in_bands_comes_out_as_it_went_in() -> None:
    """With the positions of its tokens, which are not those that the supernet would take."""
    supernet = Supernet(tiny_model("llama"))
    counting = Supernet(tiny_model("llama"))
    counting.order_directions_by([Batch(inputs={"input_ids": token_ids(8, seed=5)})])
    sub_network = in_bands(supernet, SEVERAL)
    start = OwnWeights.of(counting.extract(sub_network))
    weights = QUICK(supernet, sub_network, [Batch(inputs={"input_ids": token_ids(6)})], seed=0, start=start)
    assert weights.parameters.keys() == start.parameters.keys()
    same = {name for name, one in weights.parameters.items() if torch.equal(one, start.parameters[name])}
    assert {name for name in start.parameters if "embed" in name} <= same
    assert not any("q_proj" in name for name in same)
