r"""Adapters of low rank (LoRA, arXiv:2106.09685) that follow the sub-network, as in arXiv:2410.06479.

    y = W x + b + (alpha / rank) · up (down x)

``up`` has the output features of W and ``down`` its input features. To the supernet's adapter of its family both are
further projections made of the same units, so that activation views their first rows and columns as it does W's, fused
projections included. Merging adds (alpha / rank) · up · down to W: slices of the sum are the sum of the slices, so
every sub-network computes the same merged as unmerged. Norms may be trained with them, in place.

Legend: B batch, T tokens, I input features, O output features, R rank.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nas.supernet.changes import Changes
from nas.supernet.families import Family, Projection, Sublayer
from nas.supernet.supernet import Supernet


class AdaptedProjection(nn.Module):
    """A frozen projection with an adapter beside it, which adds nothing at first.

    Attributes:
        base: The projection.
        down: ``(R, I)``.
        up: ``(O, R)``, zeros at first.
        scale: alpha / rank.
        is_on: Whether the adapter adds anything.
    """

    def __init__(self, base: nn.Module, *, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        weight = base.get_parameter("weight")
        num_outputs, num_inputs = reversed(weight.shape) if isinstance(base, Conv1D) else weight.shape
        self.base = base
        self.down = nn.Linear(num_inputs, rank, bias=False, device="meta")
        self.up = nn.Linear(rank, num_outputs, bias=False, device="meta")
        self.scale = scale
        self.is_on = True
        bound = 1 / math.sqrt(num_inputs)  # what nn.Linear draws from
        drawn_RI = (2 * torch.rand(rank, num_inputs, generator=generator) - 1) * bound
        self.down.weight = nn.Parameter(drawn_RI.to(weight.device))
        self.up.weight = nn.Parameter(torch.zeros(num_outputs, rank, device=weight.device))

    def forward(self, hidden_BTI: Tensor) -> Tensor:
        """Projects ``(B, T, I)`` to ``(B, T, O)``."""
        projected_BTO: Tensor = self.base(hidden_BTI)
        return projected_BTO + self.scale * self.up(self.down(hidden_BTI)) if self.is_on else projected_BTO

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the adapter to the projection's weight."""
        added_OI = self.scale * (self.up.weight @ self.down.weight)
        self.base.get_parameter("weight").add_(added_OI.t() if isinstance(self.base, Conv1D) else added_OI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """The adapters of a supernet, which they belong to until they are merged.

    Attributes:
        supernet: Whose.
        family: Its own adapter, without them.
        changes: How to take them off.
        modules: One for each projection.
        norms: Those that train, too: module, name, and the parameter as it was.
    """

    supernet: Supernet
    family: Family
    changes: Changes
    modules: tuple[AdaptedProjection, ...]
    norms: tuple[tuple[nn.Module, str, nn.Parameter], ...]

    @classmethod
    def attach(
        cls, supernet: Supernet, *, rank: int, alpha: float, norms: bool = False, generator: torch.Generator
    ) -> "Adapters":
        """Puts an adapter beside every projection of every layer, to be trained in place of the weights.

        Args:
            supernet: With nothing active and its units in their final order.
            rank: Of each adapter.
            alpha: Times 1 / rank, what an adapter's output is multiplied by.
            norms: Whether the model's norms are to be trained, too.
            generator: On the CPU.
        """
        family, changes, modules = supernet.family, Changes(), []
        frozen = []
        for module, name in norm_parameters(supernet.model) if norms else ():
            parameter = module.get_parameter(name)
            frozen.append((module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False)))
            parameter.requires_grad_(True)
        for layer, path in _projections(supernet):
            module = AdaptedProjection(layer.get_submodule(path), rank=rank, scale=alpha / rank, generator=generator)
            changes.set_module(layer, path, module)
            modules.append(module)
        supernet.family = replace(family, attention=_adapted(family.attention), mlp=_adapted(family.mlp))
        return cls(supernet=supernet, family=family, changes=changes, modules=tuple(modules), norms=tuple(frozen))

    @contextmanager
    def off(self) -> Iterator[None]:
        """Lets the supernet compute as if it had none, and its norms were as they were, for a block."""
        changes = Changes()
        for norm, name, parameter in self.norms:
            changes.set_parameter(norm, name, parameter)
        for module in self.modules:
            module.is_on = False
        try:
            yield
        finally:
            for module in self.modules:
                module.is_on = True
            changes.undo()

    def merge(self) -> None:
        """Adds the adapters to the weights and takes them off; the supernet computes what it computed with them.

        Norms that were trained stay as they are now.
        """
        for module in self.modules:
            module.merge()
        self.changes.undo()
        self.supernet.family = self.family


def norm_parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules that hold vectors alone, which are a model's norms, and the name of each such parameter there."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if all(parameter.dim() == 1 for parameter in own.values()):
            yield from ((module, name) for name in own)


def _projections(supernet: Supernet) -> Iterator[tuple[nn.Module, str]]:
    for layer in supernet.layers:
        for sublayer in (supernet.family.attention, supernet.family.mlp):
            for projection in sublayer.projections:
                yield layer, projection.path


def _adapted(sublayer: Sublayer) -> Sublayer:
    """The sublayer with its adapters as further projections, each before the one that it stands beside."""
    return replace(sublayer, projections=tuple(part for one in sublayer.projections for part in _parts(one)))


def _parts(projection: Projection) -> Iterator[Projection]:
    if projection.input is not None:
        yield Projection(path=f"{projection.path}.down", input=projection.input)
    if projection.outputs:
        yield replace(projection, path=f"{projection.path}.up", input=None)
    yield replace(projection, path=f"{projection.path}.base")
