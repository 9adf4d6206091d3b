import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from evaluators.base import EvaluationError
from evaluators.encoder_tasks.classification import Classification
from evaluators.inputs import Batch
from nas.finetuning.config import FinetuneConfig
from nas.finetuning.training import FinetuningError, Step, Training, train
from tests.evaluators.encoder_tasks import tiny_encoders
from tests.nas.finetuning import encoders


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """accelerate keeps the precision of a process's first Accelerator."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def settings(**keys: Any) -> FinetuneConfig:
    record = {"model": {"name": "unused", "device": "cpu"}, "task": {"classification": {}}}
    return FinetuneConfig.model_validate(record | encoders.FAST | keys)


@pytest.fixture
def batches(tmp_path: Path) -> list[Batch]:
    task = Classification(data=encoders.write_learnable("classification", tmp_path))
    return task.batches(tiny_encoders.tokenizer(), {"bad": 0, "good": 1}, batch_size=8)


def test_agrees_with_a_loop_by_hand(batches: list[Batch]) -> None:
    """AdamW and the schedule written out: one batch, four steps, the first of them warm-up."""
    rate, decay, clip = 1e-3, 0.1, 0.5
    trained = tiny_encoders.bert("classification")
    trained.config.hidden_dropout_prob = 0.0
    model = copy.deepcopy(trained).eval()
    moments = {name: (torch.zeros_like(one), torch.zeros_like(one)) for name, one in model.named_parameters()}
    losses = []
    for step, share in enumerate((0.0, 1.0, 2 / 3, 1 / 3), 1):  # of the rate: after one step of warm-up it falls to 0
        loss = model(**batches[0].inputs, **batches[0].labels).loss
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        norm = math.sqrt(sum(one.square().sum().item() for one in gradients.values()))
        with torch.no_grad():
            for name, one in model.named_parameters():
                if name not in gradients:
                    continue
                gradient = gradients[name] * min(1.0, clip / (norm + 1e-6))
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient**2)
                one.mul_(1 - share * rate * (decay if one.dim() > 1 else 0))
                update = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
                one.sub_(share * rate * update)
    for module in trained.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in trained.bert.encoder.layer:
        layer.attention.self.dropout.p = 0.0
    config = settings(epochs=4, learning_rate=rate, weight_decay=decay, max_grad_norm=clip, warmup_share=0.25)
    training = train(trained, batches[:1], config, on_step=lambda _: None)
    assert training.losses == pytest.approx(losses, rel=1e-4)
    for one, other in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-3, atol=1e-5)


def test_steps_are_counted_and_told(batches: list[Batch]) -> None:
    told: list[Step] = []
    training = train(tiny_encoders.bert("classification"), batches, settings(epochs=2), on_step=told.append)
    assert [step.number for step in told] == list(range(1, 17))
    assert {step.num_steps for step in told} == {16}
    assert tuple(step.loss for step in told) == training.losses
    shorter = train(tiny_encoders.bert("classification"), batches, settings(max_steps=3), on_step=lambda _: None)
    assert len(shorter.losses) == 3


def test_every_epoch_has_each_batch_once_in_another_order(
    monkeypatch: pytest.MonkeyPatch, batches: list[Batch]
) -> None:
    seen: list[int] = []
    model = tiny_encoders.bert("classification")
    forward = model.forward

    def spy(**inputs: Any) -> Any:
        seen.extend(n for n, one in enumerate(batches) if torch.equal(one.inputs["input_ids"], inputs["input_ids"]))
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", spy)
    train(model, batches, settings(epochs=2), on_step=lambda _: None)
    assert sorted(seen[:8]) == sorted(seen[8:]) == list(range(8))
    assert seen[:8] != seen[8:]


def test_the_model_is_left_ready_for_use(batches: list[Batch]) -> None:
    model = tiny_encoders.bert("classification")
    train(model, batches, settings(epochs=1, mixed_precision="bf16"), on_step=lambda _: None)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    clean = tiny_encoders.bert("classification")
    clean.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, other = (each(**batches[0].inputs).logits for each in (model, clean))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_final_loss_is_that_of_the_last_tenth() -> None:
    assert Training(losses=(*[9.0] * 18, 1.0, 2.0), duration_s=1.0).final_loss == 1.5
    assert Training(losses=(3.0,), duration_s=1.0).final_loss == 3.0


def test_a_loss_that_is_not_finite_stops_it(batches: list[Batch]) -> None:
    model = tiny_encoders.bert("classification")
    with torch.no_grad():
        model.classifier.bias[0] = math.nan
    with pytest.raises(
        FinetuningError, match="loss must be finite, got nan at step 1; lower learning_rate, or set mix"
    ):
        train(model, batches, settings(), on_step=lambda _: None)


def test_batches_longer_than_the_context_are_refused() -> None:
    batch = Batch(inputs={"input_ids": torch.ones(1, 65, dtype=torch.long)}, labels={"labels": torch.zeros(1).long()})
    with pytest.raises(EvaluationError, match="max_position_embeddings=64 tokens, got 65"):
        train(tiny_encoders.bert("classification"), [batch], settings(), on_step=lambda _: None)
