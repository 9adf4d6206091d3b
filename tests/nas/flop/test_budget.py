"""What is kept, counted by hand."""

import pytest
import torch
from torch import nn

from nas.flop.budget import Multipliers, expected_share, least_share, settled_ranks, share_at
from nas.flop.gates import SHIFT
from nas.flop.layers import GatedLinear
from nas.supernet.low_rank.energies import Place
from nas.supernet.low_rank.factors import factorise


def gated(num_outputs: int, num_inputs: int, *, num_open: int) -> GatedLinear:
    """The first so many gates open, the others closed, both for certain."""
    like = nn.Linear(num_inputs, num_outputs, bias=False)
    one = GatedLinear(factorise(like.weight), like)
    one.logits.data = torch.where(torch.arange(len(one.logits)) < num_open, 40.0, -40.0)
    return one


def test_the_share_counts_directions_and_at_most_the_matrix() -> None:
    """16 x 16 has 256 weights and 32 a direction; 8 x 24 has 192 and 32."""
    for first, second, kept in ((2, 3, 64 + 96), (8, 6, 256 + 192), (16, 8, 256 + 192), (16, 1, 256 + 32)):
        ones = [gated(16, 16, num_open=first), gated(8, 24, num_open=second)]
        assert expected_share(ones).item() == pytest.approx(kept / 448)
        assert share_at({(0, "a"): ones[0], (0, "b"): ones[1]}, {(0, "a"): first, (0, "b"): second}) == kept / 448


def test_the_gradient_leads_below_break_even_too() -> None:
    one = gated(16, 16, num_open=16)
    one.logits.data.zero_()
    expected_share([one]).backward()
    assert one.logits.grad is not None
    probability = torch.sigmoid(torch.tensor(SHIFT))
    expected = torch.full((16,), (probability * (1 - probability)).item() * 32 / 256)
    torch.testing.assert_close(one.logits.grad, expected)


def test_a_shift_moves_all_gates_and_is_led_where_single_gates_have_no_gradient() -> None:
    one, shift = gated(16, 16, num_open=16), nn.Parameter(torch.tensor(-1.0))
    one.logits.data = torch.linspace(45.0, -3.0, 16)
    shifted = expected_share([one], shift)
    shifted.backward()
    assert one.logits.grad is not None
    assert shift.grad is not None
    assert one.logits.grad[0] == 0
    assert shift.grad > 0
    torch.testing.assert_close(shift.grad, one.logits.grad.sum())
    one.draw(torch.Generator().manual_seed(0), shift)
    drawn = one.gates.detach()
    one.logits.data -= 1
    one.draw(torch.Generator().manual_seed(0))
    torch.testing.assert_close(one.gates, drawn)
    assert expected_share([one]).item() == pytest.approx(shifted.item())


@pytest.mark.parametrize("target", [0.2, 0.5, 0.9])
def test_ranks_settle_as_near_below_the_target_as_they_can(target: float) -> None:
    rng = torch.Generator().manual_seed(0)
    ones: dict[Place, GatedLinear] = {(number, "a"): gated(24, 40, num_open=0) for number in range(12)}
    for one in ones.values():
        one.logits.data = 3 * torch.randn(24, generator=rng)
    ranks = settled_ranks(ones, target)
    assert target - 0.05 < share_at(ones, ranks) <= target
    assert min(ranks.values()) >= 1


def test_ranks_of_gates_that_meet_the_target_are_the_numbers_of_open_ones() -> None:
    ones: dict[Place, GatedLinear] = {(0, "a"): gated(16, 16, num_open=2), (1, "a"): gated(16, 16, num_open=5)}
    assert settled_ranks(ones, 7 * 32 / 512) == {(0, "a"): 2, (1, "a"): 5}


def test_the_least_is_rank_one_everywhere() -> None:
    assert least_share({(0, "a"): gated(16, 16, num_open=9)}) == 32 / 256


def test_multipliers_ascend_the_violation() -> None:
    multipliers = Multipliers(curvature=2.0)
    multipliers.ascend(0.75, 0.5, learning_rate=4.0)
    assert (multipliers.linear, multipliers.quadratic) == (1.0, 2.25)
    share = torch.tensor(0.7, requires_grad=True)
    penalty = multipliers.penalty(share, 0.5)
    assert penalty.item() == pytest.approx(0.2 + 2.25 * 0.04)
    penalty.backward()
    assert share.grad is not None
    assert share.grad.item() == pytest.approx(1 + 2 * 2.25 * 0.2)
