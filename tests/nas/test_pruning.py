"""One pruning, end to end on the bundled model, and what it refuses."""

import itertools
from pathlib import Path

import pytest

from evaluators.base import Direction, EvaluationError, Measurement, Subject
from evaluators.flops import Flops, count_flops
from evaluators.parameters import Parameters
from nas.amount import parse_amount
from nas.config import SearchConfig, parse_config
from nas.objectives import BudgetError, InfeasibleBudgetError
from nas.preparation import PreparationError
from nas.pruners import PRUNERS, Evidence, UnknownPrunerError
from nas.pruning import Pruned, Pruning, prepare_pruning, prune
from nas.supernet.supernet import Supernet
from tests.evaluators.encoder_tasks import tiny_encoders
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

CONFIG = parse_config("{model: tiny, objectives: [{flops: {context_tokens: 16}}, parameters], trials: 2}")


class Clock:
    """A latency that follows a formula, 1 µs a head and 1 ns a neuron and a fixed second; a little off each time."""

    name = "decode_latency"
    unit = "s"
    direction: Direction = "minimize"
    varies = True

    def __init__(self, noise: float = 0.0) -> None:
        self._noise = itertools.cycle([noise, -noise])

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        parameters = sum(one.numel() for one in subject.model.parameters())
        value = 1e-3 + parameters * 1e-6 * (1 + next(self._noise))
        return {self.name: Measurement(value=value, unit="s")}


def pruning(clock: Clock | None = None) -> Pruning:
    supernet = Supernet(tiny_model("llama"))
    return Pruning(
        supernet=supernet,
        evidence=Evidence(supernet, batches_of(token_ids(4), token_ids(4, seed=3))),
        objectives=(Flops(context_tokens=16), Parameters()),
        also=() if clock is None else (clock,),  # type: ignore[arg-type]
        aliases={} if clock is None else {"latency": "decode_latency"},
    )


def pruned(pruner: str, budget: str, clock: Clock | None = None, config: SearchConfig = CONFIG) -> Pruned:
    name, _, value = budget.partition("=")
    return prune(config, pruning(clock), pruner, limit=name, amount=parse_amount(value))


@pytest.mark.parametrize("budget", ["flops=0.7x", "flops=600k", "parameters=0.8x"])
def test_the_budget_holds_as_measured(budget: str) -> None:
    result = pruned("fisher", budget)
    supernet, trial = result.trials
    [constraint] = result.goal.constraints
    assert (supernet.source, trial.source) == ("supernet", "fisher")
    assert supernet.sub_network.is_full
    measured = trial.measurements[constraint.name].value
    assert 0.9 * constraint.limit < measured <= constraint.limit
    assert trial.measurements["flops"].value < supernet.measurements["flops"].value


def test_flops_are_those_of_the_configs_own_context() -> None:
    trial = pruned("magnitude", "flops=0.5x").trials[1]
    extracted = pruning().supernet.extract(trial.sub_network)
    assert trial.measurements["flops"].value == count_flops(extracted, num_tokens=16)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_latency_budget_holds_as_measured(pruner: str, noise: float) -> None:
    """KCM keeps all heads, so it needs a generous budget."""
    result = pruned(pruner, "latency=0.9x", Clock(noise))
    trial = result.trials[1]
    [constraint] = result.goal.constraints
    assert trial.measurements["decode_latency"].value <= constraint.limit
    assert not trial.sub_network.is_full


def test_a_recovery_takes_part() -> None:
    config = parse_config("{model: tiny, objectives: [flops, parameters], trials: 2, recovery: {type: refit}}")
    assert pruned("wanda", "flops=0.7x", config=config).trials[1].measurements["flops"].value > 0


def test_budgets_that_cannot_be() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"must leave room for the least that is kept: .* raise the budget"):
        pruned("kcm", "flops=0.1x")
    with pytest.raises(InfeasibleBudgetError, match="This pruner at its smallest needs"):
        pruned("magnitude", "latency=0.001x", Clock())
    with pytest.raises(BudgetError, match="must mean one measurement, got 'latency' and none fits"):
        pruned("fisher", "latency=0.5x")
    with pytest.raises(UnknownPrunerError, match="got 'fish'"):
        pruned("fish", "flops=0.5x")


def test_what_a_pruner_of_ranks_cannot_do() -> None:
    with pytest.raises(BudgetError, match=r"pruner of ranks must be on flops or parameters, got 'decode_latency' for"):
        pruned("fisher_ranks", "latency=0.5x", Clock())
    config = parse_config("{model: tiny, objectives: [flops, parameters], trials: 2, recovery: {type: refit}}")
    with pytest.raises(PreparationError, match=r"refit recovers what removed units did, and fisher_ranks removes none"):
        pruned("fisher_ranks", "flops=0.7x", config=config)


@pytest.mark.parametrize("pruner", ["grain", "flop"])
def test_what_a_pruner_that_trains_cannot_do(pruner: str) -> None:
    with pytest.raises(BudgetError, match=r"must be on parameters, a share of which .*, got 'flops' for"):
        pruned(pruner, "flops=0.5x")
    config = parse_config("{model: tiny, objectives: [flops, parameters], trials: 2, recovery: {type: mask_tuning}}")
    with pytest.raises(
        PreparationError, match=rf"mask_tuning recovers what removed units did, and {pruner} has trained"
    ):
        pruned(pruner, "parameters=0.7x", config=config)


@pytest.mark.parametrize("budget", ["flops=0.8x", "parameters=0.8x"])
def test_ranks_are_a_budget_away_too(budget: str) -> None:
    result = pruned("fisher_ranks", budget)
    [constraint] = result.goal.constraints
    trial = result.trials[1]
    assert 0.9 * constraint.limit < trial.measurements[constraint.name].value <= constraint.limit
    assert trial.sub_network.ranks_LM is not None


def test_a_budget_that_no_pruner_spends() -> None:
    clock = Clock()
    clock.name, clock.unit = "peak_memory", "bytes"
    with pytest.raises(BudgetError, match="must mean one measurement"):
        pruned("fisher", "memory_of_cache=0.5x", clock)


def test_what_pruners_spend_is_always_measured(tmp_path: Path) -> None:
    prepared = prepare_pruning(parse_config("{model: bundled, objectives: [perplexity, parameters], trials: 2}"))
    assert [evaluator.name for evaluator in prepared.evaluators] == ["perplexity", "parameters", "flops"]
    assert prepared.aliases["perplexity"] == "perplexity"


def test_flops_are_counted_on_no_more_tokens_than_a_model_reads(tmp_path: Path) -> None:
    tiny_encoders.bert("classification").save_pretrained(tmp_path)  # 64 positions
    tiny_encoders.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "data.tsv").write_text("text\tlabel\nw1 w2\t0\nw3\t1\n")
    task = f"{{data: {tmp_path / 'data.tsv'}}}"
    config = f"{{model: {tmp_path}, objectives: [{{accuracy: {task}}}, parameters], trials: 2, " + (
        f"importance: {{examples: {{classification: {task}}}}}}}"
    )
    prepared = prepare_pruning(parse_config(config))
    [flops] = [one for one in prepared.evaluators if isinstance(one, Flops)]
    assert flops.context_tokens == 64


@pytest.mark.parametrize("budget", ["flops=1x", "parameters=5x", "latency=1.2x"])
def test_a_budget_that_the_supernet_meets(budget: str) -> None:
    with pytest.raises(BudgetError, match=r"must leave something to prune, got .* where the supernet has .*; lower it"):
        pruned("fisher", budget, Clock())


def test_a_budget_on_something_else_is_refused_before_anything_is_measured() -> None:
    clock = Clock()
    clock.name, clock.unit = "peak_memory", "bytes"
    clock.evaluate = lambda subject: pytest.fail("measured")  # type: ignore[method-assign]
    with pytest.raises(BudgetError, match="must be on flops, parameters or a latency, got 'peak_memory'"):
        pruned("fisher", "peak_memory=0.5x", clock)


def test_a_pruned_model_that_fails() -> None:
    broken = Clock()
    plain = broken.evaluate

    def evaluate(subject: Subject) -> dict[str, Measurement]:
        if subject.reference is not None:
            raise EvaluationError("It does not run.")
        return plain(subject)

    broken.evaluate = evaluate  # type: ignore[method-assign]
    with pytest.raises(PreparationError, match=r"that of flap is not: It does not run\. Take another budget or pruner"):
        pruned("flap", "flops=0.7x", broken)


def test_a_supernet_that_fails() -> None:
    broken = Clock()
    broken.evaluate = lambda subject: {"decode_latency": Measurement(value=float("nan"), unit="s")}  # type: ignore[method-assign]
    with pytest.raises(PreparationError, match="begins with the supernet itself, and that failed"):
        pruned("fisher", "flops=0.5x", broken)
