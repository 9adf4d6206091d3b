import math

import pytest

from evaluators.base import Measurement
from nas.report.quantities import Quantity, Reading, describe_quantity


def seconds(*values: float) -> Quantity:
    return describe_quantity("prefill_latency", values, unit="s", direction="minimize", budget=2e-3)


class TestReading:
    @pytest.mark.parametrize(
        ("reading", "text"),
        [
            (Reading(value=3.14159, low=3.11, high=3.17), "3.142 ± 0.030"),
            (Reading(value=0.7, low=0.5, high=0.9), "0.70 ± 0.20"),
            (Reading(value=12345.6, low=12000.0, high=12690.0), "12,346 ± 345"),
            (Reading(value=4.59), "4.590"),
            (Reading(value=40000.0), "40,000"),
            (Reading(value=0.0), "0"),
            (Reading(value=1.0, low=1.0, high=1.0), "1.000"),
            (Reading(value=44_444_267_749.0, low=21e9, high=67e9), "4.4e10 ± 2.3e10"),
            (Reading(value=2.5e6, low=2.4999e6, high=2.5001e6), "2.500e6 ± 0.000e6"),
            (Reading(value=3e6, low=-4e7, high=4.6e7), "3e6 ± 43e6"),
            (Reading(value=999_999.0), "999,999"),
            (Reading(value=-1e300), "-1.000e300"),
            (Reading(value=None), "–"),
        ],
    )
    def test_text_shows_two_digits_of_the_uncertainty(self, reading: Reading, text: str) -> None:
        assert reading.text == text


class TestQuantity:
    def test_seconds_below_one_are_read_in_milliseconds(self) -> None:
        quantity = seconds(5e-3, 1e-3)
        reading = quantity.read(Measurement(value=5e-3, unit="s", ci95=(4e-3, 7e-3), flags=("wide_interval",)))
        assert (quantity.label, quantity.budget) == ("prefill latency (ms)", 2.0)
        assert (reading.value, reading.low, reading.high, reading.flags) == (5.0, 4.0, 7.0, ("wide interval",))
        assert quantity.budget_text == "prefill latency ≤ 2 ms"

    @pytest.mark.parametrize(("value", "unit"), [(3.0, "s"), (0.5, "ms"), (2e-5, "µs"), (1e-9, "s")])
    def test_largest_number_chooses_the_unit(self, value: float, unit: str) -> None:
        assert seconds(value, value / 10, math.nan).unit == unit

    def test_budget_compares_in_the_shown_unit_as_in_the_stored_one(self) -> None:
        quantity = seconds(2e-3)
        assert quantity.read(Measurement(value=2e-3, unit="s")).value == quantity.budget

    def test_numbers_that_are_not_finite_become_none(self) -> None:
        reading = seconds(1.0).read(Measurement(value=math.nan, unit="s", ci95=(math.nan, math.inf)))
        assert (reading.value, reading.low, reading.high, reading.half_width) == (None, None, None, None)

    def test_scores_carry_no_unit_in_a_sentence_and_costs_do(self) -> None:
        score = describe_quantity("arc", [0.5], unit="accuracy", direction="maximize", budget=None)
        assert (score.with_unit("0.5"), seconds(1e-2).with_unit("10")) == ("0.5", "10 ms")
        assert not score.budget_text

    def test_perplexity_is_named_once(self) -> None:
        quantity = describe_quantity("perplexity", [12.0], unit="perplexity", direction="minimize", budget=None)
        assert quantity.label == "perplexity"

    @pytest.mark.parametrize(
        ("values", "is_logarithmic"), [([10.0, 200.0], False), ([10.0, 4e4], True), ([0.0, 4e4], False), ([], False)]
    )
    def test_orders_of_magnitude_ask_for_a_logarithmic_axis(self, values: list[float], is_logarithmic: bool) -> None:
        quantity = describe_quantity("perplexity", values, unit="perplexity", direction="minimize", budget=None)
        assert quantity.logarithmic is is_logarithmic
