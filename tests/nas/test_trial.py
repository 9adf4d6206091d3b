"""A trial without its sub-network says of itself what the whole one says."""

import dataclasses
import json
import math

import pytest

from nas.front import front_of, front_record, front_record_of, hypervolume_by_trial
from nas.trial import Outcome, RecordedMeasurements, Trial
from tests.nas.trials import GOAL, failed, trial

SEARCH = {"id": "1", "name": "by hand", "model": "bundled", "seed": 0, "num_trials": 4}


def outcome(whole: Trial) -> Outcome:
    record = json.loads(json.dumps(whole.to_json()))
    del record["sub_network"], record["candidate"]
    return Outcome.from_json(record)


TRIALS = [
    trial(0, 0.8, 5, "supernet"),
    trial(1, 0.5, 1, "smallest"),
    failed(2),
    trial(3, 0.7, 3),
    dataclasses.replace(trial(4, 0.9, 1), fidelity=0.5),
    trial(5, math.nan, 2),
    trial(6, 0.6, 4),
]


@pytest.mark.parametrize("whole", TRIALS, ids=lambda one: str(one.number))
def test_an_outcome_has_the_numbers_of_its_trial(whole: Trial) -> None:
    found = outcome(whole)
    for name in ("number", "source", "state", "fidelity"):
        assert getattr(found, name) == getattr(whole, name)
    assert {name: one.to_json() for name, one in found.measurements.items()} == whole.to_json()["measurements"]


def test_fronts_of_outcomes_are_those_of_trials() -> None:
    outcomes = [outcome(whole) for whole in TRIALS]
    assert (
        [one.number for one in front_of(outcomes, GOAL)] == [one.number for one in front_of(TRIALS, GOAL)] == [0, 3, 1]
    )
    assert hypervolume_by_trial(outcomes, GOAL) == hypervolume_by_trial(TRIALS, GOAL)
    described = {whole.number: whole.to_json() for whole in TRIALS}
    record = front_record_of(
        outcomes, GOAL, search=SEARCH, described=lambda members: [described[one.number] for one in members]
    )
    assert record == front_record(TRIALS, GOAL, search=SEARCH)


def test_measurements_are_read_when_they_are_asked_for() -> None:
    found = RecordedMeasurements({"latency": {"value": 0.005, "unit": "s", "n": 3}, "damaged": {}})
    assert found["latency"] is found["latency"]
    assert found["latency"].value == 0.005
    assert (list(found), len(found), found.get("memory")) == (["latency", "damaged"], 2, None)
    with pytest.raises(KeyError, match="value"):
        found["damaged"]
