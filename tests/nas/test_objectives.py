import math
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.base import Direction, Measurement, Subject
from nas.amount import AmountError, parse_amount
from nas.config import LimitConfig, parse_config
from nas.objectives import (
    BudgetError,
    Constraint,
    Objective,
    constraint_for,
    constraints_of,
    measured_name,
    objectives_of,
    refuse_unknown_budgets,
)
from tests.nas.trials import ACCURACY, ALIASES, LATENCY

SUPERNET = {
    "minimal_pairs": Measurement(value=0.8, unit="accuracy"),
    "decode_latency": Measurement(value=0.005, unit="s"),
    "prefill_latency": Measurement(value=0.050, unit="s"),
    "parameters": Measurement(value=5e6, unit="parameters"),
}


@dataclass(frozen=True)
class Judge:
    """An evaluator that only says what it measures."""

    name: str
    unit: str
    direction: Direction
    varies: bool = False

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        raise NotImplementedError


def test_one_objective_an_evaluator() -> None:
    judges = [Judge("minimal_pairs", "accuracy", "maximize"), Judge("decode_latency", "s", "minimize")]
    assert objectives_of(judges) == (ACCURACY, LATENCY)


@given(st.floats(allow_nan=False), st.sampled_from([ACCURACY, LATENCY]))
def test_minimised_and_back(value: float, objective: Objective) -> None:
    measurements = {objective.name: Measurement(value=value, unit=objective.unit)}
    assert objective.natural(objective.minimised(measurements)) == value


def test_more_is_better_means_the_negative_is_minimised() -> None:
    assert ACCURACY.minimised(SUPERNET) == -0.8
    assert LATENCY.minimised(SUPERNET) == 0.005


def test_strategies_compare_perplexity_in_nats() -> None:
    objective = Objective(name="perplexity", unit="perplexity", direction="minimize")
    values = [math.exp(nats) for nats in (4.0, 5.0, 25.0)]
    told = [objective.for_strategy({"perplexity": Measurement(value=value, unit="perplexity")}) for value in values]
    assert told == pytest.approx([4.0, 5.0, 25.0])
    assert math.isnan(objective.for_strategy({}))


@pytest.mark.parametrize("objective", [ACCURACY, LATENCY])
def test_strategies_compare_other_objectives_as_they_are(objective: Objective) -> None:
    assert objective.for_strategy(SUPERNET) == objective.minimised(SUPERNET)


def test_what_was_not_measured_is_nan() -> None:
    assert math.isnan(ACCURACY.minimised({}))
    assert math.isnan(Constraint(name="memory", unit="bytes", bound="max", limit=1.0).violation(SUPERNET))


@pytest.mark.parametrize(
    ("bound", "limit", "violation"),
    [("max", 0.004, 0.25), ("max", 0.005, 0.0), ("max", 0.010, -0.5), ("min", 0.010, 0.5), ("min", 0.004, -0.25)],
)
def test_violation_is_a_share_of_the_budget(bound: Literal["max", "min"], limit: float, violation: float) -> None:
    constraint = Constraint(name="decode_latency", unit="s", bound=bound, limit=limit)
    assert constraint.violation(SUPERNET) == pytest.approx(violation)


@pytest.mark.parametrize("bound", ["max", "min"])
def test_constraint_as_json_and_back(bound: Literal["max", "min"]) -> None:
    constraint = Constraint(name="decode_latency", unit="s", bound=bound, limit=0.0041)
    assert constraint.to_json() == {"name": "decode_latency", bound: 0.0041, "unit": "s"}
    assert Constraint.from_json(constraint.to_json()) == constraint


def test_objective_as_json() -> None:
    assert ACCURACY.to_json() == {"name": "minimal_pairs", "unit": "accuracy", "direction": "maximize"}


@pytest.mark.parametrize(("asked", "name"), [("decode_latency", "decode_latency"), ("pairs", "minimal_pairs")])
def test_measurement_by_its_name_or_the_end_of_it(asked: str, name: str) -> None:
    assert measured_name(asked, list(SUPERNET)) == name


def test_name_that_several_measurements_end_in() -> None:
    with pytest.raises(BudgetError, match=r"got 'latency' and several fit \(decode_latency, prefill_latency\)"):
        measured_name("latency", list(SUPERNET))


def test_name_of_nothing_measured() -> None:
    with pytest.raises(BudgetError, match="got 'memory' and none fits; choose one of minimal_pairs, decode_latency"):
        measured_name("memory", list(SUPERNET))


def test_budgets_become_constraints_in_the_measurements_unit() -> None:
    budget = {
        "latency": LimitConfig(max="0.6x"),
        "parameters": LimitConfig(max="4M"),
        "lm_eval": LimitConfig(min="0.7"),
    }
    assert constraints_of(budget, SUPERNET, ALIASES) == (
        Constraint(name="decode_latency", unit="s", bound="max", limit=0.6 * 0.005),
        Constraint(name="parameters", unit="parameters", bound="max", limit=4e6),
        Constraint(name="minimal_pairs", unit="accuracy", bound="min", limit=0.7),
    )


def test_budget_in_a_unit_that_does_not_fit() -> None:
    with pytest.raises(AmountError, match="An amount in s must end in"):
        constraint_for("latency", "max", parse_amount("4M"), SUPERNET, ALIASES)


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0"), (math.nan, "nan")])
def test_share_of_nothing(value: float, shown: str) -> None:
    supernet = {"acc": Measurement(value=value, unit="accuracy")}
    with pytest.raises(BudgetError, match=rf"share of something, got 0\.9x of acc, which is {shown} .* in accuracy"):
        constraint_for("acc", "min", parse_amount("0.9x"), supernet, {})


PARTS = "model: bundled\ntrials: 2\nobjectives:\n- lm_eval: {tasks: [minimal_pairs]}\n- latency: {workload: decode}\n"
TWO_LATENCIES = PARTS + "- latency: {workload: prefill}\n"


@pytest.mark.parametrize("name", ["latency", "decode_latency", "lm_eval", "minimal_pairs", "pairs", "lm_eval/x/acc"])
def test_budgets_on_what_will_be_measured(name: str) -> None:
    refuse_unknown_budgets(parse_config(PARTS + f"budget: {{{name}: {{max: 0.6x}}}}\n"))


@pytest.mark.parametrize(
    ("config", "name", "says"),
    [
        (PARTS, "latncy", "got 'latncy' and none fits; choose one of minimal_pairs, decode_latency"),
        (PARTS, "prefill_latency", "got 'prefill_latency' and none fits"),
        (PARTS, "parameters", "got 'parameters' and none fits"),
        (PARTS, "decode_latency_ratio", "got 'decode_latency_ratio'; limit .*, as in decode_latency: {max: 0.6x}.$"),
        (PARTS, "decode_latency_supernet", "measured of the supernet as well, got 'decode_latency_supernet'"),
        (TWO_LATENCIES, "latency", r"got 'latency' and several fit \(decode_latency, prefill_latency\)"),
    ],
)
def test_budgets_on_what_will_not_be_measured(config: str, name: str, says: str) -> None:
    with pytest.raises(BudgetError, match=says):
        refuse_unknown_budgets(parse_config(config + f"budget: {{{name}: {{max: 0.6x}}}}\n"))


def test_budgets_beside_somebodys_own_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(PARTS + "budget: {joules: {max: 0.6x}}\n")
    monkeypatch.setattr("nas.objectives.measurements_of", lambda name, options: None)
    refuse_unknown_budgets(config)
