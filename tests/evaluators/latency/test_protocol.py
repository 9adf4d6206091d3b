import math
import random
import re
import statistics

import pytest
from scipy.stats import binom

from evaluators.latency.protocol import (
    BLOCK_S,
    MIN_BLOCKS,
    MIN_S,
    SETTLE_S,
    WARM_UP_REPEATS,
    Estimate,
    time_alternating,
    warm_up,
)


class Side:
    """A model with a made-up duration; both sides share a clock and a diary."""

    def __init__(self, name: str, diary: list[tuple[str, int]], duration_s: float, noise: random.Random | None = None):
        self.name, self.diary, self.duration_s, self.noise = name, diary, duration_s, noise

    def drift(self) -> float:
        return 1.0

    def __call__(self, num_repeats: int) -> list[float]:
        self.diary.append((self.name, num_repeats))
        duration_s = self.duration_s * self.drift()
        return [duration_s * (self.noise.lognormvariate(0, 0.2) if self.noise else 1) for _ in range(num_repeats)]


class Drifting(Side):
    """Twice as slow after ten blocks of both sides, linearly."""

    def drift(self) -> float:
        return 1 + len(self.diary) / 10


def test_blocks_alternate_and_the_supernet_is_on_both_sides() -> None:
    diary: list[tuple[str, int]] = []
    time_alternating(Side("C", diary, 0.002), Side("S", diary, 0.004), target_interval=0.02, max_s=9)
    warm, timed = (
        [name for name, num in diary if (num == WARM_UP_REPEATS) is is_warm_up] for is_warm_up in (True, False)
    )
    assert "".join(warm) == "CCSS"
    assert re.fullmatch(f"S(CS){{{MIN_BLOCKS},}}", "".join(timed))


def test_constant_durations_have_an_exact_ratio_after_the_least_time() -> None:
    timing = time_alternating(Side("C", [], 0.01), Side("S", [], 0.02), target_interval=0.02, max_s=9)
    assert timing.ratio is not None
    assert (timing.ratio.median, timing.ratio.ci95) == (0.5, (0.5, 0.5))
    assert timing.duration.median == pytest.approx(0.01)
    pair_s = 2 * (BLOCK_S + SETTLE_S)
    assert timing.ratio.n / (BLOCK_S / 0.01) == pytest.approx(MIN_S / pair_s, abs=1.5)


def test_linear_drift_leaves_the_ratio_alone() -> None:
    diary: list[tuple[str, int]] = []
    timing = time_alternating(Drifting("C", diary, 0.01), Drifting("S", diary, 0.02), target_interval=0.02, max_s=9)
    assert timing.ratio is not None
    assert timing.ratio.median == pytest.approx(0.5, rel=1e-9)
    assert timing.duration.half_width > 0.1


def test_noise_is_repeated_until_the_interval_is_narrow() -> None:
    rng = random.Random(0)
    diary: list[tuple[str, int]] = []
    sides = Side("C", diary, 0.01, rng), Side("S", diary, 0.02, rng)
    timing = time_alternating(*sides, target_interval=0.05, max_s=1e9)
    assert timing.ratio is not None
    assert timing.ratio.half_width <= 0.05
    assert len(diary) > 50
    assert timing.ratio.median == pytest.approx(0.5, rel=0.1)


def test_noise_beyond_the_time_stops_with_a_wide_interval() -> None:
    rng = random.Random(0)
    sides = Side("C", [], 0.01, rng), Side("S", [], 0.02, rng)
    timing = time_alternating(*sides, target_interval=1e-6, max_s=1.0)
    assert timing.ratio is not None
    assert timing.ratio.half_width > 1e-6


def test_a_candidate_alone_has_a_duration_and_no_ratio() -> None:
    timing = time_alternating(Side("C", [], 0.01), None, target_interval=0.02, max_s=9)
    assert timing.ratio is None
    assert timing.duration.median == pytest.approx(0.01)


def test_a_slow_workload_is_timed_one_repeat_a_block() -> None:
    diary: list[tuple[str, int]] = []
    timing = time_alternating(Side("C", diary, 2.0), Side("S", diary, 2.0), target_interval=0.02, max_s=9)
    assert diary == [("C", 3), ("S", 3), ("S", 1)] + [("C", 1), ("S", 1)] * MIN_BLOCKS
    assert timing.duration.n == MIN_BLOCKS
    assert not timing.cut_short


def test_a_hopelessly_slow_workload_is_cut_short() -> None:
    diary: list[tuple[str, int]] = []
    timing = time_alternating(Side("C", diary, 2.0), Side("S", diary, 2.0), target_interval=0.02, max_s=1)
    assert diary == [("C", 3), ("S", 3), ("S", 1), ("C", 1), ("S", 1)]
    assert timing.cut_short
    assert timing.duration.ci95 == (2.0, 2.0)


def test_the_beginning_of_a_block_is_not_counted() -> None:
    def cold_start(num_repeats: int) -> list[float]:
        return [0.012] * 3 + [0.01] * (num_repeats - 3) if num_repeats > WARM_UP_REPEATS else [0.01] * num_repeats

    timing = time_alternating(cold_start, Side("S", [], 0.02), target_interval=0.02, max_s=9)
    assert timing.ratio is not None
    assert (timing.ratio.median, timing.ratio.p90) == (0.5, 0.5)


def test_a_candidate_alone_need_not_settle() -> None:
    diary: list[tuple[str, int]] = []
    time_alternating(Side("C", diary, 0.01), None, target_interval=0.02, max_s=9)
    assert diary[-1] == ("C", round(BLOCK_S / 0.01))


def test_warm_up_ends_when_two_blocks_agree() -> None:
    durations = iter([9.0, 0.05, 0.03, 0.02, 0.02, 0.02, 0.0201, 0.0201, 0.0201, 7.0])
    assert warm_up(lambda num: [next(durations) for _ in range(num)]) == 0.0201
    assert list(durations) == [7.0]


def test_warm_up_ends_after_a_while() -> None:
    calls = iter(range(1, 1000))
    warm_up(lambda num: [0.01 * 1.5 ** (next(calls) % 7)] * num)
    assert next(calls) < 20


@pytest.mark.parametrize(("n", "cut"), [(6, 0), (9, 1), (12, 2), (20, 5), (50, 17)])
def test_the_interval_cuts_where_the_binomial_says(n: int, cut: int) -> None:
    """Positions from tables of the sign test, and the coverage they promise."""
    estimate = Estimate.of([[float(value)] for value in range(n)])
    assert estimate.ci95 == (float(cut), float(n - 1 - cut))
    assert 1 - 2 * binom.cdf(cut, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(cut + 1, n, 0.5) < 0.95


def test_the_interval_covers_the_true_median_often_enough() -> None:
    rng = random.Random(0)
    true_median = math.exp(0)
    covered = 0
    for _ in range(1000):
        low, high = Estimate.of([[rng.lognormvariate(0, 0.5)] for _ in range(11)]).ci95
        covered += low <= true_median <= high
    assert covered >= 950


def test_an_estimate_summarises_blocks() -> None:
    blocks = [[1.0, 2.0, 30.0], [2.0], [3.0], [4.0], [5.0], [6.0]]
    estimate = Estimate.of(blocks)
    assert estimate.median == statistics.median([2, 2, 3, 4, 5, 6])
    assert estimate.ci95 == (2.0, 6.0)
    assert estimate.n == 8
    assert estimate.half_width == pytest.approx(2 / 3.5)
    assert estimate.times(2).ci95 == (4.0, 12.0)
    assert estimate.times(2).p90 == 2 * estimate.p90
