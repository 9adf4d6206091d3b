"""Watching what enters and leaves the sublayers of a supernet while calibration text runs through it.

Legend: F features entering an output projection (heads × head_dim, or neurons).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from nas.supernet.families import Sublayer
from nas.supernet.supernet import Supernet

Observer = Callable[[int, Tensor], None]
"""Gets the layer's number and ``(num_tokens, num_features)``."""


@contextmanager
def observing(supernet: Supernet, sublayer: Sublayer, *, units: Observer) -> Iterator[nn.Module]:
    """Shows ``units`` what enters the output projection of ``sublayer`` in every layer, until the block is left."""
    with ExitStack() as stack:
        for index, layer in enumerate(supernet.layers):

            def hook(module: nn.Module, inputs: tuple[Any, ...], index: int = index) -> None:
                del module
                units(index, inputs[0].detach().flatten(0, -2))

            stack.callback(layer.get_submodule(sublayer.output).register_forward_pre_hook(hook).remove)
        yield supernet.model
