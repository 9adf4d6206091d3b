r"""How repeats become a latency with an interval: in blocks, the supernet's and the candidate's in alternation.

Blocks are timed as S C S C … C S (S supernet, C candidate). Clocks, temperature and neighbours drift over seconds
while two neighbouring blocks lie a tenth of a second apart, so each candidate block is divided by the mean of the
two supernet blocks around it:

    ratio_i = median(C_i) / ((median(S_i) + median(S_{i+1})) / 2)

A drift that is linear over three blocks cancels exactly. What does not cancel is that each side finds the caches full
of the other's weights: the first steps of a block were seen to take up to 30 % longer, and a small model needs tens
of milliseconds to settle. So the beginning of each block is run, not counted.

Quoted is the median over blocks. Its 95 % interval is that of order statistics: with n independent blocks the median
lies between the k-th smallest and the k-th largest with probability 1 - 2 P(Binomial(n, 1/2) < k), whatever their
distribution; n = 6 is the least that gives 95 %. Blocks are added until the interval is narrow enough or the time is
used up. (Stopping on the interval itself makes it slightly optimistic; the minimum time keeps that small.)
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

TimeBlock = Callable[[int], list[float]]
"""Runs that many repeats in a row and returns the duration of each, in seconds."""

MIN_BLOCKS = 6
OVERTIME = 6.0
"""Times ``max_s`` after which fewer than ``MIN_BLOCKS`` blocks must do."""
MIN_S = 1.0
"""Repeats on both sides before a narrow interval is believed."""

BLOCK_S = 0.02
SETTLE_S = 0.05
"""Run at the beginning of a block without being counted, in whole repeats."""

LONG_REPEAT_S = 1.0
"""In a repeat as long as this, settling is lost, and repeating it would be a waste."""

WARM_UP_S = 0.5
WARM_UP_REPEATS = 3
WARM_UP_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A median over blocks of repeats.

    Attributes:
        median: Of the blocks' medians.
        ci95: Bounds of its 95 % confidence interval.
        p90: 90th percentile of all repeats.
        n: Number of repeats.
    """

    median: float
    ci95: tuple[float, float]
    p90: float
    n: int

    @classmethod
    def of(cls, blocks: list[list[float]]) -> "Estimate":
        """Summarises blocks; of fewer than ``MIN_BLOCKS`` the interval is their range, and covers less than 95 %."""
        medians = [statistics.median(block) for block in blocks]
        repeats = [repeat for block in blocks for repeat in block]
        return cls(
            median=statistics.median(medians),
            ci95=median_interval(medians),
            p90=float(np.percentile(repeats, 90)),
            n=len(repeats),
        )

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the median."""
        low, high = self.ci95
        return (high - low) / 2 / self.median

    def times(self, factor: float) -> "Estimate":
        """The same in other units."""
        low, high = self.ci95
        return Estimate(
            median=self.median * factor, ci95=(low * factor, high * factor), p90=self.p90 * factor, n=self.n
        )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, by order statistics; of fewer than ``MIN_BLOCKS`` values, their range."""
    ordered = sorted(values)
    # binom.ppf gives the smallest k with P(Binomial < k + 1) >= 0.025; k - 1 counted from 0 is where to cut.
    cut = max(0, int(binom.ppf(0.025, len(ordered), 0.5)) - 1)
    return ordered[cut], ordered[-1 - cut]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What was found out about a candidate.

    Attributes:
        duration: Of one repeat, in seconds, as the clock showed it.
        ratio: To the supernet's; None without one.
        supernet: Of one repeat of the supernet meanwhile, in seconds; None without one.
        cut_short: Whether time was up before there were ``MIN_BLOCKS`` blocks.
    """

    duration: Estimate
    ratio: Estimate | None
    supernet: Estimate | None
    cut_short: bool


def time_alternating(
    candidate: TimeBlock, supernet: TimeBlock | None, *, target_interval: float, max_s: float
) -> Timing:
    """Times a candidate in alternation with its supernet until the interval is narrow enough.

    Args:
        candidate: Times the candidate.
        supernet: Times the supernet; None to time the candidate alone, which leaves drift in the result.
        target_interval: Half the width of the 95 % interval as a share of the median at which to stop.
        max_s: Seconds of repeats, on both sides and after warm-up, after which to stop all the same, once there
            are ``MIN_BLOCKS`` blocks. After ``OVERTIME`` times as long it ends with fewer: on a machine so busy that
            a repeat takes a hundred times its time, more blocks would tell no more.
    """
    alternating = supernet is not None
    candidate_blocks = _Blocks(candidate, settles=alternating)
    supernet_blocks = _Blocks(supernet, settles=alternating) if supernet else None
    if supernet_blocks:
        supernet_blocks.add()
    while True:
        candidate_blocks.add()
        if supernet_blocks:
            supernet_blocks.add()
        spent_s = candidate_blocks.spent_s + (supernet_blocks.spent_s if supernet_blocks else 0.0)
        cut_short = len(candidate_blocks.timed) < MIN_BLOCKS
        if cut_short and spent_s < OVERTIME * max_s:
            continue
        duration = Estimate.of(candidate_blocks.timed)
        ratio = Estimate.of(_ratios(candidate_blocks.timed, supernet_blocks.timed)) if supernet_blocks else None
        narrow = (ratio or duration).half_width <= target_interval
        if spent_s >= (min(MIN_S, max_s) if narrow else max_s):
            level = Estimate.of(supernet_blocks.timed) if supernet_blocks else None
            return Timing(duration=duration, ratio=ratio, supernet=level, cut_short=cut_short)


class _Blocks:
    """One side: warmed up, then timed in blocks of a fixed number of repeats.

    Attributes:
        timed: Seconds of each counted repeat, block by block.
        spent_s: Seconds of all repeats, counted or not, after warm-up.
    """

    def __init__(self, time_block: TimeBlock, *, settles: bool) -> None:
        self._time_block = time_block
        repeat_s = warm_up(time_block)
        self._num_repeats = max(1, round(BLOCK_S / repeat_s))
        self._num_settling = math.ceil(SETTLE_S / repeat_s) if settles and repeat_s < LONG_REPEAT_S else 0
        self.timed: list[list[float]] = []
        self.spent_s = 0.0

    def add(self) -> None:
        """Times one more block."""
        repeats = self._time_block(self._num_settling + self._num_repeats)
        self.spent_s += sum(repeats)
        self.timed.append(repeats[self._num_settling :])


def warm_up(time_block: TimeBlock) -> float:
    """Repeats until two successive blocks agree, or for a while; returns the seconds of one repeat."""
    latest_s, spent_s = math.inf, 0.0
    while spent_s < WARM_UP_S:
        earlier_s, latest_s = latest_s, statistics.median(time_block(WARM_UP_REPEATS))
        spent_s += latest_s * WARM_UP_REPEATS
        if abs(latest_s - earlier_s) <= WARM_UP_TOLERANCE * latest_s:
            break
    return latest_s


def _ratios(candidate_blocks: list[list[float]], supernet_blocks: list[list[float]]) -> list[list[float]]:
    """Each candidate block divided by the level of the two supernet blocks around it."""
    levels = [statistics.median(block) for block in supernet_blocks]
    return [
        [repeat / ((before + after) / 2) for repeat in block]
        for block, before, after in zip(candidate_blocks, levels, levels[1:], strict=False)
    ]
