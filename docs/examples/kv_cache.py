"""How much memory the KV cache takes for each token of context: what limits how many sequences fit on a device."""

import torch

from evaluators.base import Direction, EvaluationError, Measurement, Subject
from evaluators.inputs import random_token_ids


class KvCache:
    """Measures ``kv_cache``, in bytes for a token."""

    name = "kv_cache"
    unit = "bytes"
    direction: Direction = "minimize"
    varies = False

    def __init__(self, *, num_tokens: int = 16) -> None:
        if num_tokens < 1:
            raise EvaluationError(f"num_tokens must be at least 1, got {num_tokens}.")
        self._num_tokens = num_tokens

    @torch.no_grad()
    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Fills a cache and adds up the layers that have one."""
        ids_BT = random_token_ids(subject.model, batch_size=1, num_tokens=self._num_tokens)
        layers = subject.model(input_ids=ids_BT, use_cache=True).past_key_values.layers
        size = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers if layer.is_initialized)
        return {self.name: Measurement(value=size / self._num_tokens, unit=self.unit)}
