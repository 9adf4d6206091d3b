import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pruners.errors import PrunerInputError
from nas.pruners.latency_table import LatencyTable

FLAT = LatencyTable(
    fixed_s=1.0,
    attention_s=np.array([0.0, 2.0, 2.0, 2.0]),
    mlp_widths=np.array([0, 10, 20]),
    mlp_s=np.array([0.0, 3.0, 3.0]),
)
LINEAR = LatencyTable(
    fixed_s=0.0,
    attention_s=np.array([0.0, 1.0, 2.0, 3.0]),
    mlp_widths=np.array([0, 10, 20]),
    mlp_s=np.array([0.0, 5.0, 10.0]),
)
FLAT_THEN_LINEAR = LatencyTable(
    fixed_s=0.5,
    attention_s=np.array([0.0, 1.0, 1.0, 1.5]),
    mlp_widths=np.array([0, 5, 10, 20]),
    mlp_s=np.array([0.0, 2.0, 2.0, 4.0]),
)


def table(**changes: object) -> LatencyTable:
    return LatencyTable.from_json({**FLAT_THEN_LINEAR.to_json(), **changes})


@st.composite
def tables(draw: st.DrawFn) -> LatencyTable:
    times = st.floats(0.0, 10.0)
    num_widths = draw(st.integers(1, 5))
    widths = np.cumsum([0, *draw(st.lists(st.integers(1, 9), min_size=num_widths, max_size=num_widths))])
    return LatencyTable(
        fixed_s=draw(times),
        attention_s=np.array([0.0, *draw(st.lists(times, min_size=1, max_size=5))]),
        mlp_widths=widths,
        mlp_s=np.array([0.0, *draw(st.lists(times, min_size=num_widths, max_size=num_widths))]),
    )


def test_lines_between_measured_widths() -> None:
    np.testing.assert_allclose(FLAT_THEN_LINEAR.mlp_at([0, 5, 7, 10, 15, 20]), [0, 2, 2, 2, 3, 4])


def test_below_the_smallest_width_the_first_line_is_carried_on() -> None:
    np.testing.assert_allclose(FLAT.mlp_at([0, 1, 5, 10]), [0, 3, 3, 3])
    np.testing.assert_allclose(LINEAR.mlp_at([0, 1, 5, 10]), [0, 0.5, 2.5, 5])
    steep = table(mlp_widths=[0, 5, 10], mlp_s=[0.0, 1.0, 10.0])
    np.testing.assert_allclose(steep.mlp_at([1, 2]), [0.2, 0.4])
    two_widths = table(mlp_widths=[0, 10], mlp_s=[0.0, 1.0])
    assert two_widths.mlp_at(3) == pytest.approx(0.3)


def test_noise_makes_no_more_units_cheaper() -> None:
    noisy = table(attention_s=[0.0, 2.0, 1.0], mlp_s=[0.0, 2.0, 1.5, 4.0])
    np.testing.assert_allclose(noisy.attention_at([0, 1, 2]), [0, 2, 2])
    np.testing.assert_allclose(noisy.mlp_at([5, 10, 15]), [2, 2, 3])


@given(tables())
def test_never_falls_with_width_and_meets_what_was_measured(one: LatencyTable) -> None:
    mlp_s = one.mlp_at(np.arange(one.num_neurons + 1))
    assert (np.diff(mlp_s) >= -1e-12).all()
    np.testing.assert_allclose(mlp_s[one.mlp_widths], np.maximum.accumulate(one.mlp_s))


def test_a_sub_network_is_the_sum_of_its_sublayers() -> None:
    assert FLAT_THEN_LINEAR.of([3, 0, 1], [20, 15, 0]) == pytest.approx(0.5 + 1.5 + 1.0 + 4.0 + 3.0)
    assert FLAT_THEN_LINEAR.of([0, 0], [0, 0]) == 0.5


def test_threshold_of_the_flat_part() -> None:
    assert (FLAT.attention_flat_until(), FLAT.mlp_flat_until()) == (3, 20)
    assert (LINEAR.attention_flat_until(), LINEAR.mlp_flat_until()) == (1, 1)
    assert (FLAT_THEN_LINEAR.attention_flat_until(), FLAT_THEN_LINEAR.mlp_flat_until(tolerance=0.01)) == (2, 10)
    assert FLAT_THEN_LINEAR.mlp_flat_until(tolerance=0.5) == 15
    assert table(mlp_s=[0.0, 0.0, 0.0, 0.0]).mlp_flat_until() == 20


@given(tables())
def test_comes_back_from_json(one: LatencyTable) -> None:
    again = LatencyTable.from_json(json.loads(json.dumps(one.to_json())))
    assert again.to_json() == one.to_json()
    assert (again.num_kv_groups, again.num_neurons) == (one.num_kv_groups, one.num_neurons)


def test_arrays_are_private_copies() -> None:
    times_s = np.array([0.0, 1.0])
    one = LatencyTable(fixed_s=0.0, attention_s=times_s, mlp_widths=np.array([0, 1]), mlp_s=np.array([0.0, 1.0]))
    times_s[1] = 5.0
    assert one.attention_at(1) == 1.0
    with pytest.raises(ValueError, match="read-only"):
        one.mlp_s[1] = 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixed_s": float("nan")}, "must be finite and at least 0 s"),
        ({"mlp_s": [0.0, 1.0, -1.0, 2.0]}, "must be finite and at least 0 s, got -1 s"),
        ({"attention_s": [1.0, 2.0]}, "seconds of 0, 1, … groups"),
        ({"attention_s": [0.0]}, "one time for each number of groups"),
        ({"mlp_widths": [0, 5, 5, 20]}, "must ascend from 0 to all neurons"),
        ({"mlp_widths": [1, 5, 10, 20]}, "sort them and add 0"),
        ({"mlp_s": [0.0, 1.0]}, "one time for each of the 4 widths"),
        ({"mlp_s": [1.0, 1.0, 1.0, 1.0]}, "put 0.0 first"),
    ],
)
def test_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PrunerInputError, match=message):
        table(**changes)
