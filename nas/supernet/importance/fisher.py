"""Fisher importance: the squared gradient of the loss with respect to each unit's mask.

    I_i = Σ_b ( ∂ L_b / ∂ m_i )²   at m = 1,

with L_b the mean loss of batch b: the diagonal of the empirical Fisher information per batch, as in
arXiv:2204.09656 (Kwon et al.). For causal language models L is the next-token cross-entropy. For encoders, which come
here without labels, it is the cross-entropy against the model's own predictions at temperature 2; at temperature 1
the gradient of a model against its own soft predictions would vanish.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nas.supernet.importance.base import ImportanceError, UnitScores
from nas.supernet.masking import UnitScales, scaled
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork


def fisher_importance(supernet: Supernet, batches: Sequence[Tensor]) -> UnitScores:
    """Scores of all units and sublayers, from gradients in the model's own dtype and on its own device.

    Raises:
        ImportanceError: The model has no head that gives logits, so there is no loss.
    """
    parameter = next(supernet.model.parameters())
    full = SubNetwork.full(supernet.shape)
    names = ("heads_LH", "neurons_LN", "attention_L", "mlp_L")
    totals = [torch.zeros(()) for _ in names]
    for ids_BT in batches:
        ones = UnitScales.of(full, dtype=parameter.dtype, device=supernet.device)
        masks = [getattr(ones, name).requires_grad_() for name in names]
        with torch.enable_grad(), scaled(supernet, ones):
            gradients = torch.autograd.grad(_loss(supernet, ids_BT.to(supernet.device)), masks)
        totals = [total + gradient.double().square().cpu() for total, gradient in zip(totals, gradients, strict=True)]
    return UnitScores(**{name: total.numpy() for name, total in zip(names, totals, strict=True)})


def _loss(supernet: Supernet, ids_BT: Tensor) -> Tensor:
    outputs = supernet.model(input_ids=ids_BT)
    logits = getattr(outputs, "logits", None)
    if logits is None:
        raise ImportanceError(
            f"Fisher importance needs a model with a task head, got {type(supernet.model).__name__}; "
            "load a fine-tuned model or use the activation importance."
        )
    logits = logits.float()
    if supernet.family.is_decoder:
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
    predictions = functional.softmax(logits.detach() / 2, dim=-1)
    return functional.cross_entropy(logits.flatten(0, -2), predictions.flatten(0, -2))
