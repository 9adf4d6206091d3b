import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.strategies.base import History
from nas.strategies.syne_tune_adapter import (
    _constrained_priority,
    _contained,
    _penalised,
    suggest_by_ehvi,
    suggest_by_evolution,
)
from search_spaces.base import Candidate
from tests.nas.strategies.problems import StubSpace

SPACE = StubSpace(num_sizes=(6, 6, 1, 6))


def history(*candidates: Candidate, violation: float = 0.0) -> History:
    return History(
        candidates=candidates,
        objectives_TM=np.array([(sum(c), -c[0]) for c in candidates], dtype=np.float64),
        violations_TK=np.full((len(candidates), 1), violation),
    )


def evolve(past: History, *, population_size: int) -> list[Candidate]:
    return suggest_by_evolution(
        SPACE,
        past,
        population_size=population_size,
        sample_size=3,
        num_suggestions=20,
        rng=np.random.default_rng(0),
    )


def test_evolved_children_differ_from_a_parent_in_one_choice() -> None:
    parents = [(3, 2, 0, 1), (5, 5, 0, 5)]
    one_changed = {
        SPACE.canonical((*parent[:position], index, *parent[position + 1 :]))
        for parent in parents
        for position in (0, 1, 3)
        for index in range(6)
    }
    assert set(evolve(history(*parents), population_size=2)) <= one_changed


def test_evolution_forgets_those_who_died_of_age() -> None:
    living = [(3, index, 0, 1) for index in range(5)]
    assert evolve(history((5, 5, 0, 5), *living), population_size=5) == evolve(history(*living), population_size=5)


def test_priority_is_the_rank_of_each_element() -> None:
    # Worst to best in a known order; the last metric is the violation.
    metrics = np.array([(2, 2, 0), (0, 0, 0), (0, 0, 0.5), (1, 1, 0), (0, 0, 0.1)], dtype=np.float64)
    assert _constrained_priority(metrics).tolist() == [2, 0, 4, 1, 3]


def test_penalised_objectives_are_shares_of_the_range_plus_the_logarithm_of_the_violation() -> None:
    past = History(
        candidates=((0,), (1,), (2,)),
        objectives_TM=np.array([(10.0, 3.0), (20.0, 3.0), (15.0, 3.0)]),
        violations_TK=np.array([(-1.0,), (0.0,), (0.1,)]),
    )
    expected = [(0.0, 0.0), (1.0, 0.0), (0.5 + np.log(2), np.log(2))]
    assert _penalised(past) == pytest.approx(np.array(expected))


def test_ehvi_goes_where_both_objectives_improve() -> None:
    # Both objectives fall with every index, so the far corner is best; only the near half is known.
    space = StubSpace(num_sizes=(9, 9))
    rng = np.random.default_rng(0)
    known = tuple((int(a), int(b)) for a, b in rng.integers(1, 6, size=(12, 2)))
    past = History(
        candidates=known,
        objectives_TM=100.0 - np.array([(a + b, a + 2 * b) for a, b in known]),
        violations_TK=np.zeros((12, 0)),
    )
    a, b = suggest_by_ehvi(space, past, num_restarts=2, num_raw_samples=64, num_mc_samples=32, rng=rng)
    assert a + b >= 10


def test_nothing_is_compiled_and_so_no_lock_is_ever_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with _contained(0):  # As importing BoTorch warns.
        from botorch.acquisition.multi_objective import logei
    monkeypatch.setattr(logei, "_load_attempted", False)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    past = history(*((a, b, 0, c) for a, b, c in np.random.default_rng(0).integers(6, size=(8, 3)).tolist()))
    suggest_by_ehvi(SPACE, past, num_restarts=1, num_raw_samples=8, num_mc_samples=8, rng=np.random.default_rng(0))
    assert not list(tmp_path.iterdir())


def test_everything_global_is_put_back() -> None:
    def state() -> tuple[object, ...]:
        return (
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
            torch.get_default_dtype(),
            logging.root.handlers[:],
            logging.root.level,
        )

    def disturb_and_fail() -> None:
        with _contained(seed=1):
            np.random.random()
            torch.rand(1)
            logging.root.addHandler(logging.NullHandler())
            logging.root.setLevel(logging.DEBUG)
            raise KeyError("inside")

    before = state()
    with pytest.raises(KeyError, match="inside"):
        disturb_and_fail()
    assert state() == before


def test_the_global_generators_are_seeded_inside() -> None:
    draws = []
    for _ in range(2):
        with _contained(seed=1):
            draws.append((np.random.random(), torch.rand(1).item()))
    assert draws[0] == draws[1]
