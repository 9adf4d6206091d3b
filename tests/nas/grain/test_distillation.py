from dataclasses import replace

import pytest
import torch

from evaluators.inputs import Batch
from nas.grain.distillation import HiddenStates, compared_states, soft_cross_entropy
from tests.nas.grain.test_units import WHOLE


def batch(*, padded: bool = False) -> Batch:
    mask = torch.ones(2, 3, dtype=torch.long)
    if padded:
        mask[1, 2] = 0
    return Batch(inputs={"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": mask})


def test_cross_entropy_is_the_divergence_at_a_temperature() -> None:
    student, teacher = {"logits": torch.tensor([[1.0, 3.0]])}, {"logits": torch.tensor([[2.0, 0.0]])}
    p, q = (torch.softmax(one["logits"][0] / 8, dim=0) for one in (teacher, student))
    expected = 64 * float((p * (p / q).log()).sum())
    assert float(soft_cross_entropy(student, teacher, batch(), 8.0)) == pytest.approx(expected, rel=1e-4)
    assert float(soft_cross_entropy(teacher, teacher, batch(), 8.0)) == pytest.approx(0, abs=1e-6)


def test_padding_predicts_nothing_and_both_ends_of_an_answer_count() -> None:
    teacher = {"logits": torch.randn(2, 3, 5)}
    student = {"logits": teacher["logits"].clone()}
    student["logits"][1, 2] += torch.arange(5)
    assert float(soft_cross_entropy(student, teacher, batch(padded=True), 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(soft_cross_entropy(student, teacher, batch(), 2.0)) > 0.01
    ends = {"start_logits": torch.randn(2, 3), "end_logits": torch.randn(2, 3)}
    moved = {**ends, "end_logits": -ends["end_logits"]}
    alone = soft_cross_entropy({"logits": moved["end_logits"]}, {"logits": ends["end_logits"]}, batch(), 2.0)
    assert float(soft_cross_entropy(moved, ends, batch(), 2.0)) == pytest.approx(float(alone) / 2)


def test_an_answer_does_not_lie_in_padding() -> None:
    teacher = {"start_logits": torch.randn(2, 3), "end_logits": torch.randn(2, 3)}
    student = {name: logits.clone() for name, logits in teacher.items()}
    student["end_logits"][1, 2] += 5
    assert float(soft_cross_entropy(student, teacher, batch(padded=True), 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(soft_cross_entropy(student, teacher, batch(), 2.0)) > 0.01


def test_hidden_states_begin_as_they_are() -> None:
    teacher = [torch.randn(2, 3, 4) for _ in range(3)]
    hidden = HiddenStates([4, 4, 4])
    assert float(hidden([teacher[0], teacher[2]], teacher, batch(), [0, 2]).detach()) == 0
    off = [teacher[0] + 1, teacher[2] + 2]
    assert float(hidden(off, teacher, batch(padded=True), [0, 2]).detach()) == pytest.approx(1 + 4, rel=1e-5)


def test_what_is_behind_the_last_kept_layer_stands_for_the_last() -> None:
    assert compared_states(WHOLE.sub_network) == [0, 1, 2]
    values_LKD, neurons_LN = WHOLE.values_LKD.copy(), WHOLE.neurons_LN.copy()
    values_LKD[1], neurons_LN[1] = False, False
    assert compared_states(replace(WHOLE, values_LKD=values_LKD, neurons_LN=neurons_LN).sub_network) == [0, 2]
