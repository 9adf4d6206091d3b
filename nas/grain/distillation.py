"""What the student learns from: the teacher's predictions, and its hidden states.

    soft cross-entropy   T² · mean over examples (or tokens) of  - Σ softmax(z_teacher / T) log softmax(z_student / T)
                         less what it is for the teacher itself: 0 is reached, and the gradient is the same
    hidden states        Σ over the embeddings and the layers of  mean ( H_student W_i - H_teacher )²

each W_i a matrix of its own that begins as the identity. arXiv:2212.07634 matches some of the layers, here all take
part.

Legend: B batch, T tokens, D hidden_size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from evaluators.inputs import Batch
from nas.supernet.prediction_divergence import prediction_divergence
from search_spaces.sub_network import SubNetwork


def soft_cross_entropy(student: Any, teacher: Any, batch: Batch, temperature: float) -> Tensor:
    """Of all that the two predict, each with the same weight; padding predicts nothing.

    Args:
        student: Outputs of a model.
        teacher: Outputs of another for the same batch.
        batch: That batch.
        temperature: T.
    """
    return prediction_divergence(student, teacher, batch.tokens_BT, temperature=temperature)


class HiddenStates(nn.Module):
    """Compares hidden states.

    Args:
        sizes: Of each state, the same in both models.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.matrices = nn.ModuleList([nn.Linear(size, size, bias=False) for size in sizes])
        for matrix in self.matrices:
            nn.init.eye_(matrix.get_parameter("weight"))

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch, states: Sequence[int]
    ) -> Tensor:
        """The sum over ``states`` of the mean squared error, padding left out.

        Args:
            student: One hidden state ``(B, T, D)`` for each of ``states``.
            teacher: All hidden states of the teacher.
            batch: What both read.
            states: Numbers of the teacher's that the student's are compared with.
        """
        tokens_BT = batch.tokens_BT
        losses = [
            functional.mse_loss(self.matrices[number](ours[tokens_BT]).float(), teacher[number][tokens_BT].float())
            for ours, number in zip(student, states, strict=True)
        ]
        return torch.stack(losses).sum()


@torch.no_grad()
def hidden_sizes(model: PreTrainedModel) -> list[int]:
    """The width of the embeddings' state and of that behind each layer; the last may differ (OPT-350m projects it)."""
    ids_BT = torch.zeros(1, 1, dtype=torch.int64, device=model.device)
    return [state_BTD.shape[-1] for state_BTD in model(input_ids=ids_BT, output_hidden_states=True).hidden_states]


def compared_states(sub_network: SubNetwork) -> list[int]:
    """The embeddings' state and those behind kept layers; what is behind the last kept one stands for the last."""
    kept = sub_network.kept_layers
    return [0, *(index + 1 for index in kept[:-1]), sub_network.shape.num_layers]
