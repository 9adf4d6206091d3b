import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.report.data import PALETTE, export_command, page_data, picture, source_colours
from nas.report.run import Run, gather
from nas.trial import Trial
from search_spaces.low_rank import with_ranks
from search_spaces.shape import Matrix
from search_spaces.sub_network import SubNetwork
from tests.nas.report.conftest import HYPERVOLUME, SHAPE, sub_network


@pytest.fixture
def run(front: dict[str, Any], trials: list[Trial]) -> Run:
    return gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)


@pytest.fixture
def data(run: Run) -> dict[str, Any]:
    return page_data(run, folder=Path("runs/half"))


class TestPicture:
    def test_bins_count_kept_neurons(self) -> None:
        # 96 neurons in 48 bins of two: 49 kept fill 24 bins and half of the next.
        layers = picture(sub_network(heads=("1010", "0000"), neurons=(49, 0)))
        assert layers == [
            {"heads": "1010", "bins": "f" * 24 + "8" + "0" * 23, "neurons": 49},
            {"heads": "0000", "bins": "0" * 48, "neurons": 0},
        ]

    def test_only_empty_bins_read_0_and_only_full_ones_f(self) -> None:
        shape = type(SHAPE)(num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=4800, head_dim=8, hidden_size=8)
        neurons_LN = np.zeros((1, 4800), dtype=np.bool_)
        neurons_LN[0, 0] = True  # one of the 100 in the first bin
        neurons_LN[0, 101:200] = True  # 99 of the 100 in the second
        (layer,) = picture(SubNetwork(shape=shape, heads_LH=np.ones((1, 1), dtype=np.bool_), neurons_LN=neurons_LN))
        assert layer["bins"] == "1e" + "0" * 46

    def test_fewer_neurons_than_bins_take_one_each(self) -> None:
        shape = type(SHAPE)(num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=3, head_dim=8, hidden_size=8)
        kept = SubNetwork(shape=shape, heads_LH=np.array([[True]]), neurons_LN=np.array([[True, False, True]]))
        assert picture(kept)[0]["bins"] == "f0f"

    def test_ranks_come_besides_where_there_are_any(self) -> None:
        matrices = tuple(
            Matrix(name=name, sublayer="mlp", num_outputs=96, num_inputs=32) for name in ("up_proj", "gate_proj")
        )
        shape = replace(SHAPE, matrices=matrices)
        layers = picture(with_ranks(shape, np.array([[8, 0], [0, 24]])))
        assert [layer["ranks"] for layer in layers] == [[8, 0], [0, 24]]
        assert "ranks" not in picture(SubNetwork.full(shape))[0]


def test_data_is_strict_json(data: dict[str, Any]) -> None:
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_points_are_the_trials_and_then_the_supernet(data: dict[str, Any]) -> None:
    assert [point["number"] for point in data["points"]] == [0, 1, 2, 3, 4, 5, None]
    assert data["points"][-1]["layers"] == picture(SubNetwork.full(SHAPE))
    assert data["first"] == 1


def test_readings_come_in_milliseconds_with_their_interval(data: dict[str, Any]) -> None:
    latency = data["points"][1]["readings"]["decode_latency"]
    assert (latency["value"], latency["low"], latency["high"]) == pytest.approx((2.5, 2.4, 2.7))
    assert (latency["text"], latency["ratio"]) == ("2.50 ± 0.15 ms", "0.50×")


def test_nan_and_failed_trials_carry_no_number(data: dict[str, Any]) -> None:
    assert data["points"][4]["readings"] == {}
    assert data["points"][5]["readings"]["arc_easy"]["value"] is None
    assert data["hypervolume"][-1] is None


def test_failed_trials_cannot_be_exported(data: dict[str, Any]) -> None:
    commands = [point["command"] for point in data["points"]]
    assert commands[1] == "nas export runs/half 1 --to huggingface --out trial-1"
    assert commands[4:] == [None, None, None]


def test_command_quotes_the_folder() -> None:
    assert export_command(Path("my run"), 3) == "nas export 'my run' 3 --to huggingface --out trial-3"


def test_busiest_source_takes_the_first_colour(run: Run) -> None:
    assert source_colours(run) == {"nsga2": PALETTE[0], "uniform": PALETTE[1]}
