"""Measurements: their uncertainty and their JSON."""

import json
import math

import pytest

from evaluators.base import Measurement


@pytest.mark.parametrize(
    ("value", "ci95", "expected"),
    [(10.0, (9.0, 11.0), 0.1), (-10.0, (-11.0, -9.0), 0.1), (5.0, None, 0.0), (0.0, (-1.0, 1.0), math.inf)],
)
def test_relative_half_width(value: float, ci95: tuple[float, float] | None, expected: float) -> None:
    assert Measurement(value=value, unit="s", ci95=ci95).relative_half_width == pytest.approx(expected)


def test_nan_is_as_unsure_as_can_be() -> None:
    assert Measurement(value=math.nan, unit="s", ci95=(math.nan, math.nan)).relative_half_width == math.inf


def test_json_round_trip_keeps_everything() -> None:
    full = Measurement(value=1.5, unit="s", ci95=(1.0, 2.0), n=7, p90=1.9, flags=("contended",))
    bare = Measurement(value=3.0, unit="parameters")
    for measurement in (full, bare):
        assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_nan_is_written_as_null() -> None:
    record = Measurement(value=math.nan, unit="s", ci95=(math.nan, 1.0)).to_json()
    assert (record["value"], record["ci95"]) == (None, [None, 1.0])
    assert math.isnan(Measurement.from_json(record).value)
