"""The study as Optuna sees it."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState as State

from nas.front import Goal
from nas.tracking.base import Ending, EndState, standings
from nas.tracking.errors import TrackingError
from nas.tracking.optuna import OptunaTracker
from nas.trial import Trial
from search_spaces.base import as_sizes
from tests.nas.tracking.searches import BUDGETED, confirmed, eight_trials, results, space, tracked
from tests.nas.trials import GOAL


def study_of(place: Path, trials: list[Trial], goal: Goal, *, ended: list[Trial] | None = None) -> optuna.Study:
    """Told of trials one by one, and then of those that they were confirmed to be."""
    storage = f"sqlite:///{place / 'optuna.db'}"
    tracker = OptunaTracker(storage=storage)
    tracker.begin(tracked())
    for standing in standings(trials, goal, first=0):
        tracker.add(standing)
    tracker.end(Ending(state=EndState.COMPLETE, results=results(ended or trials, goal)))
    return optuna.load_study(study_name="by_hand-01234567", storage=storage)


def numbers(trials: list[optuna.trial.FrozenTrial]) -> list[int]:
    return sorted(trial.number for trial in trials)


@pytest.mark.parametrize(("goal", "expected"), [(GOAL, [1, 2, 3, 6, 7]), (BUDGETED, [1, 2, 3, 6])])
def test_the_best_trials_are_the_front(tmp_path: Path, goal: Goal, expected: list[int]) -> None:
    study = study_of(tmp_path, eight_trials(), goal)
    assert numbers(study.best_trials) == expected
    assert sorted(trial.number for trial in results(eight_trials(), goal).front()) == expected


def test_the_best_trials_are_the_confirmed_front(tmp_path: Path) -> None:
    study = study_of(tmp_path, eight_trials(), BUDGETED, ended=confirmed(eight_trials()))
    assert numbers(study.best_trials) == [1, 2, 6]
    assert study.trials[3].values == [0.7, 0.023]
    assert len(study.trials) == 8


def test_values_directions_and_names_are_the_natural_ones(tmp_path: Path) -> None:
    study = study_of(tmp_path, eight_trials(), BUDGETED)
    assert [str(one.name) for one in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["minimal_pairs", "decode_latency"]
    assert study.trials[2].values == [0.8, 0.03]
    assert study.user_attrs["budgets"] == [{"name": "decode_latency", "max": 0.04, "unit": "s"}]
    assert study.user_attrs["units"]["decode_latency"] == "s"
    assert study.user_attrs["nas.device"] == "A CPU"


def test_states_and_feasibility(tmp_path: Path) -> None:
    trials = study_of(tmp_path, eight_trials(), BUDGETED).trials
    assert [trial.state for trial in trials] == [State.COMPLETE] * 5 + [State.FAIL] + [State.COMPLETE] * 2
    assert trials[5].user_attrs["reason"] == "The device ran out of memory."
    assert trials[0].system_attrs["constraints"] == pytest.approx([0.25])  # 50 ms against 40 ms
    assert [trial.user_attrs["feasible"] for trial in trials] == [False, True, True, True, True, False, True, False]
    assert (trials[2].datetime_complete - trials[2].datetime_start).total_seconds() == 0.5  # type: ignore[operator]


def test_parameters_are_the_sizes_that_the_candidate_chose(tmp_path: Path) -> None:
    trials = study_of(tmp_path, eight_trials(), BUDGETED).trials
    for ours, theirs in zip(eight_trials(), trials, strict=True):
        assert theirs.params == ({} if ours.candidate is None else as_sizes(space(), ours.candidate))
        kept = ours.sub_network
        assert theirs.user_attrs["num_attention_heads"] == list(kept.num_heads)
        assert theirs.user_attrs["intermediate_size"] == list(kept.num_neurons)
        assert (theirs.user_attrs["source"], theirs.user_attrs["sub_network"]) == (ours.source, kept.key)
    assert trials[0].distributions["layer_1.neurons"] == IntDistribution(0, 16, step=4)
    assert trials[0].distributions["layer_0.kv_groups"] == IntDistribution(1, 2)
    assert trials[6].distributions == {}


def test_intervals_are_kept(tmp_path: Path) -> None:
    attributes = study_of(tmp_path, eight_trials(), BUDGETED).trials[2].user_attrs
    assert attributes["minimal_pairs.ci95"] == pytest.approx([0.79, 0.81])
    assert "decode_latency.ci95" not in attributes  # it has none
    assert attributes["parameters"] == 1e6 - 2


def test_a_study_of_another_search_is_left_alone(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    first = OptunaTracker(storage=storage, study="shared")
    first.begin(tracked())
    first.add(next(standings(eight_trials(), BUDGETED, first=0)))
    first.end(Ending(state=EndState.STOPPED))
    with pytest.raises(TrackingError, match="A study must be of one search, and 'shared' is another one's"):
        OptunaTracker(storage=storage, study="shared").begin(tracked("f" * 32))


def test_optuna_says_as_much_as_before(tmp_path: Path) -> None:
    verbosity = optuna.logging.get_verbosity()
    study_of(tmp_path, eight_trials(), BUDGETED)
    assert optuna.logging.get_verbosity() == verbosity
