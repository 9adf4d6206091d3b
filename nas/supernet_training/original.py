"""The model that a training began with, which all sub-networks may learn from, the largest too."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from transformers import PreTrainedModel

from evaluators.inputs import Batch
from nas.supernet.supernet import Supernet
from nas.supernet_training.config import DistillationConfig
from nas.supernet_training.lora import Adapters
from nas.supernet_training.losses import Teacher, predict, teacher_of


class Original:
    """A teacher that stays as it is: a copy, or the model itself behind the adapters that train in its place."""

    def __init__(self, supernet: Supernet, distillation: DistillationConfig, adapters: Adapters | None) -> None:
        """Takes the copy, where there are no adapters to look behind.

        Args:
            supernet: As training found it, with nothing active.
            distillation: What of its logits is taught.
            adapters: Those that train.
        """
        self._distillation = distillation
        self._predicts_tokens = supernet.predicts_tokens
        self._model: Callable[[], AbstractContextManager[PreTrainedModel]]
        if adapters is None:
            model = copy.deepcopy(supernet.model).requires_grad_(False).eval()
            self._model = lambda: nullcontext(model)
        else:
            self._model = lambda: _bare(supernet.model, adapters)

    def teaches(self, batch: Batch, autocast: Callable[[], AbstractContextManager[None]]) -> Teacher:
        """What it says of a batch, without dropout, in the precision of the other passes."""
        with self._model() as model, torch.no_grad(), autocast():
            predictions = predict(model, batch, predicts_tokens=self._predicts_tokens)
            return teacher_of(predictions.logits_NV, self._distillation)


@contextmanager
def _bare(model: PreTrainedModel, adapters: Adapters) -> Iterator[PreTrainedModel]:
    """The model in training without its adapters, in eval mode for a block."""
    model.eval()
    try:
        with adapters.off():
            yield model
    finally:
        model.train()
