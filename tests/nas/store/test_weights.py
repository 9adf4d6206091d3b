"""Weights of sub-networks in the folder of a run."""

from pathlib import Path

import pytest
import torch

from nas.store.errors import StoreError
from nas.store.weights import WeightsFolder
from nas.supernet.own_weights import OwnWeights, OwnWeightsError
from tests.nas.trials import sub_network

WEIGHTS = OwnWeights(parameters={"a": torch.arange(3.0)})


def test_kinds_and_sub_networks_are_kept_apart(tmp_path: Path) -> None:
    folder = WeightsFolder(tmp_path / "weights")
    assert folder.load(sub_network(1), "trained") is None
    folder.keep(sub_network(1), "trained", WEIGHTS)
    folder.keep(sub_network(1), "trained", OwnWeights(parameters={"a": torch.zeros(2)}))
    folder.keep(sub_network(1), "recovered", WEIGHTS)
    assert folder.load(sub_network(2), "recovered") is None
    trained, recovered = folder.load(sub_network(1), "trained"), folder.load(sub_network(1), "recovered")
    assert trained is not None
    assert recovered is not None
    assert trained.parameters["a"].tolist() == [0, 0]
    assert recovered.parameters["a"].tolist() == [0, 1, 2]


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("in the way")
    with pytest.raises(StoreError, match=r"must be room to keep a sub-network's weights in .*weights, but .*free some"):
        WeightsFolder(tmp_path / "weights").keep(sub_network(1), "trained", WEIGHTS)


def test_a_damaged_file_is_told_of(tmp_path: Path) -> None:
    folder = WeightsFolder(tmp_path)
    folder.keep(sub_network(1), "trained", WEIGHTS)
    next(tmp_path.iterdir()).write_bytes(b"no weights")
    with pytest.raises(OwnWeightsError, match="must be a readable safetensors file"):
        folder.load(sub_network(1), "trained")
