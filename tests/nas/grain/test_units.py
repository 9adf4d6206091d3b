"""Which units leave, against an account kept by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.grain import GrainConfig, GrainError
from nas.grain.units import Parameters, Units, UnitScores, prune
from nas.pruners.costs import parameter_costs
from nas.supernet.supernet import Supernet
from search_spaces.shape import SupernetShape
from tests.nas.supernet.test_supernet import num_parameters
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model

SHAPE = SupernetShape(num_layers=2, num_heads=2, num_kv_groups=2, num_neurons=4, head_dim=4, hidden_size=8)
ALIKE = Parameters(queries_U=np.full(4, 10), value=10, neuron=10)
WHOLE = Units.all_of(SHAPE)
NUM_UNITS = 2 * (2 * 4 + 2 * 4 + 4)


def config(**settings: Any) -> GrainConfig:
    return GrainConfig(**{"density": 0.5, "num_steps": 10, "regularise_structure": False, **settings})


def random_scores(shape: SupernetShape, seed: int) -> UnitScores:
    rng = np.random.default_rng(seed)
    zeros = UnitScores.zeros(shape)
    return UnitScores(
        queries_LKU=rng.random(zeros.queries_LKU.shape),
        values_LKD=rng.random(zeros.values_LKD.shape),
        heads_LK=rng.random(zeros.heads_LK.shape),
        neurons_LN=rng.random(zeros.neurons_LN.shape),
    )


def test_the_least_leave_and_no_more_than_need_be() -> None:
    scores = random_scores(SHAPE, 0)
    kept = prune(WHOLE, scores, ALIKE, 0.8, config())
    protected = scores.queries_LKU == scores.queries_LKU.max(axis=2, keepdims=True)
    line = np.concatenate(
        [np.where(protected, np.inf, scores.queries_LKU).ravel(), scores.values_LKD.ravel(), scores.neurons_LN.ravel()]
    )
    expected = line > np.sort(line)[round(0.2 * NUM_UNITS) - 1]
    found = np.concatenate([kept.queries_LKU.ravel(), kept.values_LKD.ravel(), kept.neurons_LN.ravel()])
    assert kept.values_LKD.any(axis=2).all()  # or queries would have left with the last value
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("units", ["dims", "heads"])
@pytest.mark.parametrize("regularise", [True, False])
def test_what_has_left_stays_away_and_the_budget_holds(units: str, regularise: bool) -> None:
    kept = WHOLE
    for seed, share in enumerate((0.9, 0.7, 0.5, 0.4, 0.25)):
        before = kept
        settings = config(units=units, regularise_structure=regularise)
        kept = prune(kept, random_scores(SHAPE, seed), ALIKE, share, settings)
        assert ALIKE.total(kept) <= share * ALIKE.total(WHOLE)
        for name in ("queries_LKU", "values_LKD", "neurons_LN"):
            assert not (getattr(kept, name) & ~getattr(before, name)).any()
        with_values = kept.values_LKD.any(axis=2)
        np.testing.assert_array_equal(kept.queries_LKU.any(axis=2), with_values)
        assert with_values[0].any()  # the attention of layer 0 has to stay
        assert kept.sub_network.kv_groups_LK.tolist() == with_values.tolist()
        if units == "heads":
            assert set(kept.values_LKD.sum(axis=2).ravel().tolist()) <= {0, 4}


def test_what_is_pruned_already_is_left_alone() -> None:
    kept = prune(WHOLE, random_scores(SHAPE, 0), ALIKE, 0.5, config())
    assert prune(kept, random_scores(SHAPE, 1), ALIKE, 0.5, config()) is kept


def test_values_of_thin_heads_count_for_less() -> None:
    """Head 0 of layer 1 has one value left of four, head 1 all: tanh(0.25 / 0.3) of 1.2 is below tanh(1 / 0.3) of 1."""
    values_LKD = np.ones_like(WHOLE.values_LKD)
    values_LKD[1, 0, 1:] = False
    thin = replace(WHOLE, values_LKD=values_LKD)
    scores = replace(random_scores(SHAPE, 0), queries_LKU=np.full((2, 2, 4), 9.0), neurons_LN=np.full((2, 4), 9.0))
    worth_LKD = np.full(values_LKD.shape, 5.0)
    worth_LKD[1, 0], worth_LKD[1, 1] = 1.2, 1.0
    scores = replace(scores, values_LKD=worth_LKD)
    share = (ALIKE.total(thin) - 10) / ALIKE.total(WHOLE)
    plain = prune(thin, scores, ALIKE, share, config())
    assert plain.values_LKD[1].sum(axis=1).tolist() == [1, 3]
    regularised = prune(thin, scores, ALIKE, share, config(regularise_structure=True))
    assert regularised.values_LKD[1].sum(axis=1).tolist() == [0, 4]
    assert regularised.queries_LKU[1].sum(axis=1).tolist() == [0, 4]


def test_scores_count_per_parameter() -> None:
    dear = Parameters(queries_U=np.full(4, 10), value=10, neuron=100)
    even = UnitScores(**{name: np.ones_like(value) for name, value in vars_of(UnitScores.zeros(SHAPE)).items()})
    kept = prune(WHOLE, even, dear, 1 - 50 / dear.total(WHOLE), config())
    assert kept.neurons_LN.sum() == 7


def vars_of(scores: UnitScores) -> dict[str, Any]:
    return {name: getattr(scores, name) for name in ("queries_LKU", "values_LKD", "heads_LK", "neurons_LN")}


def test_pairs_leave_together_and_normalised_queries_with_their_head_alone() -> None:
    turned = replace(SHAPE, rotary_dims=4)
    parameters = Parameters(queries_U=np.full(2, 20), value=10, neuron=10)
    kept = prune(Units.all_of(turned), random_scores(turned, 0), parameters, 0.4, config())
    assert kept.sub_network.queries_LKD is not None  # which refuses half a pair
    whole = replace(turned, whole_queries=True)
    kept = prune(Units.all_of(whole), random_scores(whole, 0), parameters, 0.4, config())
    assert set(kept.queries_LKU.sum(axis=2).ravel().tolist()) <= {0, 2}
    assert kept.sub_network.queries_LKD is None


@pytest.mark.parametrize("units", ["dims", "heads"])
def test_too_low_a_density(units: str) -> None:
    with pytest.raises(GrainError, match=r"density must leave room for the units that have to stay, got 0.001"):
        prune(WHOLE, random_scores(SHAPE, 0), ALIKE, 0.001, config(density=0.001, units=units))


def test_scores_are_a_moving_average() -> None:
    zeros, new = UnitScores.zeros(SHAPE), random_scores(SHAPE, 0)
    twice = zeros.smoothed(new, 0.9).smoothed(new, 0.9)
    np.testing.assert_allclose(twice.values_LKD, new.values_LKD * (1 - 0.9**2))


@pytest.mark.parametrize("name", TINY_MODELS)
def test_parameters_are_those_that_the_extracted_model_lacks(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    shape = supernet.shape
    parameters = Parameters.of(shape, parameter_costs(supernet))
    whole = Units.all_of(shape)
    scores = replace(random_scores(shape, 2), neurons_LN=np.full((shape.num_layers, shape.num_neurons), 9.0))
    neurons = parameters.neuron * shape.num_layers * shape.num_neurons
    attention = parameters.total(whole) - neurons
    cut = prune(whole, scores, parameters, (neurons + 0.7 * attention) / parameters.total(whole), config())
    assert all(cut.sub_network.num_heads)  # or more would leave than its units: a norm, a bias
    lacking = num_parameters(supernet.extract(whole.sub_network)) - num_parameters(supernet.extract(cut.sub_network))
    assert lacking == parameters.total(whole) - parameters.total(cut)
