"""Searches that recover their finalists, over a tiny model whose nearness to the supernet is the score."""

from pathlib import Path

import pytest
import torch

from evaluators.base import BEFORE_RECOVERY_SUFFIX, NOT_RECOVERED, Subject
from nas.front import front_of
from nas.long_work.checkpoint import CheckpointError
from nas.long_work.stopping import TrainingStoppedError
from nas.new_run import shape_to_json
from nas.preparation import Prepared
from nas.recovered import before_recovery, is_recovered, was_tried
from nas.recovery.finalists import FinalistRecoverer
from nas.recovery.lora_distillation import LoraDistillation, distillation_loss
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.search import Search
from nas.store.errors import StoreError
from nas.store.folder import FolderStore
from nas.store.weights import WeightsFolder
from nas.supernet.training import OnStep, TrainingStep
from nas.trial import Trial
from tests.nas.recovery.problems import batches_of
from tests.nas.test_search import CONFIG, Bench, Known

BEFORE = "perplexity" + BEFORE_RECOVERY_SUFFIX
QUICK = LoraDistillation(steps=4, rank=2, learning_rate=0.01, checkpoint_every=1)


class Watching:
    """Writes down what it is told; may die at a step, as a process does, or ask to stop after one."""

    def __init__(self, *, dies_at: tuple[int, int] | None = None, stops_at: tuple[int, int] | None = None) -> None:
        self.begun: list[str] = []
        self.problems: list[str] = []
        self.num_steps = self.num_broken_off = 0
        self._dies_at, self._stops_at, self._is_at = dies_at, stops_at, (0, 0)

    def begins(self, what: str) -> OnStep:
        self.begun.append(what)
        return self._on_step

    def ends(self, what: str, *, problem: str = "") -> None:
        assert what == self.begun[-1]
        self.problems.append(problem)

    def breaks_off(self) -> None:
        self.num_broken_off += 1

    def must_stop(self) -> bool:
        return self._is_at == self._stops_at

    def _on_step(self, step: TrainingStep) -> None:
        self.num_steps += 1
        self._is_at = (len(self.begun), step.number)
        if self._is_at == self._dies_at:
            raise KeyboardInterrupt


class Distance(Known):
    """How far a model is from the supernet, in logits."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(name="perplexity", unit="perplexity", value=self._distance)
        [self._batch] = batches_of(num_batches=1)
        with torch.no_grad():
            self._taught = {"logits": bench.prepared.supernet.model(**self._batch.inputs).logits.clone()}

    def _distance(self, subject: Subject) -> float:
        with torch.no_grad():
            learnt = subject.model(**self._batch.inputs)
        return 1 + distillation_loss(learnt, self._taught, self._batch.tokens_BT, temperature=1.0).item()


class Recovering(Bench):
    """A search that recovers its finalists, with numbers that do not vary."""

    def __init__(self, folder: Path, *, recovery: LoraDistillation = QUICK) -> None:
        super().__init__(folder, config=CONFIG.replace("trials: 12", "trials: 6"))
        self.quality = Distance(self)
        supernet = self.prepared.supernet
        self.recover = FinalistRecoverer(recovery, supernet, batches_of(num_batches=1), seed=0)
        self.prepared = Prepared(
            supernet=supernet,
            space=self.prepared.space,
            seeds=self.prepared.seeds,
            objectives=(self.cost, self.quality),
            also=(),
            recover_finalist=self.recover,
        )

    def run_watched(self, watching: Watching) -> Run:
        if not self.directory.config_path.exists():
            environment = {"search_id": "x", "device": {}, "supernet": shape_to_json(self.prepared.supernet.shape)}
            RunDirectory.create(self.directory.path, config_yaml=self.config.to_yaml(), environment=environment)
        with FolderStore.open(self.directory) as store:
            Search(self.config, self.prepared, store).run(self.statuses.append, watching)
        return Run.open(self.directory.path)


def scores(run: Run) -> list[tuple[float, float | None]]:
    return [
        (one.measurements["perplexity"].value, one.measurements[BEFORE].value if was_tried(one) else None)
        for one in run.trials
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Recovering]:
    bench = Recovering(tmp_path_factory.mktemp("undisturbed") / "run")
    return bench.run_watched(Watching()), bench


def recovered(run: Run) -> list[Trial]:
    return [trial for trial in run.trials if is_recovered(trial)]


def test_members_of_the_front_before_recovery_are_finalists_even_if_others_then_dominate_them(
    undisturbed: tuple[Run, Recovering],
) -> None:
    run, _ = undisturbed
    first = front_of([before_recovery(trial) for trial in run.trials], run.goal)
    expected = {trial.number for trial in (*first, *run.front())} - {0}
    assert {trial.number for trial in run.trials if was_tried(trial)} == expected


def test_every_member_of_the_front_is_recovered_and_keeps_both_scores(undisturbed: tuple[Run, Recovering]) -> None:
    run, bench = undisturbed
    members = [trial for trial in run.front() if not trial.sub_network.is_full]
    assert members
    assert all(was_tried(trial) for trial in members)
    assert not was_tried(run.supernet)
    assert recovered(run)
    for trial in recovered(run):
        assert trial.measurements["perplexity"].value < trial.measurements[BEFORE].value
        with bench.prepared.supernet.activate(trial.sub_network) as model:
            before = bench.quality.value(Subject(model=model))
        assert trial.measurements[BEFORE].value == pytest.approx(before)
    assert [one["number"] for one in run.record["trials"]] == [trial.number for trial in run.front()]
    assert "parameters" + BEFORE_RECOVERY_SUFFIX not in run.front()[0].measurements


def test_weights_that_are_kept_give_the_score_and_come_out_again(undisturbed: tuple[Run, Recovering]) -> None:
    run, bench = undisturbed
    trial = recovered(run)[0]
    kept = WeightsFolder(run.directory.weights_path).load(trial.sub_network, "recovered")
    assert kept is not None
    with bench.prepared.supernet.activate(trial.sub_network, kept) as model:
        assert bench.quality.value(Subject(model=model)) == pytest.approx(trial.measurements["perplexity"].value)
    again = bench.recover(trial.sub_network)
    assert all(torch.equal(again.parameters[name], one) for name, one in kept.parameters.items())


@pytest.mark.parametrize("dies_at", [(1, 2), (2, 1)])
def test_a_search_that_dies_while_it_recovers_goes_on_where_it_was(
    dies_at: tuple[int, int], undisturbed: tuple[Run, Recovering], tmp_path: Path
) -> None:
    expected, _ = undisturbed
    with pytest.raises(KeyboardInterrupt):
        Recovering(tmp_path / "run").run_watched(Watching(dies_at=dies_at))
    num_kept = len(list((tmp_path / "run" / "trainings").glob("*.pt"))) if dies_at[1] > 1 else 0
    assert num_kept == (dies_at[1] > 1)
    watching, bench = Watching(), Recovering(tmp_path / "run")
    run = bench.run_watched(watching)
    assert len(bench.statuses) == 0
    assert scores(run) == scores(expected)
    num_tried = sum(map(was_tried, run.trials))
    assert len(watching.begun) == num_tried - (dies_at[0] - 1)
    assert watching.num_steps == QUICK.steps * len(watching.begun) - num_kept
    assert not (tmp_path / "run" / "trainings").exists()


def test_a_recovery_that_is_asked_to_stop_leaves_its_trial_to_be_recovered(
    undisturbed: tuple[Run, Recovering], tmp_path: Path
) -> None:
    expected, _ = undisturbed
    watching = Watching(stops_at=(1, 3))
    with pytest.raises(TrainingStoppedError, match=r"did at step 3 of 4, with a checkpoint in .*run/trainings; go on"):
        Recovering(tmp_path / "run").run_watched(watching)
    assert (watching.problems, watching.num_broken_off) == ([], 1)
    watching = Watching()
    run = Recovering(tmp_path / "run").run_watched(watching)
    assert watching.num_steps == QUICK.steps * len(watching.begun) - 3
    assert scores(run) == scores(expected)


def test_a_checkpoint_that_is_damaged_ends_the_search_and_not_the_recovery(
    undisturbed: tuple[Run, Recovering], tmp_path: Path
) -> None:
    """Trials would else be taken as tried, for good."""
    with pytest.raises(TrainingStoppedError):
        Recovering(tmp_path / "run").run_watched(Watching(stops_at=(1, 3)))
    (file,) = (tmp_path / "run" / "trainings").iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"must be a checkpoint as a training wrote it, .*; remove it to begin"):
        Recovering(tmp_path / "run").run_watched(Watching())
    file.unlink()
    assert scores(Recovering(tmp_path / "run").run_watched(Watching())) == scores(undisturbed[0])


def test_weights_that_were_kept_before_the_death_are_not_made_again(
    undisturbed: tuple[Run, Recovering], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the weights and the scores."""
    expected, _ = undisturbed
    first = Recovering(tmp_path / "run")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nas.finalists._is_better", die)
        with pytest.raises(KeyboardInterrupt):
            first.run_watched(Watching())
    watching = Watching()
    run = Recovering(tmp_path / "run").run_watched(watching)
    assert watching.num_steps == QUICK.steps * (len(watching.begun) - 1)
    assert scores(run) == scores(expected)


def test_training_that_betters_nothing_leaves_the_weights_and_says_so(tmp_path: Path) -> None:
    watching = Watching()
    run = Recovering(tmp_path / "run", recovery=LoraDistillation(steps=6, learning_rate=30.0)).run_watched(watching)
    spoilt = [trial for trial in run.trials if was_tried(trial) and not is_recovered(trial)]
    assert spoilt
    assert "No score was bettered." in watching.problems
    for trial in spoilt:
        assert trial.measurements["perplexity"].value == trial.measurements[BEFORE].value
        assert trial.measurements["perplexity"].flags == (NOT_RECOVERED,)


def test_training_that_fails_leaves_the_trial_as_it_was(tmp_path: Path) -> None:
    bench, watching = Recovering(tmp_path / "run"), Watching()
    bench.prepared.recover_finalist._batches.clear()  # type: ignore[union-attr]
    run = bench.run_watched(watching)
    assert set(watching.problems) == {
        "A recovery needs at least one batch of calibration examples, got none; give some text."
    }
    assert run.front()
    assert not recovered(run)


def test_a_folder_that_cannot_take_weights_ends_it_with_a_sentence(tmp_path: Path) -> None:
    bench = Recovering(tmp_path / "run")
    tmp_path.joinpath("run").mkdir()
    environment = {"search_id": "x", "device": {}, "supernet": shape_to_json(bench.prepared.supernet.shape)}
    RunDirectory.create(bench.directory.path, config_yaml=bench.config.to_yaml(), environment=environment)
    bench.directory.weights_path.write_text("in the way")
    with pytest.raises(StoreError, match=r"must be room to keep a sub-network's weights in .*; free some space and"):
        bench.run_watched(Watching())
