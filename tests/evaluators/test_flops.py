import pytest
import torch
from torch import nn
from torch.nn import functional

from evaluators.base import EvaluationError, Subject
from evaluators.flops import Flops, count_flops
from tests.evaluators import tiny

TOKENS = 24


def test_llama_agrees_with_the_closed_form() -> None:
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48
    attention = 2 * 4 * 4 * TOKENS**2 * 8
    expected = 2 * TOKENS * (2 * layer + 32 * 64) + attention
    flops = Flops(context_tokens=TOKENS).evaluate(Subject(model=tiny.llama()))["flops"]
    assert (flops.value, flops.unit) == (expected, "flops")


def test_bert_agrees_with_the_closed_form() -> None:
    layer = 4 * 32 * 32 + 2 * 32 * 48
    attention = 2 * 4 * 4 * TOKENS**2 * 8
    pooler_and_head = 2 * (32 * 32 + 32 * 2)
    assert count_flops(tiny.bert(), num_tokens=TOKENS) == 2 * TOKENS * 2 * layer + attention + pooler_and_head


@pytest.mark.parametrize("model", [tiny.llama(), tiny.bert(), tiny.sliding_window_mistral()])
def test_every_implementation_of_attention_counts_the_same(model: nn.Module) -> None:
    fused = count_flops(model, num_tokens=TOKENS)
    model.set_attn_implementation("eager")
    assert count_flops(model, num_tokens=TOKENS) == fused


class Halves(nn.Module):
    """A projection in two products."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.halves = [half.contiguous() for half in linear.weight.data.chunk(2)]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.cat([functional.linear(hidden, half) for half in self.halves], dim=-1)


def test_products_outside_of_linear_modules_count() -> None:
    model = tiny.llama()
    before = count_flops(model, num_tokens=TOKENS)
    model.model.layers[0].mlp.up_proj = Halves(model.model.layers[0].mlp.up_proj)
    assert count_flops(model, num_tokens=TOKENS) == before


def test_lengths_below_one_are_refused() -> None:
    with pytest.raises(EvaluationError, match="context_tokens must be at least 1, got 0"):
        Flops(context_tokens=0)
