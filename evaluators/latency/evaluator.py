"""Latency on this device: the median, its 95 % interval, the 90th percentile and the number of repeats.

Where the supernet can be entered, it is timed in alternation with the candidate (``protocol.py``), and where its own
latency is on record, the value reported is

    ratio to the supernet, measured now × the supernet's recorded latency

so that a machine that has become slower or faster since the search began moves no candidate against another. The
interval is the ratio's; the recorded value is taken as exact, being the same for every candidate. Without a recorded
value the candidate's own median is reported, as it is for the supernet itself and for a model on its own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from evaluators.base import RATIO_SUFFIX, SUPERNET_SUFFIX, Direction, EvaluationError, Measurement, Subject
from evaluators.inputs import device_of
from evaluators.latency.contention import CpuLoad
from evaluators.latency.protocol import Estimate, TimeBlock, time_alternating
from evaluators.latency.timer import Timer, timer_for
from evaluators.latency.workload import Repeat, Workload, WorkloadName

CONTENDED_SPREAD = 1.5
"""A 90th percentile this many times the median is no property of the model: something else was running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Measures ``prefill_latency``, ``decode_latency`` or ``encode_latency``.

    Beside it, with ``_ratio`` behind the name, the ratio to the supernet, and with ``_supernet`` the supernet's own
    latency meanwhile, from which a search knows in the end what the supernet took while it lasted.

    Flags: ``wide_interval`` when the time was used up before the interval was narrow enough; ``contended`` when
    others kept the processor busy meanwhile, or the repeats spread as if they had.

    Attributes:
        workload: ``prefill`` (time to first token), ``decode`` (time per output token) or ``encode``.
        batch_size: Sequences at once.
        context_tokens: Length of each sequence; for decode, what the KV cache holds.
        decode_tokens: Output tokens of one repeat of ``decode``.
        target_interval: Half the width of the 95 % interval to reach, as a share of the median.
        max_s: Seconds of repeats after which the interval is taken as it is.

    Raises:
        EvaluationError: A number out of its range.
    """

    workload: WorkloadName
    batch_size: int = 1
    context_tokens: int = 128
    decode_tokens: int = 2
    target_interval: float = 0.03
    max_s: float = 3.0

    def __post_init__(self) -> None:
        self._workload()
        if not 0 < self.target_interval < 1:
            raise EvaluationError(f"target_interval must lie between 0 and 1, got {self.target_interval}; try 0.03.")
        if self.max_s <= 0:
            raise EvaluationError(f"max_s must be above 0 seconds, got {self.max_s}; try 3.")

    @property
    def name(self) -> str:
        """``prefill_latency``, ``decode_latency`` or ``encode_latency``."""
        return f"{self.workload}_latency"

    @property
    def unit(self) -> str:
        """Seconds: per forward pass, for decode per output token."""
        return "s"

    @property
    def direction(self) -> Direction:
        """Less is better."""
        return "minimize"

    @property
    def varies(self) -> bool:
        """Measured, so never twice the same."""
        return True

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Times the subject, in alternation with its reference where it has one.

        Raises:
            EvaluationError: The model has no KV cache and the workload needs one, or too few positions.
        """
        device = device_of(subject.model)
        candidate, supernet = (_Timed(self._workload(), timer_for(device)) for _ in range(2))
        with CpuLoad(torch.get_num_threads() if device.type == "cpu" else 1) as load:
            timing = time_alternating(
                lambda num_repeats: candidate.block(subject.model, num_repeats),
                None if subject.reference is None else supernet.block_within(subject.reference),
                target_interval=self.target_interval,
                max_s=self.max_s,
            )
        seconds = timing.duration.times(1 / candidate.num_steps)
        estimates = {self.name: (seconds, "s")}
        if timing.ratio is not None:
            if (recorded := subject.reference_measurements.get(self.name)) is not None:
                estimates[self.name] = (timing.ratio.times(recorded.value), "s")
            estimates[self.name + RATIO_SUFFIX] = (timing.ratio, "ratio")
        if timing.supernet is not None:
            estimates[self.name + SUPERNET_SUFFIX] = (timing.supernet.times(1 / supernet.num_steps), "s")
        return {
            name: self._measurement(estimate, unit=unit, busy=load.contended, cut_short=timing.cut_short)
            for name, (estimate, unit) in estimates.items()
        }

    def _workload(self) -> Workload:
        return Workload(
            name=self.workload,
            batch_size=self.batch_size,
            context_tokens=self.context_tokens,
            decode_tokens=self.decode_tokens,
        )

    def _measurement(self, estimate: Estimate, *, unit: str, busy: bool, cut_short: bool) -> Measurement:
        wide = cut_short or estimate.half_width > self.target_interval
        contended = busy or estimate.p90 > CONTENDED_SPREAD * estimate.median
        flags = (("wide_interval",) if wide else ()) + (("contended",) if contended else ())
        return Measurement(
            value=estimate.median, unit=unit, ci95=estimate.ci95, n=estimate.n, p90=estimate.p90, flags=flags
        )


class _Timed:
    """One side of the comparison: a workload, bound to its model the first time that model is there."""

    def __init__(self, workload: Workload, timer: Timer) -> None:
        self._workload = workload
        self._timer = timer
        self._repeat: Repeat | None = None

    @property
    def num_steps(self) -> int:
        """Steps of one repeat, once it was bound."""
        assert self._repeat is not None
        return self._repeat.num_steps

    def block(self, model: nn.Module, num_repeats: int) -> list[float]:
        """Seconds of each of so many repeats."""
        # Inference mode begins here, not outside: entering the supernet may write to its parameters.
        with torch.inference_mode():
            repeat = self._repeat = self._repeat or self._workload.prepare(model)
            return [self._time(repeat) for _ in range(num_repeats)]

    def block_within(self, enter: Callable[[], AbstractContextManager[nn.Module]]) -> TimeBlock:
        """``block`` for a model that must be entered each time."""

        def time_block(num_repeats: int) -> list[float]:
            with enter() as model:
                return self.block(model, num_repeats)

        return time_block

    def _time(self, repeat: Repeat) -> float:
        fresh = repeat.fresh()
        return self._timer(lambda: repeat.run(fresh))
