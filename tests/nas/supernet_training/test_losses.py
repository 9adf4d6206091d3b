"""Against sums written out in numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification, BertConfig

from evaluators.inputs import Batch
from nas.supernet_training.config import DistillationConfig
from nas.supernet_training.losses import divergence, predict, teacher_of
from tests.nas.supernet.tiny_models import tiny_model, token_ids


def logits(seed: int) -> Tensor:
    return 3 * torch.randn(5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 4, 99])
def test_divergence_is_the_sum_written_out(kind: Any, temperature: float, top_k: int | None) -> None:
    student, teacher = logits(0), logits(1)
    total = 0.0
    for q_V, p_V in zip(student.numpy(), teacher.numpy(), strict=True):
        kept = np.argsort(-p_V)[: top_k or len(p_V)]
        q, p = softmax(q_V[kept] / temperature), softmax(p_V[kept] / temperature)
        total += float((p * np.log(p / q)).sum() if kind == "forward_kl" else (q * np.log(q / p)).sum())
    config = DistillationConfig(type=kind, temperature=temperature, top_k=top_k)
    value = divergence(student, teacher_of(teacher, config), config)
    assert value.item() == pytest.approx(temperature**2 * total / len(student))


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl"])
def test_only_the_student_learns(kind: Any) -> None:
    """The gradient with respect to the student's logits is that of finite differences; the teacher gets none."""
    config = DistillationConfig(type=kind)
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: divergence(one, teacher_of(teacher, config), config), student)
    divergence(student, teacher_of(teacher, config), config).backward()
    assert teacher.grad is None


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    config = DistillationConfig(top_k=3)
    assert divergence(logits(0), teacher_of(logits(0), config), config).item() == pytest.approx(0, abs=1e-12)


def test_the_loss_of_a_text_is_that_of_transformers() -> None:
    model, ids = tiny_model("llama"), token_ids()
    found = predict(model, Batch(inputs={"input_ids": ids}), predicts_tokens=True)
    assert found.loss().item() == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), rel=1e-5)
    assert found.logits_NV.shape == (3 * 11, 96)


def test_padding_of_a_text_is_left_out() -> None:
    """A padded row predicts what it predicts alone."""
    model, ids = tiny_model("llama"), token_ids(2, 8)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    padded = predict(model, Batch(inputs={"input_ids": ids, "attention_mask": mask}), predicts_tokens=True)
    rows = [ids[:1], ids[1:, :5]]
    alone = [predict(model, Batch(inputs={"input_ids": row}), predicts_tokens=True) for row in rows]
    expected = torch.cat([one.logits_NV for one in alone])
    torch.testing.assert_close(padded.logits_NV, expected, rtol=1e-4, atol=1e-4)
    mean = (7 * alone[0].loss() + 4 * alone[1].loss()) / 11
    assert padded.loss().item() == pytest.approx(mean.item(), rel=1e-4)


def encoder_config(num_labels: int = 3) -> BertConfig:
    return BertConfig(
        num_hidden_layers=1,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=96,
        num_labels=num_labels,
    )


def test_a_class_of_each_example() -> None:
    model, ids = tiny_model("bert"), token_ids()
    labels = torch.tensor([0, 1, 1])
    found = predict(model, Batch(inputs={"input_ids": ids}, labels={"labels": labels}), predicts_tokens=False)
    assert found.logits_NV.shape == (3, 2)
    assert found.loss().item() == pytest.approx(functional.cross_entropy(found.logits_NV, labels).item())


def test_a_class_of_each_token_but_padding() -> None:
    model = AutoModelForTokenClassification.from_config(encoder_config()).eval()
    ids, mask = token_ids(2, 6), torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    batch = Batch(inputs={"input_ids": ids, "attention_mask": mask}, labels={"labels": torch.ones_like(ids)})
    found = predict(model, batch, predicts_tokens=False)
    whole = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(found.logits_NV, torch.cat([whole[0], whole[1, :4]]))


def test_the_ends_of_an_answer_are_no_padding() -> None:
    """The divergence is the mean of the four softmaxes over the real tokens of each row."""
    model = AutoModelForQuestionAnswering.from_config(encoder_config(num_labels=2)).eval()
    ids, mask = token_ids(2, 6), torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    positions = torch.tensor([1, 2])
    batch = Batch(
        inputs={"input_ids": ids, "attention_mask": mask},
        labels={"start_positions": positions, "end_positions": positions},
    )
    found = predict(model, batch, predicts_tokens=False)
    output = model(input_ids=ids, attention_mask=mask)
    config = DistillationConfig()
    student = torch.zeros_like(found.logits_NV).masked_fill(found.logits_NV < -1000, -1e4)
    expected = [
        functional.kl_div(torch.full((num,), 1 / num).log(), row[:num].softmax(-1), reduction="sum").item()
        for part in (output.start_logits, output.end_logits)
        for row, num in zip(part.detach(), (6, 4), strict=True)
    ]
    value = divergence(student, teacher_of(found.logits_NV, config), config)
    assert value.item() == pytest.approx(np.mean(expected), rel=1e-4)
