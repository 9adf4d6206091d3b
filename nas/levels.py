"""The supernet's latency over a whole search, and every trial's latency on that scale.

A trial's latency is its ratio to the supernet times the supernet's own latency. At first that is one reading, a second
or two long, and a shared machine was seen to run 10 % faster or slower from one such reading to the next. But every
trial has timed the supernet in alternation, so that in the end there are as many readings as trials, spread over the
search: their median is what the supernet takes on this machine, and the trials are put on that scale.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace

from evaluators.base import RATIO_SUFFIX, SUPERNET_SUFFIX, Measurement
from evaluators.latency.protocol import MIN_BLOCKS, median_interval
from nas.trial import Trial

MIN_READINGS = MIN_BLOCKS
"""The least for which the range of the readings covers their median with 95 %."""


def levelled(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with latencies relative to the median of all readings of the supernet.

    Nothing changes for measurements of which there are fewer than ``MIN_READINGS`` readings. Levelling twice is
    levelling once: readings and ratios stay as they are.

    Args:
        trials: The first is the supernet's.
    """
    levels = {name: _level(_readings(trials, name + SUPERNET_SUFFIX)) for name in trials[0].measurements}
    known = {name: level for name, level in levels.items() if level is not None}
    return [_supernet(trials[0], known), *(_scaled(trial, known) for trial in trials[1:])]


def _readings(trials: Sequence[Trial], name: str) -> list[Measurement]:
    return [trial.measurements[name] for trial in trials if name in trial.measurements]


def _level(readings: Sequence[Measurement]) -> Measurement | None:
    """The median reading, with the 95 % interval of order statistics; flags of most readings are kept."""
    if len(readings) < MIN_READINGS:
        return None
    values = [reading.value for reading in readings]
    contended = sum("contended" in reading.flags for reading in readings) > len(readings) / 2
    return Measurement(
        value=statistics.median(values),
        unit=readings[0].unit,
        ci95=median_interval(values),
        p90=statistics.median(reading.p90 or reading.value for reading in readings),
        n=sum(reading.n for reading in readings),
        flags=("contended",) if contended else (),
    )


def _supernet(trial: Trial, levels: dict[str, Measurement]) -> Trial:
    return replace(trial, measurements={**trial.measurements, **levels})


def _scaled(trial: Trial, levels: dict[str, Measurement]) -> Trial:
    measurements = dict(trial.measurements)
    for name, level in levels.items():
        ratio = measurements.get(name + RATIO_SUFFIX)
        if ratio is not None:
            measurements[name] = ratio.scaled(level.value, unit=level.unit)
    return replace(trial, measurements=measurements)
