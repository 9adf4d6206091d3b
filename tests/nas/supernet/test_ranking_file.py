import json
from pathlib import Path

import numpy as np
import pytest

from nas.supernet.ranking_file import RANKING, RankingFileError, ranking_to_json, read_ranking
from search_spaces.shape import SupernetShape
from tests.nas.supernet.test_supernet import random_ranking

SHAPE = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=6, head_dim=4, hidden_size=16)


def write(folder: Path) -> dict[str, object]:
    record = ranking_to_json(random_ranking(SHAPE, np.random.default_rng(0)))
    (folder / RANKING).write_text(json.dumps(record))
    return record


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    read, expected = read_ranking(tmp_path, SHAPE), random_ranking(SHAPE, np.random.default_rng(0))
    assert read is not None
    assert ranking_to_json(read) == ranking_to_json(expected)
    assert read.kv_groups_LK.dtype == np.int64


def test_a_model_without_one_has_none(tmp_path: Path) -> None:
    assert read_ranking(tmp_path, SHAPE) is None
    assert read_ranking(Path("org/name"), SHAPE) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kv_groups_LK": "x"}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RANKING).write_text(text)
    with pytest.raises(RankingFileError, match="must be a ranking as `nas train-supernet` wrote it, but it cannot be"):
        read_ranking(tmp_path, SHAPE)


@pytest.mark.parametrize("neurons", [[[0, 1, 2, 3, 4, 4]] * 2, [[0, 1]] * 2])
def test_a_ranking_of_other_units_is_refused(tmp_path: Path, neurons: list[list[int]]) -> None:
    (tmp_path / RANKING).write_text(json.dumps(write(tmp_path) | {"neurons_LN": neurons}))
    with pytest.raises(RankingFileError, match="must rank the units of the model beside it"):
        read_ranking(tmp_path, SHAPE)
