"""Random variation of candidates whose choices are ordered sizes: scatter, mutate, cross over.

Legend: C choices.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces.base import Candidate, SearchSpace

MEAN_STEP_SHARE = 0.125
"""Mean length of a step beyond the first, as a share of the sizes there are: 4 among 25 sizes."""

Direction = Literal[-1, 1]


def scatter(space: SearchSpace, rng: np.random.Generator) -> Candidate:
    """A candidate whose choices share a level between smallest and largest.

    Choices drawn independently almost all add up to a half-size model, and leave the ends of the front unseen.
    Here a level is drawn uniformly, then each index from a binomial around it: every choice taken alone is still
    uniform, and so is, nearly, the total size.
    """
    return space.canonical(tuple(rng.binomial(num_sizes(space) - 1, rng.random()).tolist()))


def mutate(space: SearchSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate:
    """The candidate with each choice moved with probability 1 / (number of choices), and at least one moved."""
    movable = movable_choices(space)
    moved = movable[rng.random(len(movable)) < 1 / len(movable)]
    for position in moved if len(moved) else rng.choice(movable, size=1):
        candidate = step(space, candidate, position, rng=rng)
    return space.canonical(candidate)


def crossover(space: SearchSpace, first: Candidate, second: Candidate, *, rng: np.random.Generator) -> Candidate:
    """A candidate that takes each choice from either parent with equal probability (uniform crossover)."""
    from_first_C = rng.random(len(first)) < 0.5
    return space.canonical(tuple(np.where(from_first_C, first, second).tolist()))


def step(
    space: SearchSpace,
    candidate: Candidate,
    position: int,
    *,
    rng: np.random.Generator,
    direction: Direction | None = None,
) -> Candidate:
    """The candidate, not yet canonical, with one choice moved up or down by a geometrically distributed step.

    Small steps are likelier than large ones, and stop at the last size. Without a direction it is drawn, and turned
    round at either end, so that the choice always changes if it has two sizes.
    """
    last = len(space.choices[position].sizes) - 1
    index = candidate[position]
    if direction is None:
        direction = 1 if index == 0 or (index < last and rng.random() < 0.5) else -1
    length = int(rng.geometric(1 / (1 + MEAN_STEP_SHARE * last)))
    moved = min(max(index + direction * length, 0), last)
    return (*candidate[:position], moved, *candidate[position + 1 :])


def num_sizes(space: SearchSpace) -> NDArray[np.int64]:
    """``(num_choices,)`` int: how many sizes each choice has."""
    return np.array([len(choice.sizes) for choice in space.choices], dtype=np.int64)


def movable_choices(space: SearchSpace) -> NDArray[np.int64]:
    """Positions of the choices that have more than one size."""
    return np.flatnonzero(num_sizes(space) > 1)
