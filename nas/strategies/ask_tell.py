"""Makes a strategy of a proposer: replay, the first trials, no candidate twice, and the end of the space."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from nas.strategies.base import History, Outcome, Proposer, generator
from nas.strategies.variation import scatter
from search_spaces.base import Candidate, SearchSpace, neighbours, num_candidates, sample

NUM_FIRST = 10
"""Outcomes that must have been told before an algorithm is consulted. The trials until then are scattered, the same
ones for every strategy of one seed, so that strategies compare from a common start."""

MAX_ENUMERATED = 10_000
"""Spaces up to this many combinations are listed, so that their end is known rather than guessed."""

NUM_ATTEMPTS = 1000
"""Samples after which a larger space is taken as exhausted."""


class OutcomeError(ValueError):
    """An outcome that does not fit the search."""


class AskTell:
    """A strategy around a proposer.

    Args:
        propose: The algorithm.
        space: What may be chosen.
        num_objectives: How many each outcome has.
        num_constraints: How many each outcome has.
        seed: Of the search.
    """

    def __init__(
        self, propose: Proposer, space: SearchSpace, *, num_objectives: int, num_constraints: int, seed: int
    ) -> None:
        self._propose = propose
        self._space = space
        self._num_objectives = num_objectives
        self._num_constraints = num_constraints
        self._seed = seed
        self._told: dict[Candidate, Outcome] = {}
        # A dict as an ordered set: its order, unlike a set's, depends on nothing but the space and what was told.
        self._unseen = _enumerate(space) if num_candidates(space) <= MAX_ENUMERATED else None

    def ask(self) -> Candidate | None:
        """A canonical candidate that was never told, or None when the space has no other."""
        if self._unseen is not None and len(self._unseen) <= 1:
            return next(iter(self._unseen), None)
        rng = generator(self._seed, len(self._told))
        known: list[Candidate] = []
        for candidate in self._proposals(rng):
            if candidate not in self._told:
                return candidate
            known.append(candidate)
        return self._near(known, rng) or self._anywhere(rng)

    def tell(self, outcome: Outcome) -> None:
        """Learns what a candidate came to. A candidate told again (at a higher fidelity, say) counts as told last.

        A NaN or an infinity among its numbers makes it a failed one.

        Raises:
            OutcomeError: It has another number of objectives or violations than the search.
        """
        if outcome.objectives is not None and (len(outcome.objectives), len(outcome.violations)) != (
            self._num_objectives,
            self._num_constraints,
        ):
            raise OutcomeError(
                f"An outcome of this search must have {self._num_objectives} objectives and {self._num_constraints} "
                f"violations, got {len(outcome.objectives)} and {len(outcome.violations)}; give objectives=None if "
                f"the trial failed."
            )
        self._told[outcome.candidate] = outcome
        if self._unseen is not None:
            self._unseen.pop(outcome.candidate, None)

    def _proposals(self, rng: np.random.Generator) -> Iterator[Candidate]:
        """The algorithm's, or scattered ones while there is too little to learn from."""
        history = self._history()
        if len(history.candidates) < NUM_FIRST:
            return (scatter(self._space, rng) for _ in range(NUM_FIRST))
        return self._propose(self._space, history, rng)

    def _history(self) -> History:
        usable = [(o, o.objectives) for o in self._told.values() if o.objectives is not None and _is_finite(o)]
        return History(
            candidates=tuple(outcome.candidate for outcome, _ in usable),
            objectives_TM=np.array([objectives for _, objectives in usable], dtype=np.float64),
            violations_TK=np.array([outcome.violations for outcome, _ in usable], dtype=np.float64),
        )

    def _near(self, known: Sequence[Candidate], rng: np.random.Generator) -> Candidate | None:
        """An unseen neighbour of what the algorithm wanted, when it wanted only what is known."""
        around = {near: None for candidate in known for near in neighbours(self._space, candidate)}
        return _pick([near for near in around if near not in self._told], rng)

    def _anywhere(self, rng: np.random.Generator) -> Candidate | None:
        """Any unseen candidate."""
        if self._unseen is not None:
            return _pick(list(self._unseen), rng)
        samples = (sample(self._space, rng) for _ in range(NUM_ATTEMPTS))
        return next((candidate for candidate in samples if candidate not in self._told), None)


def _enumerate(space: SearchSpace) -> dict[Candidate, None]:
    """All canonical candidates."""
    combinations = itertools.product(*(range(len(choice.sizes)) for choice in space.choices))
    return dict.fromkeys(space.canonical(candidate) for candidate in combinations)


def _is_finite(outcome: Outcome) -> bool:
    return all(math.isfinite(number) for number in (*(outcome.objectives or ()), *outcome.violations))


def _pick(candidates: Sequence[Candidate], rng: np.random.Generator) -> Candidate | None:
    return candidates[int(rng.integers(len(candidates)))] if candidates else None
