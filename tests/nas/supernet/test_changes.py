"""Parts of a parameter against slicing inside the graph."""

import pytest
import torch
from torch import nn

from nas.supernet.changes import Changes, part_of

SLICES = [slice(1, 3), torch.tensor([3, 0])]


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("slices", SLICES, ids=["stretch", "indices"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("given", [None, 2.0])
def test_gradients_are_those_of_slicing(
    dim: int, slices: slice | torch.Tensor, transposed: bool, given: float | None
) -> None:
    """Twice, so that gradients add up; whether or not the whole has one already."""
    whole = nn.Parameter(torch.arange(20.0).view(4, 5))
    sliced = whole.detach().clone().requires_grad_()
    if given is not None:
        whole.grad, sliced.grad = torch.full((4, 5), given), torch.full((4, 5), given)
    part = part_of(whole, dim, slices, transposed=transposed)
    for _ in range(2):
        part.square().sum().backward()
        (sliced[slices] if dim == 0 else sliced[:, slices]).square().sum().backward()
    assert whole.grad is not None
    assert torch.equal(whole.grad, sliced.grad)
    assert part.grad is None
    expected = whole[slices] if dim == 0 else whole[:, slices]
    assert torch.equal(part, expected.t() if transposed else expected)


def test_a_stretch_shares_its_memory() -> None:
    whole = nn.Parameter(torch.zeros(4, 5))
    with torch.no_grad():
        part_of(whole, 0, slice(1, 3)).fill_(1.0)
    assert whole.sum() == 10


def test_what_is_frozen_or_without_gradients_stays_so() -> None:
    frozen = nn.Parameter(torch.zeros(4), requires_grad=False)
    assert not part_of(frozen, 0, slice(0, 2)).requires_grad
    with torch.no_grad():
        assert not part_of(nn.Parameter(torch.zeros(4)), 0, slice(0, 2)).requires_grad


def test_a_parameter_is_put_back_in_its_place() -> None:
    module, changes = nn.Linear(3, 4), Changes()
    before = dict(module.named_parameters())
    changes.set_parameter(module, "weight", part_of(module.weight, 0, slice(0, 2)))
    assert module.weight.shape == (2, 3)
    changes.undo()
    assert list(before.items()) == list(module.named_parameters())


def test_a_buffer_is_put_back_in_its_place() -> None:
    module, changes = nn.BatchNorm1d(3), Changes()
    before = module.running_mean
    changes.set_buffer(module, "running_mean", torch.ones(5))
    assert torch.equal(module.get_buffer("running_mean"), torch.ones(5))
    changes.undo()
    assert module.running_mean is before
