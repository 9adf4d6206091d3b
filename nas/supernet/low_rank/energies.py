r"""What each direction of each matrix is worth to the loss: the Fisher information of a gate on it.

With a gate z_r between the factors of every matrix, y = Σ_r z_r e_r (p_r · x), and δ the gradient of the loss with
respect to y at one token, the gradient with respect to z_r is (δ · e_r)(p_r · x) there. Its square, summed over tokens,
is (but for a constant) the expected rise of the loss when the direction is removed; token by token it is what K-FAC
(arXiv:1503.05671) approximates as (e_rᵀ E[δ δᵀ] e_r)(p_rᵀ E[x xᵀ] p_r). Since it is one loss that rises, directions of
different matrices compare, which singular values do not.

Legend: O output features, R directions, I input features, T tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.inputs import Batch
from nas.supernet.low_rank.factors import Factors

Place = tuple[int, str]
"""A layer's number and the path of a matrix in it; FLOP's bands of the embedding stand beside, without a layer."""


def direction_energies(
    model: Any,
    layers: Sequence[nn.Module],
    factors: Mapping[Place, Factors],
    batches: Sequence[Batch],
    loss_of: Callable[[Batch], Tensor],
) -> dict[Place, Tensor]:
    """The energy of every direction, in one pass forward and back over the examples.

    Args:
        model: Nothing of it active; its parameters are not looked at, and get no gradients.
        layers: All of its layers.
        factors: Of the matrices that are asked about.
        batches: Examples.
        loss_of: The model's loss on a batch.

    Returns:
        ``(num_directions,)`` float64 each, on the CPU.
    """
    energies = {place: torch.zeros(one.expand_OR.shape[1], dtype=torch.float64) for place, one in factors.items()}
    starts: list[Tensor] = []

    def begin(module: nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
        """Gradients flow back to here, whether the parameters are frozen or not."""
        del module, inputs
        starts.append(embedded.detach().requires_grad_())
        return starts[-1]

    def watch(place: Place) -> Any:
        def forward(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            del module
            reduced_TR = inputs[0].detach().flatten(0, -2).float() @ factors[place].reduce_RI.float().T

            def backward(gradient: Tensor) -> None:
                expanded_TR = gradient.detach().flatten(0, -2).float() @ factors[place].expand_OR.float()
                energies[place] += (expanded_TR * reduced_TR).square().sum(dim=0).double().cpu()

            outputs.register_hook(backward)

        return forward

    with ExitStack() as stack, torch.enable_grad():
        stack.callback(model.get_input_embeddings().register_forward_hook(begin).remove)
        for layer, path in factors:
            stack.callback(layers[layer].get_submodule(path).register_forward_hook(watch((layer, path))).remove)
        for batch in batches:
            starts.clear()
            torch.autograd.grad(loss_of(batch), starts)
    return energies
