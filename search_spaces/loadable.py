"""What the runtimes that load a sub-network can represent, as limits on a search space.

Each rule is what the runtime was seen to refuse, or to accept and compute wrongly. Every runtime needs the attention
of layer 0, because its KV cache is sized there; ``SupernetShape.required_attention`` holds that for all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.base import SearchSpaceError
from search_spaces.shape import SupernetShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a search space must respect.

    Attributes:
        neurons_multiple_of: MLP widths must be multiples of it.
        mlp_needs_attention: A layer without attention must lose its MLP too.
    """

    neurons_multiple_of: int = 1
    mlp_needs_attention: bool = False


TARGETS: dict[str, Limits] = {
    # A modelling file beside the weights builds any widths and any drops.
    "transformers": Limits(),
    # A layer without attention is refused; a layer that is left out altogether is no layer.
    "vllm": Limits(mlp_needs_attention=True),
    # Quantised blocks hold 32 weights. (A dropped MLP is written as 32 neurons of zeros, which is exact.)
    "gguf": Limits(neurons_multiple_of=32),
}


def limits_for(targets: Sequence[str], shape: SupernetShape) -> Limits:
    """The limits that make every sub-network loadable by all the targets.

    Raises:
        SearchSpaceError: An unknown target, or one that cannot load even the supernet.
    """
    for target in targets:
        if target not in TARGETS:
            raise SearchSpaceError(f"loadable_by knows {', '.join(TARGETS)}, got {target!r}; choose among those.")
        if shape.num_neurons % (multiple := TARGETS[target].neurons_multiple_of):
            raise SearchSpaceError(
                f"{target} loads MLP widths in multiples of {multiple}, and the supernet itself has "
                f"{shape.num_neurons} neurons a layer; leave {target} out of loadable_by."
            )
    return Limits(
        neurons_multiple_of=math.lcm(*(TARGETS[target].neurons_multiple_of for target in targets)),
        mlp_needs_attention=any(TARGETS[target].mlp_needs_attention for target in targets),
    )
