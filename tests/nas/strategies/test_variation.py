"""Random variation, checked on distributions that are known in closed form."""

import numpy as np
import pytest

from nas.strategies.variation import crossover, movable_choices, mutate, scatter, step
from tests.nas.strategies.problems import StubSpace

SPACE = StubSpace(num_sizes=(5, 9, 1, 3))


def test_scattered_choices_are_uniform_one_by_one_but_share_a_level() -> None:
    space, rng = StubSpace(num_sizes=(5,) * 10), np.random.default_rng(0)
    draws = np.array([scatter(space, rng) for _ in range(4000)])
    frequencies = np.bincount(draws[:, 3], minlength=5) / len(draws)
    assert frequencies == pytest.approx([0.2] * 5, abs=0.03)
    # Uniform totals have a standard deviation of 1 / sqrt(12) = 0.29 in shares; independent choices only 0.11.
    assert draws.mean(axis=1).std() / 4 > 0.27


def test_scatter_gives_canonical_candidates() -> None:
    rng = np.random.default_rng(0)
    draws = [scatter(SPACE, rng) for _ in range(200)]
    assert all(SPACE.canonical(candidate) == candidate for candidate in draws)
    assert {candidate[0] for candidate in draws} == set(range(5))


def test_choices_of_one_size_cannot_move() -> None:
    assert movable_choices(SPACE).tolist() == [0, 1, 3]


def test_a_step_always_moves_stays_inside_and_is_small_more_often_than_large() -> None:
    rng = np.random.default_rng(0)
    for start in (0, 4, 8):
        moved = [step(SPACE, (2, start, 0, 1), 1, rng=rng) for _ in range(500)]
        assert all((c[0], *c[2:]) == (2, 0, 1) for c in moved)
        lengths = np.bincount([abs(c[1] - start) for c in moved], minlength=9)
        assert lengths[0] == 0
        assert lengths[1] > lengths[2] > lengths[3] > 0


def test_a_step_in_a_direction_goes_there_or_stops_at_the_end() -> None:
    rng = np.random.default_rng(0)
    assert all(step(SPACE, (2, 4, 0, 1), 1, rng=rng, direction=-1)[1] < 4 for _ in range(50))
    assert step(SPACE, (2, 8, 0, 1), 1, rng=rng, direction=1) == (2, 8, 0, 1)


def test_mutation_moves_at_least_one_choice_and_seldom_many() -> None:
    space, rng = StubSpace(num_sizes=(9,) * 10), np.random.default_rng(0)
    parent = (4,) * 10
    moved = [sum(a != b for a, b in zip(parent, mutate(space, parent, rng), strict=True)) for _ in range(1000)]
    assert min(moved) == 1
    # Binomial(10, 1/10) with its zeros turned into ones: 1 + 0.9 ** 10 = 1.35.
    assert np.mean(moved) == pytest.approx(1.35, abs=0.1)


def test_crossover_takes_every_choice_from_either_parent() -> None:
    space, rng = StubSpace(num_sizes=(9,) * 6), np.random.default_rng(0)
    children = np.array([crossover(space, (1,) * 6, (7,) * 6, rng=rng) for _ in range(400)])
    assert set(np.unique(children)) == {1, 7}
    assert (children == 1).mean(axis=0) == pytest.approx([0.5] * 6, abs=0.1)
