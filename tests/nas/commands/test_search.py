"""Which configs an interrupted run goes on with."""

from pathlib import Path

import pytest
import yaml

from nas.commands.search import refuse_changed_config
from nas.config import SearchConfig, parse_config
from nas.run_directory import RunDirectory, RunDirectoryError

CONFIG = "{model: bundled, objectives: [perplexity, parameters], trials: 12}"
ADDED_SINCE = ("supernet_training", "trained_pruners", "recovery", "tracking")
"""Keys that the first version did not know."""


def run_of(config: SearchConfig, folder: Path, *, without: tuple[str, ...] = ()) -> RunDirectory:
    record = {key: value for key, value in yaml.safe_load(config.to_yaml()).items() if key not in without}
    return RunDirectory.create(folder, config_yaml=yaml.safe_dump(record), environment={})


def test_a_run_goes_on_with_its_own_config(tmp_path: Path) -> None:
    config = parse_config(CONFIG)
    refuse_changed_config(run_of(config, tmp_path), config)


def test_a_run_from_before_a_key_was_known_goes_on_with_its_default(tmp_path: Path) -> None:
    config = parse_config(CONFIG)
    refuse_changed_config(run_of(config, tmp_path, without=ADDED_SINCE), config)


def test_a_run_from_before_a_key_was_known_does_not_go_on_with_another_value(tmp_path: Path) -> None:
    directory = run_of(parse_config(CONFIG), tmp_path, without=ADDED_SINCE)
    with pytest.raises(RunDirectoryError, match=r"'recovery' was .*'none'.* and is now .*'refit'"):
        refuse_changed_config(directory, parse_config(CONFIG, ["recovery.type=refit"]))


def test_where_a_search_is_tracked_may_change(tmp_path: Path) -> None:
    directory = run_of(parse_config(CONFIG), tmp_path)
    refuse_changed_config(directory, parse_config(CONFIG, ["tracking=[mlflow]"]))


def test_a_damaged_config_is_told_of(tmp_path: Path) -> None:
    directory = run_of(parse_config(CONFIG), tmp_path)
    directory.config_path.write_text("{model: bundled")
    with pytest.raises(
        RunDirectoryError, match="must be the YAML that `nas search` wrote, but it is damaged; restore it"
    ):
        refuse_changed_config(directory, parse_config(CONFIG))
