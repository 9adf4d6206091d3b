"""A run of six trials made by hand: two on the front, and one each of supernet, over budget, failed and NaN."""

import math
from typing import Any

import numpy as np
import pytest

from evaluators.base import Measurement
from nas.trial import Trial, TrialState
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=96, head_dim=8, hidden_size=32)
HYPERVOLUME = (0.0, 1.5e-4, 2.5e-4, 2.5e-4, 2.5e-4, math.nan)


def sub_network(*, heads: tuple[str, str], neurons: tuple[int, int]) -> SubNetwork:
    """Heads as strings of 0 and 1; of each layer's neurons, the first so many."""
    return SubNetwork(
        shape=SHAPE,
        heads_LH=np.array([[head == "1" for head in row] for row in heads]),
        neurons_LN=np.array([np.arange(SHAPE.num_neurons) < count for count in neurons]),
    )


def measured(*, accuracy: float, latency_s: float, parameters: int) -> dict[str, Measurement]:
    return {
        "arc_easy": Measurement(value=accuracy, unit="accuracy", ci95=(accuracy - 0.02, accuracy + 0.02), n=500),
        "decode_latency": Measurement(value=latency_s, unit="s", ci95=(latency_s - 1e-4, latency_s + 2e-4), n=40),
        "parameters": Measurement(value=parameters, unit="parameters"),
    }


@pytest.fixture
def trials() -> list[Trial]:
    half = sub_network(heads=("1100", "0011"), neurons=(48, 48))
    headless = sub_network(heads=("1010", "0000"), neurons=(49, 0))

    def trial(number: int, source: str, kept: SubNetwork, measurements: dict[str, Measurement]) -> Trial:
        return Trial(
            number=number,
            candidate=None,
            sub_network=kept,
            source=source,
            state=TrialState.COMPLETE if measurements else TrialState.FAILED,
            measurements=measurements,
            reason="" if measurements else "The device ran out of memory.",
            duration_s=2.0,
        )

    return [
        trial(0, "supernet", SubNetwork.full(SHAPE), measured(accuracy=0.80, latency_s=5.0e-3, parameters=40_000)),
        trial(1, "uniform", half, measured(accuracy=0.70, latency_s=2.5e-3, parameters=20_000)),
        trial(2, "nsga2", headless, measured(accuracy=0.60, latency_s=2.0e-3, parameters=10_000)),
        trial(3, "nsga2", half, measured(accuracy=0.75, latency_s=4.0e-3, parameters=20_000)),
        trial(4, "nsga2", headless, {}),
        trial(5, "nsga2", headless, measured(accuracy=math.nan, latency_s=2.2e-3, parameters=10_000)),
    ]


@pytest.fixture
def front(trials: list[Trial]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "search": {"id": "1", "name": "half", "model": "bundled", "seed": 7, "num_trials": 6},
        "objectives": [
            {"name": "arc_easy", "unit": "accuracy", "direction": "maximize"},
            {"name": "decode_latency", "unit": "s", "direction": "minimize"},
        ],
        "constraints": [{"name": "decode_latency", "max": 3.0e-3, "unit": "s"}],
        "reference_point": {"arc_easy": 0.5, "decode_latency": 3.0e-3},
        "hypervolume": 2.5e-4,
        "supernet": {"measurements": trials[0].to_json()["measurements"]},
        "trials": [trials[2].to_json(), trials[1].to_json()],
    }
