"""The run as Weights & Biases keeps it, and what it is not told."""

import json
import os
from pathlib import Path

import pytest

from nas.tracking.base import Ending, EndState, standings
from nas.tracking.errors import TrackingError
from nas.tracking.wandb import WandbTracker
from tests.nas.tracking.searches import BUDGETED, ID, confirmed, eight_trials, results, tracked
from tests.nas.tracking.stores import options, until_exit


def test_rows_config_and_the_front_at_the_end(place: Path) -> None:
    tracker = WandbTracker(**options("wandb", place))  # type: ignore[arg-type]
    tracker.begin(tracked())
    for standing in standings(eight_trials(), BUDGETED, first=0):
        tracker.add(standing)
    tracker.end(Ending(state=EndState.COMPLETE, results=results(confirmed(eight_trials()))))
    [folder] = (place / "wandb").glob("offline-run-*")
    records = until_exit(folder / f"run-{ID}.wandb")
    run = next(one.run for one in records if one.HasField("run"))
    assert (run.run_id, run.display_name, run.project, list(run.tags)) == (
        ID,
        "by_hand",
        "searches",
        ["bundled", "A CPU"],
    )
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["budget"] == {"latency": {"max": "40ms", "min": None}}
    assert config["environment"]["packages"] == {"torch": "2.13.0"}
    assert "tracking" not in config
    history = [one.history for one in records if one.HasField("history")]
    rows = [
        {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in one.item} for one in history
    ]
    assert [one.step.num for one in history] == list(range(9))
    assert [row["source"] for row in rows[:8]] == [trial.source for trial in eight_trials()]
    assert [row["state"] for row in rows[:8]] == ["complete"] * 5 + ["failed"] + ["complete"] * 2
    [table] = (folder / "files" / "media" / "table").glob("front*.json")
    assert json.loads(table.read_text()) == {
        "columns": ["trial", "source", "minimal_pairs", "decode_latency"],
        "data": [[2, "fisher", 0.8, 0.03], [6, "kcm", 0.75, 0.022], [1, "smallest", 0.5, 0.01]],
    }


def test_without_a_key_nobody_is_asked_for_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))  # no ~/.netrc
    monkeypatch.setenv("NETRC", str(place / "none"))
    with pytest.raises(TrackingError, match=r"there is no key; set WANDB_API_KEY, .* or give mode: offline"):
        WandbTracker(mode="online").begin(tracked())
    assert "WANDB_API_KEY" not in os.environ


def test_an_environment_that_turns_it_off(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(TrackingError, match="WANDB_MODE must be online or offline, got 'disabled'"):
        WandbTracker().begin(tracked())
