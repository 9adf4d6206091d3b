import copy

import pytest
import torch
from torch import nn

from evaluators.base import Subject
from evaluators.parameters import Parameters, unique_parameters
from tests.evaluators import tiny

LLAMA = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32 + 2 * 64 * 32


@pytest.mark.parametrize(("tied", "expected"), [(False, LLAMA), (True, LLAMA - 64 * 32)])
def test_llama_agrees_with_the_closed_form(tied: bool, expected: int) -> None:
    count = Parameters().evaluate(Subject(model=tiny.llama(tie_word_embeddings=tied)))["parameters"]
    assert (count.value, count.unit, count.ci95) == (expected, "parameters", None)


def test_views_count_with_their_own_size() -> None:
    model = tiny.llama()
    projection = model.model.layers[0].mlp.up_proj
    projection.weight = nn.Parameter(projection.weight.data[:16])
    assert Parameters().evaluate(Subject(model=model))["parameters"].value == LLAMA - 32 * 32


def test_tied_weights_that_were_sliced_apart_count_once() -> None:
    shared = torch.ones(10, 4)
    model = nn.ModuleList([nn.Linear(4, 10, bias=False) for _ in range(3)])
    for linear, rows in zip(model, (6, 6, 3), strict=True):
        linear.weight = nn.Parameter(shared[:rows])
    assert sum(parameter.numel() for parameter in unique_parameters(model)) == (6 + 3) * 4


def test_parameters_without_memory_are_told_apart() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    assert sum(parameter.numel() for parameter in unique_parameters(model)) == 40


def test_an_extracted_model_counts_like_its_copy() -> None:
    model = tiny.bert()
    evaluator = Parameters()
    assert evaluator.evaluate(Subject(model=model)) == evaluator.evaluate(Subject(model=copy.deepcopy(model)))
