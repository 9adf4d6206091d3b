"""Seeds that are trained: a small pruner that prunes by magnitude and then distils, in searches and in `nas prune`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.base import Subject
from evaluators.parameters import Parameters
from nas.amount import parse_amount
from nas.config import ConfigError, parse_config
from nas.objectives import BudgetError
from nas.preparation import Prepared, ladder_trainings
from nas.pruners import BudgetTooSmallError, Evidence, UnitCosts, parameter_costs, pruner_named
from nas.pruning import Pruning, prune
from nas.recovery.lora_distillation import LoraDistillation
from nas.run import Run
from nas.seeds import propose, trained_seed
from nas.store.weights import WeightsFolder
from nas.supernet.supernet import Supernet
from nas.supernet.training import OnStep
from nas.trained_pruners import TRAINED_PRUNERS, TrainedSubNetwork, require_known
from nas.trainings import UNWATCHED, LostWeightsError, train_again
from search_spaces import make_space
from search_spaces.base import UnitRanking
from search_spaces.sub_network import SubNetwork
from tests.nas.recovery.problems import batches_of
from tests.nas.supernet.test_supernet import random_ranking
from tests.nas.supernet.tiny_models import tiny_model
from tests.nas.test_finalists import Distance, Recovering, Watching
from tests.nas.test_search import CONFIG

NAME = "magnitude_distilled"
STEPS = 4
TRAINED_CONFIG = CONFIG.replace("12", "6").replace("seeds: []", f"seeds: [{NAME}]")


def magnitude_distilled(evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep) -> TrainedSubNetwork:
    """Prunes by magnitude, then distils."""
    assert (evidence.supernet.ranking.neurons_LN == UnitRanking.as_numbered(evidence.shape).neurons_LN).all()
    sub_network = pruner_named("magnitude")(evidence, costs, budget)
    train = LoraDistillation(steps=STEPS, rank=2, learning_rate=0.01)
    weights = train(evidence.supernet, sub_network, evidence.batches, seed=evidence.seed, on_step=on_step)
    return TrainedSubNetwork(sub_network=sub_network, weights=weights)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINED_PRUNERS, NAME, magnitude_distilled)


class Training(Recovering):
    """A search with trained seeds, and without recovery; the units are ranked otherwise than numbered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config = parse_config(TRAINED_CONFIG)
        supernet = self.prepared.supernet
        evidence = Evidence(supernet, batches_of(num_batches=1), importance="magnitude")
        costs = parameter_costs(supernet)
        evidence.scores("magnitude")
        supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(2)))
        self.prepared = Prepared(
            supernet=supernet,
            space=make_space("joint", supernet.shape, supernet.ranking),
            seeds=self.prepared.seeds,
            objectives=(self.cost, self.quality),
            also=(),
            trainings=ladder_trainings(self.config, evidence, costs),
        )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Training, Watching]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRAINED_PRUNERS, NAME, magnitude_distilled)
        bench, watching = Training(tmp_path_factory.mktemp("trained") / "run"), Watching()
        return bench.run_watched(watching), bench, watching


def test_a_trained_seed_is_judged_with_its_own_weights_which_are_kept(
    undisturbed: tuple[Run, Training, Watching],
) -> None:
    run, bench, watching = undisturbed
    trained = [trial for trial in run.trials if trial.source == NAME]
    assert [trial.number for trial in trained] == [2, 3, 4, 5]
    assert watching.begun[0].startswith(f"Training {NAME} to 0.9")
    folder = WeightsFolder(run.directory.weights_path)
    for trial in trained:
        kept = folder.load(trial.sub_network, "trained")
        assert kept is not None
        with bench.prepared.supernet.activate(trial.sub_network, kept) as model:
            assert bench.quality.value(Subject(model=model)) == pytest.approx(trial.measurements["perplexity"].value)
        with bench.prepared.supernet.activate(trial.sub_network) as model:
            assert bench.quality.value(Subject(model=model)) != trial.measurements["perplexity"].value
        assert trial.candidate is None
        assert trial.measurements["parameters"].value == sum(one.numel() for one in kept.parameters.values())


def test_a_search_that_dies_in_a_training_goes_on_with_that_one(
    undisturbed: tuple[Run, Training, Watching], tmp_path: Path
) -> None:
    expected, _, _ = undisturbed
    with pytest.raises(KeyboardInterrupt):
        Training(tmp_path / "run").run_watched(Watching(dies_at=(3, 2)))
    watching = Watching()
    run = Training(tmp_path / "run").run_watched(watching)
    assert len(watching.begun) == 2
    assert [trial.sub_network for trial in run.trials] == [trial.sub_network for trial in expected.trials]
    assert [one.measurements["perplexity"].value for one in run.trials] == [
        one.measurements["perplexity"].value for one in expected.trials
    ]


def test_weights_that_are_gone_come_out_again_from_the_right_budget(
    undisturbed: tuple[Run, Training, Watching],
) -> None:
    run, bench, _ = undisturbed
    trial, watching = run.trials[4], Watching()
    again = train_again(NAME, trial.sub_network, bench.prepared.trainings, watching)
    assert len(watching.begun) == 1
    kept = WeightsFolder(run.directory.weights_path).load(trial.sub_network, "trained")
    assert kept is not None
    assert all(torch.equal(again.weights.parameters[name], one) for name, one in kept.parameters.items())


def test_weights_that_do_not_come_out_again_are_told_of(undisturbed: tuple[Run, Training, Watching]) -> None:
    run, bench, _ = undisturbed
    with pytest.raises(LostWeightsError, match=rf"The weights that {NAME} trained must be kept or come out again, but"):
        train_again(NAME, run.trials[1].sub_network, bench.prepared.trainings, UNWATCHED)


def test_a_budget_below_the_least_is_passed_by(
    undisturbed: tuple[Run, Training, Watching], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del undisturbed

    def too_small(evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep) -> TrainedSubNetwork:
        raise BudgetTooSmallError("too small")

    monkeypatch.setitem(TRAINED_PRUNERS, NAME, too_small)
    run = Training(tmp_path / "run").run_watched(Watching())
    assert [trial.source for trial in run.trials] == ["supernet", "smallest"] + ["random"] * 4


def test_a_trained_sub_network_that_the_space_has_gets_its_place_there() -> None:
    supernet = Supernet(tiny_model("llama"))
    space = make_space("joint", supernet.shape, supernet.ranking)
    full = SubNetwork.full(supernet.shape)
    evidence = Evidence(supernet, batches_of(num_batches=1))
    costs = parameter_costs(supernet)
    trained = magnitude_distilled(evidence, costs, float(costs.total(supernet.shape)), on_step=lambda _: None)
    assert trained.sub_network == full
    seed = trained_seed(space, trained, NAME)
    assert seed.candidate is not None
    assert space.sub_network(seed.candidate) == full
    assert seed.weights is trained.weights


def test_it_is_known_by_name_and_not_proposed_before_the_search() -> None:
    require_known(NAME)
    supernet = Supernet(tiny_model("llama"))
    evidence = Evidence(supernet, batches_of(num_batches=1))
    assert list(propose([NAME], evidence, parameter_costs(supernet))) == []
    assert parse_config(TRAINED_CONFIG).strategy.seeds == (NAME,)
    with pytest.raises(ConfigError, match=f"strategy.seeds must be one of .*{NAME}.*, got 'magnitude_distiled'"):
        parse_config(TRAINED_CONFIG.replace(NAME, "magnitude_distiled"))


class TestPrune:
    def pruning(self, bench: Recovering) -> Pruning:
        supernet = bench.prepared.supernet
        return Pruning(
            supernet=supernet,
            evidence=Evidence(supernet, batches_of(num_batches=1)),
            objectives=(Distance(bench), Parameters()),
            also=(),
            aliases={},
        )

    def test_to_a_budget_with_weights_of_its_own(self, tmp_path: Path) -> None:
        bench, watching = Recovering(tmp_path), Watching()
        pruning = self.pruning(bench)
        amount = parse_amount("0.7x")
        pruned = prune(parse_config(CONFIG), pruning, NAME, limit="parameters", amount=amount, watcher=watching)
        trial, weights = pruned.trials[1], pruned.weights["trained"]
        assert watching.num_steps == STEPS
        with bench.prepared.supernet.activate(trial.sub_network, weights) as model:
            assert bench.quality.value(Subject(model=model)) == pytest.approx(trial.measurements["perplexity"].value)

    def test_to_a_latency_is_refused(self, tmp_path: Path) -> None:
        pruning = self.pruning(Recovering(tmp_path))
        slow = Recovering(tmp_path).cost
        slow.name, slow.unit = "decode_latency", "s"
        pruning = Pruning(
            supernet=pruning.supernet,
            evidence=pruning.evidence,
            objectives=(*pruning.objectives, slow),
            also=(),
            aliases={},
        )
        with pytest.raises(BudgetError, match=f"pruner that trains must be on flops or parameters, got .* for {NAME}"):
            prune(parse_config(CONFIG), pruning, NAME, limit="decode_latency", amount=parse_amount("0.5x"))
