"""Levelling: truth by construction, a machine whose speed is known at every moment."""

import pytest

from evaluators.base import Measurement
from nas.levels import MIN_READINGS, levelled
from nas.trial import Trial, TrialState
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(num_layers=1, num_heads=2, num_kv_groups=2, num_neurons=4, head_dim=2, hidden_size=4)


def trial(number: int, measurements: dict[str, Measurement]) -> Trial:
    return Trial(
        number=number,
        candidate=None,
        sub_network=SubNetwork.full(SHAPE),
        source="random",
        state=TrialState.COMPLETE,
        measurements=measurements,
    )


def search(speeds: list[float], flags: tuple[str, ...] = ()) -> list[Trial]:
    """The supernet takes 2 s at speed 1 and was first read at speed 0.5; each candidate takes half of it."""
    trials = [trial(0, {"latency": Measurement(value=4.0, unit="s"), "size": Measurement(value=9, unit="parameters")})]
    for number, speed in enumerate(speeds, start=1):
        measurements = {
            "latency": Measurement(value=2.0, unit="s", ci95=(1.9, 2.1), n=7),
            "latency_ratio": Measurement(
                value=0.5, unit="ratio", ci95=(0.4, 0.6), p90=0.7, n=7, flags=("wide_interval",)
            ),
            "latency_supernet": Measurement(value=2.0 / speed, unit="s", n=5, flags=flags),
            "size": Measurement(value=4, unit="parameters"),
        }
        trials.append(trial(number, measurements))
    return trials


def test_the_supernet_takes_the_median_of_all_readings() -> None:
    supernet = levelled(search([0.8, 1.0, 1.0, 1.0, 1.0, 1.25]))[0].measurements
    assert supernet["latency"] == Measurement(value=2.0, unit="s", ci95=(1.6, 2.5), p90=2.0, n=30)
    assert supernet["size"].value == 9


def test_trials_are_their_ratio_times_that() -> None:
    measured = levelled(search([1.0] * 8))[3].measurements
    assert measured["latency"] == Measurement(
        value=1.0, unit="s", ci95=(0.8, 1.2), p90=1.4, n=7, flags=("wide_interval",)
    )
    assert measured["size"].value == 4


def test_levelling_twice_is_levelling_once() -> None:
    once = levelled(search([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]))
    assert levelled(once) == once


def test_too_few_readings_change_nothing() -> None:
    trials = search([1.0] * (MIN_READINGS - 1))
    assert levelled(trials) == trials


@pytest.mark.parametrize(("flags", "expected"), [(("contended",), ("contended",)), (("wide_interval",), ())])
def test_a_machine_that_was_busy_throughout_is_flagged(flags: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert levelled(search([1.0] * 6, flags))[0].measurements["latency"].flags == expected
