"""The number of parameters a model has when it is stored: tied ones once, buffers not counted."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from evaluators.base import Direction, Measurement, Subject


def unique_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter that would be stored, once.

    The views of an active sub-network count with their own, sliced size. Two are the same when they are the same
    object (``nn.Module.parameters`` sees to that) or look at the same memory in the same way, as tied weights do
    that were sliced apart.
    """
    seen = set()
    for parameter in model.parameters():
        # Tensors without memory (on the meta device, or empty) all have address 0, so identity has to do.
        address = parameter.data_ptr() or id(parameter)
        view = (parameter.device, address, parameter.shape, parameter.stride(), parameter.dtype)
        if view not in seen:
            seen.add(view)
            yield parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Measures ``parameters``: an exact count."""

    @property
    def name(self) -> str:
        """Always ``parameters``."""
        return "parameters"

    @property
    def unit(self) -> str:
        """Always ``parameters``."""
        return "parameters"

    @property
    def direction(self) -> Direction:
        """Less is better."""
        return "minimize"

    @property
    def varies(self) -> bool:
        """An exact count."""
        return False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Counts."""
        count = sum(parameter.numel() for parameter in unique_parameters(subject.model))
        return {self.name: Measurement(value=float(count), unit=self.unit)}
