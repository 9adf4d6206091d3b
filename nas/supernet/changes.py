"""Reversible changes to a module tree: each is recorded, and all are undone in reverse order.

Where the tree is being trained, a sub-network's weight is a leaf of its own that hands its gradient on to the same
stretch of the whole parameter's. Nothing as large as the whole is made on the way, as slicing inside the graph would
(its backward pads each gradient with zeros).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def part_of(whole: nn.Parameter, dim: int, slices: slice | Tensor, *, transposed: bool = False) -> nn.Parameter:
    """Some slices of a parameter as a parameter of its own: a view, or a copy where the slices are not adjacent.

    Where the whole requires a gradient, so does the part, unless gradients are switched off: what backward gives to
    the part is added to the same slices of the whole's gradient, and the part keeps none.

    Args:
        whole: Any parameter.
        dim: Along which.
        slices: A stretch with a start and an end, or ``(num_slices,)`` int64, none of them twice.
        transposed: Whether to swap the two dimensions of a matrix.
    """
    if isinstance(slices, Tensor):
        slices = slices.to(whole.device)
        taken = whole.detach().index_select(dim, slices)
    else:
        taken = _stretch(whole.detach(), dim, slices)
    part = nn.Parameter(
        taken.t() if transposed else taken, requires_grad=whole.requires_grad and torch.is_grad_enabled()
    )
    if part.requires_grad:

        def hand_on(part: Tensor) -> None:
            assert part.grad is not None
            gradient = part.grad.t() if transposed else part.grad
            if whole.grad is None:
                whole.grad = torch.zeros_like(whole)
            if isinstance(slices, Tensor):
                whole.grad.index_add_(dim, slices, gradient)
            else:
                _stretch(whole.grad, dim, slices).add_(gradient)
            part.grad = None

        part.register_post_accumulate_grad_hook(hand_on)
    return part


def _stretch(tensor: Tensor, dim: int, stretch: slice) -> Tensor:
    return tensor.narrow(dim, stretch.start, stretch.stop - stretch.start)


class Changes:
    """What was changed and how to put it back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set_attribute(self, owner: object, name: str, value: Any) -> None:
        """Sets a plain attribute that already exists."""
        before = getattr(owner, name)
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before))

    def set_module(self, owner: nn.Module, path: str, module: nn.Module) -> None:
        """Puts ``module`` in the place of the submodule at ``path``."""
        parent_path, _, name = path.rpartition(".")
        self._set_entry(owner.get_submodule(parent_path)._modules, name, module)

    def set_parameter(self, module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        """Lets ``module.name`` be another parameter, such as ``part_of`` the one that is there."""
        self._set_entry(module._parameters, name, parameter)

    def set_buffer(self, module: nn.Module, name: str, buffer: Tensor) -> None:
        """Lets ``module.name`` be another buffer."""
        self._set_entry(module._buffers, name, buffer)

    def _set_entry(self, entries: dict[str, Any], name: str, value: Any) -> None:
        """Of a module's children, parameters or buffers; around ``setattr``, which would check and register."""
        before = entries[name]
        entries[name] = value
        self._undo.append(lambda: entries.__setitem__(name, before))

    def reorder(self, tensor: Tensor, dim: int, positions: Tensor, sources: Tensor) -> None:
        """Writes, in place, the slices at ``sources`` to ``positions`` (both a permutation of the same numbers).

        Only the slices that move are copied, and only while they move.
        """

        def move(to: Tensor, from_: Tensor) -> None:
            with torch.no_grad():
                tensor.index_copy_(dim, to, tensor.index_select(dim, from_))

        positions, sources = positions.to(tensor.device), sources.to(tensor.device)
        move(positions, sources)
        self._undo.append(lambda: move(sources, positions))

    def undo(self) -> None:
        """Puts everything back."""
        while self._undo:
            self._undo.pop()()
