"""Peak memory of a workload: the model's weights, and the most that lives beside them while it runs.

    peak_memory = bytes of the unique parameters + peak bytes of KV cache, activations and logits

The weights are those of the sub-network alone, as it would be stored; the supernet's memory behind its views does
not count. On a GPU the second term is what PyTorch's allocator reports. Elsewhere every tensor that an operator
returns is followed from its birth to its end, which leaves out what a kernel allocates and frees within itself.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evaluators.base import Direction, Measurement, Subject
from evaluators.inputs import device_of
from evaluators.latency.workload import Workload, WorkloadName
from evaluators.parameters import unique_parameters


class LiveTensors(TorchDispatchMode):
    """Follows the memory of every tensor made while the mode is on.

    Attributes:
        live_bytes: What lives now.
        peak_bytes: The most that ever lived at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # A result in the memory of an argument is a view; of a weight, say, which was there before.
        old = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in old:
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self._known:
            return
        self._known.add(address)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.live_bytes -= size


@torch.no_grad()
def peak_bytes_beside_weights(work: Callable[[], object], device: torch.device) -> int:
    """The most memory that ``work`` adds to what is allocated when it begins."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return int(torch.cuda.max_memory_allocated(device) - before)
    tensors = LiveTensors()
    with tensors:
        work()
    return tensors.peak_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Measures ``peak_memory``.

    Attributes:
        workload: ``prefill``, ``decode`` (a prefill and the steps after it) or ``encode``.
        batch_size: Sequences at once.
        context_tokens: Length of each sequence.
        decode_tokens: Output tokens of ``decode``.

    Raises:
        EvaluationError: An unknown workload, or a count below 1.
    """

    workload: WorkloadName
    batch_size: int = 1
    context_tokens: int = 128
    decode_tokens: int = 2

    def __post_init__(self) -> None:
        self._workload()

    @property
    def name(self) -> str:
        """Always ``peak_memory``."""
        return "peak_memory"

    @property
    def unit(self) -> str:
        """Always ``bytes``."""
        return "bytes"

    @property
    def direction(self) -> Direction:
        """Less is better."""
        return "minimize"

    @property
    def varies(self) -> bool:
        """The same model allocates the same memory again."""
        return False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Runs the workload once, watching its memory.

        Raises:
            EvaluationError: The model has no KV cache and the workload needs one, or too few positions.
        """
        model = subject.model
        weights = sum(parameter.numel() * parameter.element_size() for parameter in unique_parameters(model))
        beside = peak_bytes_beside_weights(lambda: self._workload().run_once(model), device_of(model))
        return {self.name: Measurement(value=float(weights + beside), unit=self.unit)}

    def _workload(self) -> Workload:
        return Workload(
            name=self.workload,
            batch_size=self.batch_size,
            context_tokens=self.context_tokens,
            decode_tokens=self.decode_tokens,
        )
