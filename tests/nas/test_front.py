import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.base import Measurement
from nas.front import Goal, compare_with_uniform, front_of, front_record, hypervolume_by_trial, reference_of
from nas.objectives import Constraint, Objective
from nas.trial import Trial
from tests.nas.trials import ACCURACY, GOAL, LATENCY, failed, trial

BUDGET = Constraint(name="decode_latency", unit="s", bound="max", limit=0.004)
LIMITED = Goal(objectives=GOAL.objectives, constraints=(BUDGET,))
SEARCH = {"id": "1", "name": "by hand", "model": "bundled", "seed": 0, "num_trials": 4}


def numbers(trials: list[Trial]) -> list[int]:
    return [one.number for one in trials]


def measuring(one: Trial, **values: float) -> Trial:
    """The trial with other values."""
    changed = {name: dataclasses.replace(one.measurements[name], value=value) for name, value in values.items()}
    return dataclasses.replace(one, measurements={**one.measurements, **changed})


def cells_volume(points: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Brute force: the cells of the grid through all points that some point dominates."""
    inside = [point for point in points if all(a < b for a, b in zip(point, reference, strict=True))]
    edges = [sorted({*axis, worst}) for *axis, worst in zip(*inside, reference, strict=True)]
    volume = 0.0
    for cell in itertools.product(*(list(itertools.pairwise(edge)) for edge in edges)):
        if any(all(x <= low for x, (low, _) in zip(point, cell, strict=True)) for point in inside):
            volume += math.prod(high - low for low, high in cell)
    return volume


def test_front_is_ordered_by_the_first_objective_best_first() -> None:
    trials = [trial(0, 0.8, 5), trial(1, 0.5, 1), trial(2, 0.7, 3), trial(3, 0.6, 4), trial(4, 0.6, 2)]
    assert numbers(front_of(trials, GOAL)) == [0, 2, 4, 1]


def test_equal_trials_are_all_members_in_the_order_they_came() -> None:
    trials = [trial(0, 0.8, 5), trial(3, 0.8, 5), trial(1, 0.8, 5), trial(2, 0.8, 6)]
    assert numbers(front_of(trials, GOAL)) == [0, 1, 3]


def test_failed_not_finite_unmeasured_and_partial_trials_are_no_members() -> None:
    good = trial(0, 0.5, 5)
    best = trial(1, 0.9, 1)
    spoilt = [
        failed(1),
        dataclasses.replace(failed(1), measurements=best.measurements),
        measuring(best, minimal_pairs=math.nan),
        measuring(best, decode_latency=-math.inf),
        dataclasses.replace(best, measurements={"minimal_pairs": best.measurements["minimal_pairs"]}),
        dataclasses.replace(best, fidelity=0.5),
    ]
    for one in spoilt:
        assert numbers(front_of([good, one], GOAL)) == [0]
        assert front_of([one], GOAL) == []
    assert numbers(front_of([good, best], GOAL)) == [1]


def test_budget_keeps_trials_off_the_front_and_the_limit_itself_is_within() -> None:
    trials = [trial(0, 0.8, 5), trial(1, 0.7, 4), trial(2, 0.6, 3)]
    assert numbers(front_of(trials, LIMITED)) == [1, 2]


def test_trial_without_the_budgeted_measurement_is_no_member() -> None:
    memory = Constraint(name="memory", unit="bytes", bound="max", limit=9)
    goal = Goal(objectives=GOAL.objectives, constraints=(memory,))
    assert front_of([trial(0, 0.8, 5)], goal) == []


def test_front_of_nothing() -> None:
    assert front_of([], GOAL) == []


def test_reference_is_a_tenth_of_the_range_behind_supernet_and_smallest() -> None:
    trials = [trial(0, 0.8, 5, "supernet"), trial(1, 0.5, 1, "smallest"), trial(2, 0.1, 99)]
    np.testing.assert_allclose(reference_of(trials, GOAL), [-0.5 + 0.03, 0.005 + 0.0004])


def test_reference_without_a_smallest_that_ran() -> None:
    trials = [trial(0, 0.8, 5, "supernet"), dataclasses.replace(failed(1), source="smallest")]
    np.testing.assert_allclose(reference_of(trials, GOAL), [-0.8 + 0.08, 0.005 + 0.0005])


grid = st.integers(0, 8)


@given(st.lists(st.tuples(grid, grid), max_size=12))
def test_hypervolume_by_trial_is_that_of_brute_force(points: list[tuple[int, int]]) -> None:
    anchors = [trial(0, 8 / 10, 8, "supernet"), trial(1, 0.0, 0, "smallest")]
    trials = anchors + [trial(2 + i, a / 10, latency) for i, (a, latency) in enumerate(points)]
    reference = (0.08, 0.0088)
    expected = [cells_volume([GOAL.values(one) for one in trials[: end + 1]], reference) for end in range(len(trials))]
    assert hypervolume_by_trial(trials, GOAL) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(grid, grid, grid), max_size=6))
def test_hypervolume_of_three_objectives(points: list[tuple[int, int, int]]) -> None:
    goal = Goal(objectives=(ACCURACY, LATENCY, Objective(name="parameters", unit="parameters", direction="minimize")))
    anchors = [trial(0, 0.8, 8, "supernet", parameters=8), trial(1, 0.0, 0, "smallest", parameters=0)]
    trials = anchors + [trial(2 + i, a / 10, b, parameters=c) for i, (a, b, c) in enumerate(points)]
    expected = cells_volume([goal.values(one) for one in trials], (0.08, 0.0088, 8.8))
    assert hypervolume_by_trial(trials, goal)[-1] == pytest.approx(expected, abs=1e-12)


def test_hypervolume_counts_no_trial_that_may_be_no_member() -> None:
    trials = [trial(0, 0.8, 5, "supernet"), trial(1, 0.5, 1, "smallest"), trial(2, 0.8, 1)]
    trials[2] = dataclasses.replace(trials[2], fidelity=0.1)
    over, within, partial = hypervolume_by_trial(trials, LIMITED)
    assert (over, partial) == (0.0, within)
    assert within == pytest.approx(0.03 * 0.0044)


def test_record_is_what_the_schema_says() -> None:
    trials = [trial(0, 0.8, 5, "supernet"), trial(1, 0.5, 1, "smallest"), trial(2, 0.6, 3), failed(3), trial(4, 0.7, 2)]
    record = json.loads(json.dumps(front_record(trials, LIMITED, search=SEARCH), allow_nan=False))
    assert list(record) == [
        "schema_version",
        "search",
        "objectives",
        "constraints",
        "reference_point",
        "hypervolume",
        "supernet",
        "trials",
    ]
    assert record["schema_version"] == 1
    assert record["search"] == SEARCH
    assert record["objectives"] == [
        {"name": "minimal_pairs", "unit": "accuracy", "direction": "maximize"},
        {"name": "decode_latency", "unit": "s", "direction": "minimize"},
    ]
    assert record["constraints"] == [{"name": "decode_latency", "max": 0.004, "unit": "s"}]
    assert record["reference_point"] == pytest.approx({"minimal_pairs": 0.47, "decode_latency": 0.0054})
    assert record["hypervolume"] == pytest.approx(0.03 * 0.0044 + 0.2 * 0.0034)
    assert record["supernet"] == {"measurements": trials[0].to_json()["measurements"]}
    assert numbers([Trial.from_json(one, trials[0].sub_network.shape) for one in record["trials"]]) == [4, 1]
    member = record["trials"][0]
    assert {"number", "sub_network", "source", "fidelity", "measurements"} <= set(member)
    assert member["measurements"]["decode_latency"] == {"value": 0.002, "unit": "s", "ci95": None, "n": 40}
    assert member["measurements"]["minimal_pairs"]["ci95"] == pytest.approx([0.69, 0.71])


def test_record_of_a_search_without_members() -> None:
    record = front_record([trial(0, 0.8, 5, "supernet")], LIMITED, search=SEARCH)
    assert record["trials"] == []
    assert record["hypervolume"] == 0.0


def test_no_uniform_width_to_compare_with() -> None:
    trials = [trial(0, 0.8, 5, "supernet"), dataclasses.replace(failed(1), source="uniform")]
    assert compare_with_uniform(trials, GOAL).startswith("No uniform-width pruning was tried")


def test_no_gain_over_uniform_width() -> None:
    trials = [
        trial(0, 0.8, 5, "supernet"),
        trial(1, 0.5, 1, "smallest"),
        trial(2, 0.7, 3, "uniform"),
        trial(3, 0.6, 2, "uniform"),
        trial(4, 0.7, 2.5),  # as good and faster: better in one objective only
        trial(5, 0.1, 9),
    ]
    assert compare_with_uniform(trials, GOAL) == (
        "No gain over uniform-width pruning: none of the 2 other front members is better than any of the 2 "
        "uniform-width models in every objective."
    )


def test_gain_over_uniform_width_names_the_plainest_example() -> None:
    trials = [
        trial(0, 0.8, 5, "supernet"),
        trial(1, 0.5, 1, "smallest"),
        trial(2, 0.70, 3, "uniform"),
        trial(3, 0.60, 2, "uniform"),
        trial(4, 0.55, 1.2, "uniform"),
        trial(5, 0.75, 1.5),
    ]
    assert compare_with_uniform(trials, GOAL) == (
        "Better than uniform-width pruning in every objective at 2 of 3 widths; for example trial 5 against trial 3: "
        "minimal_pairs 0.75 against 0.6, decode_latency 1.5 ms against 2 ms."
    )


def test_supernet_is_no_gain() -> None:
    """That the whole model is better than a pruned one says nothing of a search."""
    trials = [trial(0, 0.8, 1, "supernet"), trial(1, 0.5, 2, "uniform")]
    assert compare_with_uniform(trials, GOAL).startswith("No gain over uniform-width pruning: none of the 0 other")


def test_values_of_a_trial_without_a_measurement_are_nan() -> None:
    one = dataclasses.replace(trial(0, 0.8, 5), measurements={"minimal_pairs": Measurement(value=0.8, unit="accuracy")})
    accuracy, latency = LIMITED.values(one)
    assert accuracy == -0.8
    assert math.isnan(latency)
    assert math.isnan(LIMITED.violations(one)[0])
