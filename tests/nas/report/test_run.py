from dataclasses import replace
from typing import Any

import pytest

from nas.report.run import ReportError, Run, gather
from nas.trial import Trial
from tests.nas.report.conftest import HYPERVOLUME


@pytest.fixture
def run(front: dict[str, Any], trials: list[Trial]) -> Run:
    return gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)


def test_each_trial_stands_to_the_front_as_it_was_made(run: Run) -> None:
    assert [point.state for point in run.trials] == ["supernet", "front", "front", "infeasible", "failed", "failed"]
    assert run.trials[4].reason == "The device ran out of memory."
    assert run.trials[5].reason == "Without a finite number: arc easy."


def test_trial_on_fewer_examples_is_partial(front: dict[str, Any], trials: list[Trial]) -> None:
    front["trials"] = front["trials"][:1]
    trials[1] = replace(trials[1], fidelity=0.25)
    trials[3] = replace(trials[3], measurements=trials[1].measurements)
    run = gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert [run.trials[number].state for number in (1, 3)] == ["partial", "feasible"]


def test_trial_without_the_budgeted_measurement_is_outside_the_budget(
    front: dict[str, Any], trials: list[Trial]
) -> None:
    front["constraints"].append({"name": "memory", "max": 1e6, "unit": "bytes"})
    run = gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert run.trials[3].state == "infeasible"


def test_axes_are_cost_across_and_quality_up(run: Run) -> None:
    assert (run.x.name, run.y.name) == ("decode_latency", "arc_easy")
    assert run.is_planar


def test_axes_fall_back_where_all_is_cost(front: dict[str, Any], trials: list[Trial]) -> None:
    front["objectives"][0] = {"name": "parameters", "unit": "parameters", "direction": "minimize"}
    front["supernet"]["measurements"].pop("arc_easy")
    run = gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert (run.x.name, run.y.name) == ("decode_latency", "parameters")


def test_best_is_the_member_with_the_best_quality(run: Run) -> None:
    assert run.best is not None
    assert run.best.number == 1
    assert run.ratio(run.best, run.x) == pytest.approx(0.5)


def test_best_of_an_empty_front_is_none(front: dict[str, Any], trials: list[Trial]) -> None:
    run = gather(front=front | {"trials": []}, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert run.best is None
    assert run.trials[1].state == "feasible"


def test_members_take_the_numbers_of_the_front(front: dict[str, Any], trials: list[Trial]) -> None:
    front["trials"][0]["measurements"]["decode_latency"]["value"] = 1.9e-3
    run = gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert run.front[0].value(run.x) == pytest.approx(1.9)
    assert run.front[0] == run.trials[2]


def test_kept_shares(run: Run) -> None:
    assert run.trials[2].kept == pytest.approx({"heads": 2 / 8, "neurons": 49 / 192, "layers": 0.5})
    assert run.supernet.kept == {"heads": 1.0, "neurons": 1.0, "layers": 1.0}


def test_time_hypervolume_and_reference_point(run: Run) -> None:
    assert run.elapsed_s == (2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
    assert run.hypervolume == (0.0, 1.5e-4, 2.5e-4, 2.5e-4, 2.5e-4, None)
    assert run.reference_point == pytest.approx({"arc_easy": 0.5, "decode_latency": 3.0})


def test_sources_are_the_busiest_first_without_the_supernet(run: Run) -> None:
    assert run.sources == ("nsga2", "uniform")


def test_report_without_trials_is_refused(front: dict[str, Any]) -> None:
    with pytest.raises(ReportError, match="at least one trial, got none"):
        gather(front=front, trials=[], hypervolume_by_trial=[])


def test_wrong_number_of_hypervolumes_is_refused(front: dict[str, Any], trials: list[Trial]) -> None:
    with pytest.raises(ReportError, match="one hypervolume for each of its 6 trials, got 2"):
        gather(front=front, trials=trials, hypervolume_by_trial=[0.0, 1.0])


def test_front_of_another_run_is_refused(front: dict[str, Any], trials: list[Trial]) -> None:
    with pytest.raises(ReportError, match=r"got a front with \[1\] and no such trial"):
        gather(front=front, trials=[trials[0], trials[2]], hypervolume_by_trial=[0.0, 1.0])


def test_single_measurement_is_refused(front: dict[str, Any], trials: list[Trial]) -> None:
    front |= {"objectives": front["objectives"][:1], "constraints": [], "trials": []}
    front["supernet"] = {"measurements": {}}
    with pytest.raises(ReportError, match=r"got only \['arc_easy'\]; give the search a second objective"):
        gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)


def test_a_least_that_is_asked_for_is_a_budget_too(front: dict[str, Any], trials: list[Trial]) -> None:
    front["constraints"] = [{"name": "accuracy", "min": 0.8, "unit": "accuracy"}]
    run = gather(front=front, trials=trials, hypervolume_by_trial=[0.0] * len(trials))
    accuracy = next(quantity for quantity in run.quantities if quantity.name == "accuracy")
    assert accuracy.budget_text == "accuracy ≥ 0.8"
    assert [accuracy.allows(value) for value in (0.79, 0.8, None)] == [False, True, False]
