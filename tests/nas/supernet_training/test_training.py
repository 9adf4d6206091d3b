"""The loop on a tiny model that learns to count."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluators.inputs import Batch
from nas.accelerating import accelerator_for
from nas.long_work.checkpoint import CheckpointError
from nas.long_work.stopping import TrainingStoppedError
from nas.supernet.supernet import Supernet
from nas.supernet_training import training as module
from nas.supernet_training.config import SupernetTrainingConfig
from nas.supernet_training.data import Sequences
from nas.supernet_training.sampling import RandomSampler
from nas.supernet_training.training import (
    Curriculum,
    SupernetStep,
    Training,
    TrainingError,
    rate_share,
    train,
)
from search_spaces import make_space
from tests.nas.supernet.tiny_models import tiny_model
from tests.nas.supernet_training.accelerating import fresh_accelerator  # noqa: F401

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def settings(**keys: Any) -> SupernetTrainingConfig:
    record = {"steps": 6, "batch_size": 4, "sequence_tokens": 8, "learning_rate": 3e-3, "checkpoint_every": 2}
    return SupernetTrainingConfig.model_validate(record | keys)


def counting() -> Tensor:
    """Sequences in which each token is the one before plus one."""
    return torch.arange(32)[:, None] + torch.arange(8)


def trained(
    path: Path,
    *,
    model: str = "gpt2",
    on_step: Callable[[SupernetStep], None] = lambda _: None,
    must_stop: Callable[[], bool] = lambda: False,
    data: Any = None,
    **keys: Any,
) -> tuple[Supernet, Training]:
    supernet, config = Supernet(tiny_model(model)), settings(**keys)
    space = make_space("joint", supernet.shape, supernet.ranking, heads="head", neurons_multiple_of=8)
    curriculum = Curriculum(
        sampler=RandomSampler(space=space),
        data=data or Sequences(ids_ST=counting(), batch_size=config.batch_size, seed=config.seed),
    )
    accelerator = accelerator_for("cpu", config.mixed_precision)
    done = train(supernet, curriculum, config, accelerator, path=path, model="m", on_step=on_step, must_stop=must_stop)
    return supernet, done


def same(one: Supernet, other: Supernet) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("keys", [{}, {"lora": {"rank": 4, "alpha": 8.0}}, {"mixed_precision": "bf16"}])
def test_everything_learns(tmp_path: Path, keys: dict[str, Any]) -> None:
    """The supernet, the smallest and the random sub-networks; afterwards all is frozen and in eval mode."""
    supernet, done = trained(tmp_path / "c", steps=60, learning_rate=1e-2, **keys)
    first, last = done.losses[0], [math.fsum(column) / 5 for column in zip(*done.losses[-5:], strict=True)]
    assert all(after < before for before, after in zip(first, last, strict=True))
    assert not supernet.model.training
    assert not any(one.requires_grad or one.grad is not None for one in supernet.model.parameters())


@pytest.mark.parametrize("keys", [{}, {"lora": {"rank": 4}}])
def test_the_original_teaches_the_largest_to_stay(tmp_path: Path, keys: dict[str, Any]) -> None:
    """At first the largest is its teacher (Llama has no dropout); the others have something to learn."""
    _, done = trained(tmp_path / "c", model="llama", steps=40, distillation={"teacher": "original"}, **keys)
    (largest, smallest, _), (_, smallest_at_last, _) = done.losses[0], done.losses[-1]
    assert abs(largest) < 1e-6 < smallest_at_last < smallest


def test_lora_trains_few_parameters(tmp_path: Path) -> None:
    _, full = trained(tmp_path / "full", steps=1)
    supernet, low = trained(tmp_path / "low", steps=1, lora={"rank": 1, "norms": False})
    _, with_norms = trained(tmp_path / "norms", steps=1, lora={"rank": 1})
    assert full.num_trained == supernet.model.num_parameters()
    # GPT-2: q k v, output, up and down of 4 layers, each rank times inputs and outputs
    assert low.num_trained == 4 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32))
    # Two norms a layer and one at the end, each of 32 factors and as many biases
    assert with_norms.num_trained == low.num_trained + (4 * 2 + 1) * 2 * 32


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"lora": {"rank": 4}},
        {"gradient_accumulation": 2, "mixed_precision": "bf16"},
        {"distillation": {"teacher": "original"}},
        {"distillation": {"teacher": "original"}, "lora": {"rank": 4}},
    ],
)
@pytest.mark.parametrize("break_after", [1, 2, 3, 5])
def test_a_break_changes_no_bit(tmp_path: Path, keys: dict[str, Any], break_after: int) -> None:
    """A crash at any step; dropout is on (GPT-2), and checkpoints come every second step."""

    class CrashError(Exception):
        pass

    def crash(step: SupernetStep) -> None:
        if step.number == break_after:
            raise CrashError

    whole, expected = trained(tmp_path / "whole", **keys)
    with pytest.raises(CrashError):
        trained(tmp_path / "broken", on_step=crash, **keys)
    told: list[int] = []
    resumed, found = trained(tmp_path / "broken", on_step=lambda step: told.append(step.number), **keys)
    assert told == list(range(break_after - 1 - (break_after - 1) % 2 + 1, 7))
    assert same(whole, resumed)
    assert found == expected


def test_a_request_to_stop_is_met_after_the_step(tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(
        TrainingStoppedError, match=r"stop and did at step 3 of 6, with a checkpoint .*; go on with --res"
    ):
        trained(tmp_path / "c", on_step=lambda step: told.append(step.number), must_stop=lambda: len(told) == 3)
    resumed, _ = trained(tmp_path / "c", on_step=lambda step: told.append(step.number))
    assert told == [1, 2, 3, 4, 5, 6]
    assert same(resumed, trained(tmp_path / "whole")[0])


def test_a_request_in_the_last_step_is_none(tmp_path: Path) -> None:
    _, done = trained(tmp_path / "c", must_stop=lambda: True, steps=1)
    assert len(done.losses) == 1


def test_bad_steps_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose loss is NaN leaves no trace in the weights."""
    original, calls = module.sandwich_gradients, []

    def sometimes(*arguments: Any, **keys: Any) -> Tensor:
        calls.append(1)
        losses = original(*arguments, **keys)
        return losses * float("nan") if len(calls) in {2, 3} else losses

    monkeypatch.setattr(module, "sandwich_gradients", sometimes)
    told: list[SupernetStep] = []
    supernet, done = trained(tmp_path / "c", on_step=told.append)
    assert done.num_skipped == 2
    assert [math.isnan(step.loss) for step in told] == [False, True, True, False, False, False]
    assert all(parameter.isfinite().all() for parameter in supernet.model.parameters())


def test_too_many_bad_steps_in_a_row_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def always(*arguments: Any, **keys: Any) -> Tensor:
        return torch.tensor([math.inf, 1.0, 2.0, 4.0])

    monkeypatch.setattr(module, "sandwich_gradients", always)
    with pytest.raises(TrainingError, match=r"for 3 steps in a row, up to step 3, .* inf of the supernet, 1 of the"):
        trained(tmp_path / "c", max_bad_steps=3)


def test_the_optimiser_state_of_other_parameters_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "c", steps=1)
    saved = torch.load(tmp_path / "c", weights_only=True)
    saved["optimizer"]["param_groups"] = saved["optimizer"]["param_groups"][:1]
    torch.save(saved, tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"optimiser state must be of the parameters that are trained, but that"):
        trained(tmp_path / "c", steps=2)


def test_the_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "c", steps=1)
    with pytest.raises(CheckpointError, match="must hold the parameters that are trained, 32 here, got 52"):
        trained(tmp_path / "c", steps=2, lora={"rank": 2, "norms": False})


def test_the_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "c", steps=1)
    other = Sequences(ids_ST=counting() + 1, batch_size=4, seed=0)
    with pytest.raises(CheckpointError, match=r"text or the examples that it began with, and those of .* were others"):
        trained(tmp_path / "c", steps=2, data=other)


def test_two_small_batches_are_one_large_batch(tmp_path: Path) -> None:
    """Gradients accumulate to the mean: SGD-like check through the losses of an evaluation-mode model."""
    ids = counting()[:4]

    class Fixed:
        fingerprint = "fixed"

        def __init__(self, size: int) -> None:
            self.size = size

        def batch(self, number: int) -> Batch:
            return Batch(inputs={"input_ids": ids.repeat(2, 1)[number % 2 * self.size :][: self.size]})

    keys = {"model": "llama", "steps": 3, "sandwich": {"num_random": 1}}
    one, _ = trained(tmp_path / "one", data=Fixed(4), **keys)
    two, _ = trained(tmp_path / "two", data=Fixed(2), gradient_accumulation=2, **keys)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_the_rate_rises_and_falls() -> None:
    config = settings(steps=10, warmup_share=0.2)
    assert [rate_share(step, config) for step in range(10)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    assert rate_share(0, settings(steps=1, warmup_share=1)) == 0.5
