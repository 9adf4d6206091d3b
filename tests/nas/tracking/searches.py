"""A search made by hand: what a tracker may be told, with a failure, a pruner's proposal, and an outsider."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.base import Measurement
from nas.config import parse_config
from nas.front import Goal, front_record
from nas.new_run import shape_to_json
from nas.objectives import Constraint
from nas.results import Results
from nas.run_directory import RunDirectory
from nas.store.trial_store import TrialStore
from nas.tracking.base import TrackedSearch
from nas.trial import Trial
from search_spaces import make_space
from search_spaces.base import SearchSpace, UnitRanking, largest, sample, smallest
from tests.nas.trials import ALIASES, GOAL, SHAPE, failed, trial

CONFIG = """\
name: by_hand
model: bundled
objectives: [{lm_eval: {tasks: [minimal_pairs]}}, {latency: {workload: decode}}]
also_measure: [parameters]
budget: {latency: {max: 40ms}}
space: {type: joint, neurons_multiple_of: 4}
trials: 8
"""
ID = "0123456789abcdef0123456789abcdef"
BUDGET = Constraint(name="decode_latency", unit="s", bound="max", limit=0.04)
BUDGETED = Goal(objectives=GOAL.objectives, constraints=(BUDGET,))


def space() -> SearchSpace:
    return make_space("joint", SHAPE, UnitRanking.as_numbered(SHAPE), neurons_multiple_of=4)


def environment(search_id: str = ID) -> dict[str, Any]:
    return {
        "search_id": search_id,
        "supernet": shape_to_json(SHAPE),
        "seed": 0,
        "nas": {"version": "0.1.0", "commit": None},
        "python": "3.11.7",
        "packages": {"torch": "2.13.0"},
        "device": {"type": "cpu", "name": "A CPU"},
    }


def tracked(search_id: str = ID) -> TrackedSearch:
    return TrackedSearch.of(parse_config(CONFIG), environment(search_id))


def eight_trials() -> list[Trial]:
    """Supernet and smallest; a pruner's; two of a strategy; a failure; one from outside; one above the budget."""
    rng, found = np.random.default_rng(0), space()
    candidates = {largest(found): None, smallest(found): None}  # ordered, and none twice
    while len(candidates) < 8:
        candidates[sample(found, rng)] = None
    values = [(0.9, 50.0), (0.5, 10.0), (0.8, 30.0), (0.7, 20.0), (0.6, 25.0), (0.0, 0.0), (0.75, 22.0), (0.95, 45.0)]
    sources = ["supernet", "smallest", "fisher", "nsga2", "nsga2", "nsga2", "kcm", "nsga2"]
    made = []
    for number, (candidate, (accuracy, ms), source) in enumerate(zip(candidates, values, sources, strict=True)):
        one = failed(number) if number == 5 else trial(number, accuracy, ms, parameters=1e6 - number)
        kept = found.sub_network(candidate)
        is_outsider = source == "kcm"
        made.append(
            dataclasses.replace(
                one, candidate=None if is_outsider else candidate, sub_network=kept, source=source, duration_s=0.5
            )
        )
    return made


def confirmed(trials: Sequence[Trial]) -> list[Trial]:
    """As the end of a search leaves them: trial 3 is measured again, and is slower than trial 6."""
    slower = Measurement(value=0.023, unit="s", n=80)
    anew = {3: dataclasses.replace(trials[3], measurements={**trials[3].measurements, "decode_latency": slower})}
    return [anew.get(one.number, one) for one in trials]


def record(trials: Sequence[Trial], goal: Goal) -> dict[str, Any]:
    search = {"id": ID, "name": "by_hand", "model": "bundled", "seed": 0, "num_trials": len(trials)}
    return front_record(trials, goal, search={**search, "measurement_of_evaluator": ALIASES})


def results(trials: Sequence[Trial], goal: Goal = BUDGETED) -> Results:
    return Results(shape=SHAPE, trials=tuple(trials), goal=goal, record=record(trials, goal))


def write_run(folder: Path, trials: Sequence[Trial], goal: Goal = BUDGETED) -> Path:
    """The run's folder, with a report."""
    config = parse_config(CONFIG)
    directory = RunDirectory.create(folder, config_yaml=config.to_yaml(), environment=environment())
    with TrialStore(directory.trials_path) as store:
        for one in trials:
            store.add(one)
    directory.write_front(record(trials, goal))
    directory.report_path.write_text("<html></html>")
    return folder
