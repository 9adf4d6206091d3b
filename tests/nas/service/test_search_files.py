"""What a search keeps among the artifacts: read by another process, and done without where it cannot be."""

import logging
from pathlib import Path

import pytest
import torch

from nas.artifacts import ArtifactError, ArtifactStore
from nas.service.search_files import KeptWeights, SearchFiles
from nas.store.weights import WeightsFolder
from nas.supernet.own_weights import OwnWeights
from tests.nas.trials import sub_network

WEIGHTS = OwnWeights(parameters={"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)})


def files_of(root: str, scratch: Path, *, search_id: str = "s1") -> SearchFiles:
    scratch.mkdir(exist_ok=True)
    return SearchFiles(ArtifactStore(root), search_id, scratch)


def kept_in(root: str, scratch: Path, *, search_id: str = "s1") -> KeptWeights:
    return KeptWeights(files_of(root, scratch, search_id=search_id), scratch / "weights")


def assert_same(found: OwnWeights | None, expected: OwnWeights) -> None:
    assert found is not None
    assert found.parameters.keys() == expected.parameters.keys()
    for name, one in expected.parameters.items():
        assert found.parameters[name].dtype is one.dtype
        assert torch.equal(found.parameters[name], one)


def in_hand(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_files_of_searches_are_apart(root: str, tmp_path: Path) -> None:
    mine, others = files_of(root, tmp_path), files_of(root, tmp_path, search_id="s2")
    (tmp_path / "file").write_bytes(b"mine")
    mine.publish(tmp_path / "file", "a/b")
    assert not others.fetch("a/b", tmp_path / "fetched")
    assert files_of(root, tmp_path).fetch("a/b", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"mine"
    assert ArtifactStore(root).exists("searches/s1/a/b")


def test_another_process_finds_the_weights_that_were_kept(root: str, tmp_path: Path) -> None:
    first, second = kept_in(root, tmp_path / "1"), kept_in(root, tmp_path / "2")
    assert second.load(sub_network(1), "trained") is None
    first.keep(sub_network(1), "trained", OwnWeights(parameters={"a": torch.zeros(2)}))
    first.keep(sub_network(1), "trained", WEIGHTS)
    first.keep(sub_network(2), "recovered", OwnWeights(parameters={"a": torch.ones(1)}))
    assert_same(second.load(sub_network(1), "trained"), WEIGHTS)
    assert second.load(sub_network(1), "recovered") is None
    assert second.load(sub_network(2), "trained") is None
    assert in_hand(tmp_path / "1") == in_hand(tmp_path / "2") == []


def test_fetched_weights_lie_where_a_run_has_them(root: str, tmp_path: Path) -> None:
    kept_in(root, tmp_path / "1").keep(sub_network(1), "recovered", WEIGHTS)
    fetched = kept_in(root, tmp_path / "2")
    assert_same(fetched.fetch(sub_network(1), "recovered"), WEIGHTS)
    assert_same(WeightsFolder(tmp_path / "2" / "weights").load(sub_network(1), "recovered"), WEIGHTS)


def test_damaged_weights_are_done_without(root: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = kept_in(root, tmp_path / "1")
    kept.keep(sub_network(1), "trained", WEIGHTS)
    (tmp_path / "file").write_bytes(b"no weights")
    ArtifactStore(root).publish(tmp_path / "file", f"searches/s1/weights/{sub_network(1).key}-trained.safetensors")
    assert kept.fetch(sub_network(1), "trained") is None
    assert "cannot be used and are made again: The weights of a sub-network must be a readable safetens" in caplog.text
    assert in_hand(tmp_path / "1") == []


def test_a_place_that_is_away_costs_the_weights_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    kept = kept_in(str(tmp_path / "artifacts"), tmp_path / "1")
    kept.keep(sub_network(1), "trained", WEIGHTS)
    assert "could not be kept; an export makes them again: A place for artifacts must be usable" in caplog.text
    assert_same(kept.load(sub_network(1), "trained"), WEIGHTS)  # this process has them still
    assert_same(kept.load(sub_network(1), "trained"), WEIGHTS)
    caplog.clear()

    def refuse(*_: object) -> bool:
        raise ArtifactError("A place for artifacts must be usable, but it is away.")

    monkeypatch.setattr(ArtifactStore, "exists", refuse)
    with caplog.at_level(logging.WARNING):
        assert kept_in(str(tmp_path / "artifacts"), tmp_path / "2").load(sub_network(1), "trained") is None
    assert "cannot be used and are made again: A place for artifacts must be usable, but it is away." in caplog.text


def test_no_room_here_costs_the_weights_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "weights").write_text("in the way")
    kept = kept_in(str(tmp_path / "artifacts"), tmp_path)
    kept.keep(sub_network(1), "trained", WEIGHTS)
    assert "could not be kept; an export makes them again: There must be room to keep" in caplog.text
