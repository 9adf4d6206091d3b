"""Hard-concrete gates against their closed forms and many draws."""

import math

import pytest
import torch

from nas.flop.gates import FIRST_LOGIT, LAST_LOGIT, first_logits_by, open_probability, sampled, soft


def test_draws_are_open_as_often_as_the_closed_form_says() -> None:
    logits_R = torch.tensor([-4.0, -1.0, 0.0, 2.0])
    generator = torch.Generator().manual_seed(0)
    draws_NR = torch.stack([sampled(logits_R, generator) for _ in range(20_000)])
    assert draws_NR.min() == 0
    assert draws_NR.max() == 1
    torch.testing.assert_close((draws_NR > 0).float().mean(dim=0), open_probability(logits_R), rtol=0, atol=0.015)


def test_published_constants() -> None:
    """E‖z‖₀ = σ(a + 2.398), ẑ = σ(0.8 a)."""
    logits_R = torch.tensor([-2.398, 0.0, 5.0])
    assert open_probability(logits_R)[0].item() == pytest.approx(0.5, abs=1e-4)
    torch.testing.assert_close(soft(logits_R), torch.sigmoid(torch.tensor([-1.9184, 0.0, 4.0])))
    assert open_probability(logits_R, 2.398)[0].item() == pytest.approx(1 / (1 + math.exp(-2.398)), abs=1e-4)


def test_gradients_reach_the_logits_of_half_open_gates() -> None:
    logits_R = torch.zeros(64, requires_grad=True)
    gates_R = sampled(logits_R, torch.Generator().manual_seed(1))
    gates_R.sum().backward()
    between_R = (gates_R > 0) & (gates_R < 1)
    assert between_R.any()
    assert logits_R.grad is not None
    assert (logits_R.grad[between_R] > 0).all()
    assert (logits_R.grad[~between_R] == 0).all()


def test_gates_of_all_matrices_begin_in_the_order_of_what_a_weight_of_theirs_is_worth() -> None:
    energies = [torch.tensor([8.0, 1.0]).double(), torch.tensor([9.0, 0.0, 6.0]).double()]
    first, second = first_logits_by(energies, [2, 3])  # worth 4, 0.5 and 3, 0, 2 a weight; 13 weights in all
    step = (FIRST_LOGIT - LAST_LOGIT) / 13
    expected = FIRST_LOGIT - step * torch.tensor([2.0, 10.0, 5.0, 13.0, 8.0]).double()
    torch.testing.assert_close(torch.cat([first, second]), expected)
