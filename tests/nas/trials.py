"""Trials made by hand: an accuracy to maximise, a latency to minimise, and a number of parameters besides."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluators.base import Measurement
from nas.front import Goal, front_record
from nas.new_run import shape_to_json
from nas.objectives import Constraint, Objective
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.store.trial_store import TrialStore
from nas.trial import Trial, TrialState
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=16, head_dim=4, hidden_size=16)
ACCURACY = Objective(name="minimal_pairs", unit="accuracy", direction="maximize")
LATENCY = Objective(name="decode_latency", unit="s", direction="minimize")
GOAL = Goal(objectives=(ACCURACY, LATENCY))
ALIASES = {"lm_eval": "minimal_pairs", "latency": "decode_latency", "parameters": "parameters"}
CONFIG = "model: bundled\n"


def sub_network(number: int) -> SubNetwork:
    """Another one for each number: the supernet for 0, the binary digits of the others as the first layer's neurons."""
    neurons_LN = np.ones((SHAPE.num_layers, SHAPE.num_neurons), dtype=np.bool_)
    if number:
        neurons_LN[0] = [bool(number >> bit & 1) for bit in range(SHAPE.num_neurons)]
    return SubNetwork(shape=SHAPE, heads_LH=np.ones((SHAPE.num_layers, SHAPE.num_heads), bool), neurons_LN=neurons_LN)


def trial(number: int, accuracy: float, latency_ms: float, source: str = "nsga2", *, parameters: float = 1e6) -> Trial:
    return Trial(
        number=number,
        candidate=(number,),
        sub_network=sub_network(number),
        source=source,
        state=TrialState.COMPLETE,
        measurements={
            "minimal_pairs": Measurement(value=accuracy, unit="accuracy", ci95=(accuracy - 0.01, accuracy + 0.01), n=9),
            "decode_latency": Measurement(value=latency_ms / 1000, unit="s", n=40),
            "parameters": Measurement(value=parameters, unit="parameters"),
        },
        duration_s=1.0,
    )


def failed(number: int, reason: str = "The device ran out of memory.") -> Trial:
    return dataclasses.replace(
        trial(number, 0.0, 0.0), state=TrialState.FAILED, measurements={}, reason=reason, duration_s=0.5
    )


def write_run(folder: Path, trials: Sequence[Trial], constraints: tuple[Constraint, ...] = ()) -> Run:
    """A run directory with these trials, as a search leaves it."""
    environment = {"supernet": shape_to_json(SHAPE), "device": {"type": "cpu", "name": "A CPU"}, "search_id": "1"}
    directory = RunDirectory.create(folder, config_yaml=CONFIG, environment=environment)
    with TrialStore(directory.trials_path) as store:
        for one in trials:
            store.add(one)
    search = {
        "id": "1",
        "name": "by hand",
        "model": "bundled",
        "seed": 0,
        "num_trials": len(trials),
        "measurement_of_evaluator": ALIASES,
    }
    goal = dataclasses.replace(GOAL, constraints=constraints)
    directory.write_front(front_record(trials, goal, search=search))
    return Run.open(folder)
