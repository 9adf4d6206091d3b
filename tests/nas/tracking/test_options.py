from typing import Any

import pytest

from nas.config import ConfigError, SearchConfig, parse_config
from nas.tracking import TRACKERS, check_options, make_tracker, refuse_places
from nas.tracking.errors import TrackingError
from tests.nas.tracking.searches import CONFIG


def with_tracking(value: str) -> SearchConfig:
    return parse_config(CONFIG + f"tracking: {value}\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[]", []),
        ("[mlflow]", [("mlflow", {})]),
        (
            "[{mlflow: {experiment: x, uri: 'http://127.0.0.1:5000'}}, {wandb: {project: y, mode: offline}}]",
            [
                ("mlflow", {"experiment": "x", "uri": "http://127.0.0.1:5000"}),
                ("wandb", {"project": "y", "mode": "offline"}),
            ],
        ),
        ("[optuna, wandb:]", [("optuna", {}), ("wandb", {})]),
        ("[{optuna: {storage: null}}]", [("optuna", {"storage": None})]),
    ],
)
def test_trackers_of_a_config(value: str, expected: list[tuple[str, dict[str, Any]]]) -> None:
    config = with_tracking(value.replace("wandb:]", "{wandb: }]"))
    assert [(part.name, part.options) for part in config.tracking] == expected
    assert parse_config(config.to_yaml()) == config


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[mlfow]", r"^In the config, tracking\.0\.name: a tracker must be one of .* got 'mlfow'; try 'mlflow'\.$"),
        (
            "[{mlflow: {exprmnt: x}}]",
            r"tracking\.0: An option of the tracker mlflow must be one of uri, experiment, got 'exprmnt'; "
            r"did you mean 'experiment'\?",
        ),
        ("[{wandb: {mode: offlin}}]", r"wandb\.mode must be one of online, offline, got 'offlin'; try 'offline'"),
        ("[{optuna: {study: 3}}]", r"optuna\.study must be text, got 3; put it in quotes"),
        ("[{mlflow: {experiment: null}}]", r"mlflow\.experiment must be text, got None"),
        ("[mlflow, {mlflow: {experiment: x}}]", "each tracker must be named once, got 'mlflow' twice; remove one"),
        ("[{mlflow: x}]", "a tracker must be a name with options, as {mlflow: {experiment: mine}}, got"),
        ("mlflow", "tracking must be a list, got 'mlflow'"),
    ],
)
def test_tracking_that_is_none(value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_tracking(value)


def test_an_unknown_tracker_is_answered_with_the_nearest() -> None:
    with pytest.raises(TrackingError, match="must be one of mlflow, wandb, optuna, got 'optna'; try 'optuna'"):
        check_options("optna", {})


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "mlflow",
            {"uri": "http://10.0.0.1"},
            r"for its operator to say, got 'uri' for mlflow; .* may give experiment",
        ),
        ("wandb", {"project": "x", "folder": "/etc"}, "got 'folder' for wandb; leave it out"),
        ("wandb", {"mode": "offline"}, "got 'mode' for wandb"),
        ("optuna", {"storage": "sqlite:////etc/x.db"}, "got 'storage' for optuna; .* may give study"),
    ],
)
def test_strangers_do_not_say_where_to(
    name: str, options: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=says):
        refuse_places({name: options})
    with pytest.raises(TrackingError, match=says):
        make_tracker(name, options, confined=True)


@pytest.mark.parametrize("name", TRACKERS)
def test_nothing_is_written_for_strangers_where_the_operator_named_no_place(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "OPTUNA_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(TrackingError, match=f"tracks by {name} once its operator has said where to, .*; start it with"):
        make_tracker(name, {}, confined=True)


def test_strangers_may_name_what_the_operator_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite://")
    assert make_tracker("optuna", {"study": "mine"}, confined=True)
