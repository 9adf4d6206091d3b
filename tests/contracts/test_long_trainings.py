"""What every training inside a search must hold to, pruner or recovery, whatever cuts it short."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.long_work.checkpoint import CheckpointError
from nas.long_work.places import PlacesInFolders
from nas.long_work.scalars import ScalarsError
from nas.long_work.session import NOWHERE, TrainingPlace
from nas.long_work.stopping import TrainingStoppedError
from nas.pruners import Evidence, parameter_costs
from nas.recovery import FINALIST_RECOVERIES
from nas.recovery.finalists import FinalistRecoverer
from nas.supernet.supernet import Supernet
from nas.supernet.training import OnStep, TrainingStep, untold
from nas.trained_pruners import TRAINED_PRUNERS
from tests.nas.supernet.test_supernet import candidates
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

STEPS, EVERY = 12, 2
every_training = pytest.mark.parametrize("name", [*TRAINED_PRUNERS, *FINALIST_RECOVERIES])


def examples(model: str) -> list[Batch]:
    batches = batches_of(*(token_ids(batch_size=4, seed=seed) for seed in range(5)))
    if model != "bert":
        return batches
    return [Batch(inputs=batch.inputs, labels={"labels": torch.tensor([0, 1, 0, 1])}) for batch in batches]


def train(
    name: str,
    place: TrainingPlace = NOWHERE,
    *,
    model: str = "gpt2",
    on_step: OnStep = untold,
    seed: int = 0,
    changed: Callable[[Supernet, list[Batch]], None] = lambda supernet, batches: None,
    **options: Any,
) -> dict[str, Tensor]:
    """Weights by name; what is kept shows in their shapes. GPT-2 and BERT drop out at random."""
    supernet, batches = Supernet(tiny_model(model)), examples(model)
    changed(supernet, batches)
    options = {"steps": STEPS, "checkpoint_every": EVERY, "learning_rate": 1e-3, **options}
    if name in FINALIST_RECOVERIES:
        recover = FinalistRecoverer(FINALIST_RECOVERIES[name](rank=2, **options), supernet, batches, seed=seed)
        return dict(recover(candidates(supernet.shape)[-1], on_step=on_step, place=place).parameters)
    pruner: Any = TRAINED_PRUNERS[name]
    costs = parameter_costs(supernet)
    budget = costs.budget_for(supernet.shape, share=0.5)
    evidence = Evidence(supernet, batches, seed=seed)
    found = replace(pruner, **options)(evidence, costs, budget, on_step=on_step, place=place)
    return dict(found.weights.parameters)


def place_in(folder: Path, **more: Any) -> TrainingPlace:
    return replace(PlacesInFolders(checkpoints=folder / "trainings", scalars=folder / "scalars").of("one"), **more)


def assert_same(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    assert expected.keys() == found.keys()
    assert all(torch.equal(one, found[name]) for name, one in expected.items())


class CrashError(Exception):
    pass


def crashing_at(number: int) -> OnStep:
    def on_step(step: TrainingStep) -> None:
        if step.number == number:
            raise CrashError

    return on_step


@pytest.fixture(scope="module")
def undisturbed() -> dict[tuple[str, str], dict[str, Tensor]]:
    return {}


def expected_of(
    undisturbed: dict[tuple[str, str], dict[str, Tensor]], name: str, model: str = "gpt2"
) -> dict[str, Tensor]:
    """Without a place: keeping a state must not change what comes out."""
    if (name, model) not in undisturbed:
        undisturbed[name, model] = train(name, model=model)
    return undisturbed[name, model]


@every_training
@pytest.mark.parametrize(("model", "break_after"), [("gpt2", 1), ("gpt2", 5), ("gpt2", 6), ("bert", 7), ("bert", 12)])
def test_a_break_changes_no_bit(
    name: str, model: str, break_after: int, tmp_path: Path, undisturbed: dict[tuple[str, str], dict[str, Tensor]]
) -> None:
    """At any step: while units leave or gates close, when that ends (5 of GRAIN, 6 of FLOP), and in the last one."""
    with pytest.raises(CrashError):
        train(name, place_in(tmp_path), model=model, on_step=crashing_at(break_after))
    told: list[int] = []
    found = train(name, place_in(tmp_path), model=model, on_step=lambda step: told.append(step.number))
    assert told == list(range((break_after - 1) // EVERY * EVERY + 1, STEPS + 1))
    assert_same(expected_of(undisturbed, name, model), found)


@every_training
def test_breaks_one_after_another_change_no_bit(
    name: str, tmp_path: Path, undisturbed: dict[tuple[str, str], dict[str, Tensor]]
) -> None:
    for number in range(1, STEPS + 1):
        with pytest.raises(CrashError):
            train(name, place_in(tmp_path), on_step=crashing_at(number), checkpoint_every=1)
    assert_same(expected_of(undisturbed, name), train(name, place_in(tmp_path), checkpoint_every=5))


KILLED = """\
import os, signal, sys
from pathlib import Path
from tests.contracts.test_long_trainings import place_in, train
def on_step(step):
    if step.number == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[1], place_in(Path(sys.argv[2])), on_step=on_step)
"""


@every_training
def test_kill_9_changes_no_bit(
    name: str, tmp_path: Path, undisturbed: dict[tuple[str, str], dict[str, Tensor]]
) -> None:
    """And another process finds the same weights as this one."""
    for number in (4, 8):
        command = [sys.executable, "-c", KILLED, name, str(tmp_path), str(number)]
        assert subprocess.run(command, env=dict(os.environ), check=False).returncode == -signal.SIGKILL
    told: list[int] = []
    found = train(name, place_in(tmp_path), on_step=lambda step: told.append(step.number))
    assert told == [7, 8, 9, 10, 11, 12]
    assert_same(expected_of(undisturbed, name), found)


@every_training
def test_a_request_to_stop_is_met_after_the_step_with_a_checkpoint(
    name: str, tmp_path: Path, undisturbed: dict[tuple[str, str], dict[str, Tensor]]
) -> None:
    told: list[int] = []

    def on_step(step: TrainingStep) -> None:
        told.append(step.number)

    place = place_in(tmp_path, must_stop=lambda: told[-1] == 3)
    with pytest.raises(TrainingStoppedError, match=r"did at step 3 of 12, with a checkpoint in .*trainings; go on"):
        train(name, place, on_step=on_step)
    assert told == [1, 2, 3]
    assert_same(expected_of(undisturbed, name), train(name, place_in(tmp_path), on_step=on_step))
    assert told[3] == 4


@every_training
def test_without_a_place_a_request_to_stop_is_met_too(name: str) -> None:
    with pytest.raises(TrainingStoppedError, match="did at step 1 of 12, and keeps no checkpoint; begin anew"):
        train(name, replace(NOWHERE, must_stop=lambda: True))


@every_training
def test_what_is_done_comes_out_of_its_last_checkpoint(
    name: str, tmp_path: Path, undisturbed: dict[tuple[str, str], dict[str, Tensor]]
) -> None:
    told: list[TrainingStep] = []
    train(name, place_in(tmp_path))
    assert_same(expected_of(undisturbed, name), train(name, place_in(tmp_path), on_step=told.append))
    assert told == []


def other_weight(supernet: Supernet, batches: list[Batch]) -> None:
    with torch.no_grad():
        next(supernet.model.parameters()).view(-1)[0] += 1


def other_order(supernet: Supernet, batches: list[Batch]) -> None:
    batches.reverse()


@every_training
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"learning_rate": 2e-3},
            r"by .*one.pt 'learning_rate' was 0.001 and is now 0.002; undo the change",
        ),
        ({"seed": 1}, r"by .*one.pt 'seed' was 0 and is now 1; undo the change, or remove that file to begin"),
        ({"changed": other_weight}, r"goes on with what it began with, but by .*one.pt 'model' was \w{16} and is now"),
        (
            {"changed": other_order},
            r"goes on with what it began with, but by .*one.pt 'examples' was \w{16} and",
        ),
    ],
)
def test_a_training_of_something_else_does_not_go_on_with_it(
    name: str, options: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CrashError):
        train(name, place_in(tmp_path), on_step=crashing_at(3))
    with pytest.raises(CheckpointError, match=problem):
        train(name, place_in(tmp_path), **options)
    with pytest.raises(CrashError):  # how often it is kept is free to change
        train(name, place_in(tmp_path), on_step=crashing_at(3), checkpoint_every=7, max_bad_steps=3)


def without_a_group(state: dict[str, Any]) -> None:
    state["optimizer"]["param_groups"].pop()


def of_other_shapes(state: dict[str, Any]) -> None:
    moments = state["optimizer"]["state"][0]
    moments["exp_avg"] = torch.zeros(3, 3)


def without_optimizer(state: dict[str, Any]) -> None:
    del state["optimizer"]


@every_training
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (without_a_group, r"optimiser state must be of the parameters that are trained, but that of .*one.pt is not"),
        (
            of_other_shapes,
            r"optimiser state must be .* is not \(exp_avg of \(3, 3\) for a parameter of .*; remove",
        ),
        (without_optimizer, r"hold the state of the training that goes on from it, but .*one.pt does not \(KeyError: "),
    ],
)
def test_a_state_that_does_not_match_is_refused(
    name: str, spoil: Callable[[dict[str, Any]], None], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CrashError):
        train(name, place_in(tmp_path), on_step=crashing_at(3))
    file = tmp_path / "trainings" / "one.pt"
    record = torch.load(file, weights_only=True)
    spoil(record["state"])
    torch.save(record, file)
    with pytest.raises(CheckpointError, match=problem):
        train(name, place_in(tmp_path))


@every_training
def test_a_damaged_checkpoint_and_that_of_something_else(name: str, tmp_path: Path) -> None:
    file = tmp_path / "trainings" / "one.pt"
    file.parent.mkdir()
    file.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"one.pt must be a checkpoint .* cannot be read .*; remove it to begin"):
        train(name, place_in(tmp_path))
    torch.save({"num_done": 3}, file)
    with pytest.raises(CheckpointError, match=r"one.pt must be a checkpoint of a training in a run, but it is of some"):
        train(name, place_in(tmp_path))


SCALARS = {
    "grain": {"loss/cross_entropy", "loss/hidden", "density/kept", "density/target"},
    "flop": {"loss", "kept/expected", "kept/target", "multiplier/linear", "multiplier/quadratic"},
    "lora_distillation": {"loss"},
}


@every_training
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scalars_are_written_and_go_on_where_the_training_does(name: str, tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(CrashError):
        train(name, place_in(tmp_path), tensorboard=True, on_step=crashing_at(6))
    train(name, place_in(tmp_path), tensorboard=True)
    found = reading.EventAccumulator(str(tmp_path / "scalars" / "one")).Reload()
    assert set(found.Tags()["scalars"]) == SCALARS[name] | {"learning_rate", "skipped_steps"}
    assert [event.step for event in found.Scalars("learning_rate")] == list(range(1, STEPS + 1))
    rates = [event.value for event in found.Scalars("learning_rate")]
    assert 0 < max(rates) <= 1.001e-3
    assert rates[-1] < rates[len(rates) // 2]


@every_training
def test_no_scalars_where_they_are_not_asked_for(name: str, tmp_path: Path) -> None:
    train(name, place_in(tmp_path))
    assert not (tmp_path / "scalars").exists()


@every_training
def test_without_the_package_for_scalars_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ScalarsError, match=r"tensorboard: true needs .*; pip install 'nas-llm\[tensorboard\]', or set"):
        train(name, place_in(tmp_path), tensorboard=True)


@every_training
def test_no_room_for_a_checkpoint_ends_it_with_a_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "trainings").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"room to write to .*trainings, but .*; free some space and repeat with"):
        train(name, place_in(tmp_path))
