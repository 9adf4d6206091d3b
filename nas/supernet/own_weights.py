"""Weights that belong to one sub-network alone: what training it, and not the supernet, gives.

A method that trains while it prunes, or after, changes every matrix of a sub-network. Its weights then share nothing
with the supernet's, but where they go and who judges them stays the same: they take the places of the views while the
sub-network is active, and an extracted copy holds them.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from nas.supernet.banded_embedding import BandedEmbedding
from nas.supernet.changes import Changes
from nas.supernet.extraction import fuse_projections
from nas.supernet.output_weights import OutputWeights


class OwnWeightsError(ValueError):
    """Weights that do not fit the sub-network they are to be used with, or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnWeights:
    """All parameters of one sub-network, by their names in its extracted model; tied ones once.

    Units lie by ascending number, as in a model extracted from a supernet that nobody reordered. (However the supernet
    is ordered: a sublayer whose matrices are all replaced computes the same in any order of its units.)

    Attributes:
        parameters: By name; any floating-point dtype, cast to the model's where they are used. Where the embedding has
            several bands, the positions of tokens in them (int64) are among them: short rows mean nothing without.
    """

    parameters: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Self:
        """Those of an extracted model, copied."""
        named = {**dict(model.named_parameters()), **_positions(model)}
        return cls(parameters={name: one.detach().clone() for name, one in named.items()})

    def save(self, path: Path) -> None:
        """Writes them as safetensors, through a temporary name."""
        temporary = path.with_name(f".{path.name}.tmp")
        save_file({name: one.contiguous() for name, one in self.parameters.items()}, temporary)
        temporary.rename(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of ``save``.

        Raises:
            OwnWeightsError: There is no such file, or it is damaged.
        """
        try:
            return cls(parameters=load_file(path))
        except (OSError, SafetensorError) as error:
            raise OwnWeightsError(
                f"The weights of a sub-network must be a readable safetensors file, got {path} ({error}); remove it to "
                "have them made again."
            ) from error


SubNetworkWeights = OutputWeights | OwnWeights
"""What a sub-network may have in place of what it shares with the supernet: some of its weights, or all."""


def set_own_weights(
    model: PreTrainedModel, kinds: Mapping[str, nn.Module], weights: OwnWeights, changes: Changes
) -> None:
    """Lets an active sub-network compute with its own weights.

    Args:
        model: The supernet's, with the sub-network active.
        kinds: Of the supernet at rest, as ``extraction.projection_kinds`` gives them.
        weights: Such as fit it.
        changes: Records how to put the supernet's weights back.

    Raises:
        OwnWeightsError: They are not those of this sub-network. What was changed so far is recorded.
    """
    fuse_projections(model, kinds, changes)
    owners: dict[Tensor, list[tuple[nn.Module, str]]] = defaultdict(list)  # tied parameters have several
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                owners[parameter].append((module, name))
    present, positions = dict(model.named_parameters()), _positions(model)
    _require_fitting(weights, {**present, **positions})
    for name, buffer in positions.items():
        path, _, attribute = name.rpartition(".")
        changes.set_buffer(model.get_submodule(path), attribute, weights.parameters[name].to(buffer))
    for name, parameter in present.items():
        own = nn.Parameter(weights.parameters[name].to(parameter.device, parameter.dtype), requires_grad=False)
        for module, attribute in owners[parameter]:
            changes.set_parameter(module, attribute, own)


def _positions(model: nn.Module) -> dict[str, Tensor]:
    """Which token stands where in an embedding of several bands, by the buffer's name."""
    return {
        f"{path}.positions": module.positions
        for path, module in model.named_modules()
        if isinstance(module, BandedEmbedding) and module.positions is not None
    }


def _require_fitting(weights: OwnWeights, present: Mapping[str, Tensor]) -> None:
    given = {name: tuple(one.shape) for name, one in weights.parameters.items()}
    wanted = {name: tuple(one.shape) for name, one in present.items()}
    for name in sorted(given.keys() | wanted.keys()):
        if given.get(name) != wanted.get(name):
            raise OwnWeightsError(
                f"A sub-network's own weights must be those of its extracted model, which has {name} of shape "
                f"{wanted.get(name)}, got {given.get(name)}; give those found for this very sub-network."
            )
