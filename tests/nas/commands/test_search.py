"""Which configs an interrupted run goes on with."""

from pathlib import Path

import pytest
import yaml

from nas.commands.search import refuse_changed_config
from nas.config import parse_config
from nas.run_directory import RunDirectory, RunDirectoryError

CONFIG = """
model: bundled
objectives: [perplexity, parameters]
trials: 3
recovery: {type: lora_distillation, steps: 7}
supernet_training: {steps: 5}
"""


def run_with(folder: Path, config_yaml: str) -> RunDirectory:
    return RunDirectory.create(folder, config_yaml=config_yaml, environment={})


@pytest.mark.parametrize(
    "override",
    [
        "recovery.max_bad_steps=50",
        "recovery.tensorboard=true",
        "supernet_training.checkpoint_every=3",
        "trained_pruners.grain.checkpoint_every=3",
        "tracking=[optuna]",
    ],
)
def test_how_trainings_are_kept_and_told_of_may_change(override: str, tmp_path: Path) -> None:
    refuse_changed_config(run_with(tmp_path, parse_config(CONFIG).to_yaml()), parse_config(CONFIG, [override]))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("recovery.steps=8", "recovery"),
        ("supernet_training.steps=6", "supernet_training"),
        ("trained_pruners.grain.steps=9", "trained_pruners"),
        ("seed=1", "seed"),
    ],
)
def test_what_a_search_finds_by_may_not(override: str, key: str, tmp_path: Path) -> None:
    run = run_with(tmp_path, parse_config(CONFIG).to_yaml())
    with pytest.raises(
        RunDirectoryError, match=rf"goes on with the config it began with, but '{key}' was .*; undo the"
    ):
        refuse_changed_config(run, parse_config(CONFIG, [override]))


def test_a_config_that_is_none_any_more_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="began with, but 'seed' was 1 and is now 0; undo the change"):
        refuse_changed_config(
            run_with(tmp_path / "old", parse_config(CONFIG).to_yaml().replace("seed: 0\n", "seed: 1\nzeal: 3\n")),
            parse_config(CONFIG),
        )
    with pytest.raises(RunDirectoryError, match="must be the YAML that `nas search` wrote, but it is damaged; restore"):
        refuse_changed_config(run_with(tmp_path / "damaged", "{"), parse_config(CONFIG))


ADDED_SINCE = ("supernet_training", "trained_pruners", "recovery", "tracking")
"""Keys that the first version did not know."""
PLAIN = "{model: bundled, objectives: [perplexity, parameters], trials: 12}"


def run_of_the_first_version(folder: Path) -> RunDirectory:
    record = yaml.safe_load(parse_config(PLAIN).to_yaml())
    return run_with(folder, yaml.safe_dump({key: value for key, value in record.items() if key not in ADDED_SINCE}))


def test_a_run_from_before_a_key_was_known_goes_on_with_its_default(tmp_path: Path) -> None:
    refuse_changed_config(run_of_the_first_version(tmp_path), parse_config(PLAIN))


def test_a_run_from_before_a_key_was_known_does_not_go_on_with_another_value(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"'recovery' was .*'none'.* and is now .*'refit'"):
        refuse_changed_config(run_of_the_first_version(tmp_path), parse_config(PLAIN, ["recovery.type=refit"]))
