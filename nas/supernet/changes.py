"""Reversible changes to a module tree: each is recorded, and all are undone in reverse order."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


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
        children = owner.get_submodule(parent_path)._modules
        before = children[name]
        children[name] = module

        def undo() -> None:
            children[name] = before

        self._undo.append(undo)

    def set_parameter(self, module: nn.Module, name: str, view: Tensor) -> None:
        """Lets ``module.name`` be a view; the storage is shared, nothing is copied.

        A parameter becomes that very one, so that modules can have one in common.
        """
        parameters = module._parameters
        before = parameters[name]
        parameters[name] = view if isinstance(view, nn.Parameter) else nn.Parameter(view, requires_grad=False)

        def undo() -> None:
            parameters[name] = before

        self._undo.append(undo)

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
