"""Seeds that are trained: a small pruner that prunes by magnitude and then distils, in searches and in `nas prune`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.base import Subject
from evaluators.parameters import Parameters
from nas.amount import parse_amount
from nas.config import ConfigError, parse_config
from nas.long_work.places import PlacesInFolders
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.long_work.stopping import TrainingStoppedError
from nas.objectives import BudgetError
from nas.preparation import Prepared, ladder_trainings
from nas.pruners import ALL_PRUNERS, BudgetTooSmallError, Evidence, UnitCosts, parameter_costs, pruner_named
from nas.pruning import Pruned, Pruning, prune
from nas.recovery.lora_distillation import LoraDistillation
from nas.run import Run
from nas.seeds import trained_seed
from nas.store.folder import FolderStore
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
TRAINED_CONFIG = CONFIG.replace("trials: 12", "trials: 6").replace("seeds: []", f"seeds: [{NAME}]")


def magnitude_distilled(
    evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep, place: TrainingPlace = NOWHERE
) -> TrainedSubNetwork:
    """Prunes by magnitude, then distils."""
    assert (evidence.supernet.ranking.neurons_LN == UnitRanking.as_numbered(evidence.shape).neurons_LN).all()
    sub_network = pruner_named("magnitude")(evidence, costs, budget)
    train = LoraDistillation(steps=STEPS, rank=2, learning_rate=0.01, checkpoint_every=1)
    weights = train(evidence.supernet, sub_network, evidence.batches, seed=evidence.seed, on_step=on_step, place=place)
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
    (checkpoint,) = (tmp_path / "run" / "trainings").iterdir()
    assert checkpoint.name.startswith(f"{NAME}-")
    watching = Watching()
    run = Training(tmp_path / "run").run_watched(watching)
    assert len(watching.begun) == 2
    assert watching.num_steps == 2 * STEPS - 1
    assert not checkpoint.parent.exists()
    assert_same(run, expected)


def assert_same(run: Run, expected: Run) -> None:
    """In sub-networks, scores and weights."""
    assert [trial.sub_network for trial in run.trials] == [trial.sub_network for trial in expected.trials]
    assert [one.measurements["perplexity"].value for one in run.trials] == [
        one.measurements["perplexity"].value for one in expected.trials
    ]
    files = sorted(expected.directory.weights_path.iterdir())
    assert [path.name for path in files] == [path.name for path in sorted(run.directory.weights_path.iterdir())]
    assert all(path.read_bytes() == (run.directory.weights_path / path.name).read_bytes() for path in files)


def test_a_training_that_is_asked_to_stop_goes_on_where_it_did(
    undisturbed: tuple[Run, Training, Watching], tmp_path: Path
) -> None:
    watching = Watching(stops_at=(2, 2))
    with pytest.raises(TrainingStoppedError, match=rf"did at step 2 of {STEPS}, with a checkpoint in .*trainings; go"):
        Training(tmp_path / "run").run_watched(watching)
    assert watching.num_broken_off == 1
    watching = Watching()
    run = Training(tmp_path / "run").run_watched(watching)
    assert watching.num_steps == 3 * STEPS - 2
    assert_same(run, undisturbed[0])


@pytest.mark.parametrize("dies_in", ["keep_weights", "add"])
def test_a_process_that_dies_before_its_trial_is_stored_trains_nothing_again(
    dies_in: str, undisturbed: tuple[Run, Training, Watching], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, watching = Training(tmp_path / "run"), Watching()
    own = getattr(FolderStore, dies_in)

    def die(store: FolderStore, *arguments: object) -> None:
        if len(watching.problems) == 2:
            raise KeyboardInterrupt
        own(store, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            bench.run_watched(watching)
    watching = Watching()
    run = Training(tmp_path / "run").run_watched(watching)
    assert watching.num_steps == 2 * STEPS
    assert_same(run, undisturbed[0])


def test_checkpoints_that_a_dead_process_could_not_remove_go_in_the_end(
    undisturbed: tuple[Run, Training, Watching], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(PlacesInFolders, "forget", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            Training(tmp_path / "run").run_watched(Watching(dies_at=(3, 2)))
    assert len(list((tmp_path / "run" / "trainings").iterdir())) == 3
    run = Training(tmp_path / "run").run_watched(Watching())
    assert not (tmp_path / "run" / "trainings").exists()
    assert_same(run, undisturbed[0])


def test_weights_that_come_out_again_are_kept(undisturbed: tuple[Run, Training, Watching], tmp_path: Path) -> None:
    """They may be asked for several times before a search ends."""
    expected, watching = undisturbed[0], Watching()
    Training(tmp_path / "run").run_watched(Watching())
    for path in (tmp_path / "run" / "weights").iterdir():
        path.unlink()
    bench = Training(tmp_path / "run")
    bench.quality.varies = True  # so that members of the front are measured again
    bench.run_watched(watching)
    assert watching.begun
    for path in (tmp_path / "run" / "weights").iterdir():
        assert path.read_bytes() == (expected.directory.weights_path / path.name).read_bytes()
    assert not (tmp_path / "run" / "trainings").exists()


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

    def too_small(
        evidence: Evidence, costs: UnitCosts, budget: float, *, on_step: OnStep, place: TrainingPlace
    ) -> TrainedSubNetwork:
        raise BudgetTooSmallError("too small")

    monkeypatch.setitem(TRAINED_PRUNERS, NAME, too_small)
    watching = Watching()
    run = Training(tmp_path / "run").run_watched(watching)
    assert watching.num_broken_off == len(watching.begun) == 6  # so that a signal is not kept for a training's end
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
    assert NAME not in ALL_PRUNERS  # of which alone proposals are asked for
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

    def test_one_that_was_asked_to_stop_goes_on_in_its_folder(self, tmp_path: Path) -> None:
        places = PlacesInFolders(
            checkpoints=tmp_path / "trainings", scalars=tmp_path / "tensorboard", how_to_go_on="say it again"
        )
        bench, amount = Recovering(tmp_path), parse_amount("0.7x")

        def pruned(watching: Watching) -> Pruned:
            return prune(
                parse_config(CONFIG),
                self.pruning(bench),
                NAME,
                limit="parameters",
                amount=amount,
                watcher=watching,
                places=places,
            )

        expected = pruned(Watching())
        places.forget_all()
        with pytest.raises(TrainingStoppedError, match=r"at step 3 of 4, with a checkpoint in .*; say it again"):
            pruned(Watching(stops_at=(1, 3)))
        watching = Watching()
        found = pruned(watching)
        assert watching.num_steps == 1
        for name, one in expected.weights["trained"].parameters.items():
            assert torch.equal(found.weights["trained"].parameters[name], one)

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
        with pytest.raises(BudgetError, match=f"pruner that trains must be on parameters, .*, got .* for {NAME}"):
            prune(parse_config(CONFIG), pruning, NAME, limit="decode_latency", amount=parse_amount("0.5x"))
