"""A database of MLflow, made once: making one takes seconds."""

import os
import shutil
import warnings
from pathlib import Path

import pytest
from sqlalchemy.exc import SADeprecationWarning


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SADeprecationWarning)  # of MLflow's mapping of its own tables
        MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def place(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for every tracker to write below, and to be in: some write beside, too."""
    folder = tmp_path / "place"
    folder.mkdir()
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "OPTUNA_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    return folder
