import io
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from nas.report.figures import draw_front, draw_hypervolume, reference_text
from nas.report.run import Run, gather
from nas.trial import Trial
from tests.nas.report.conftest import HYPERVOLUME

BUDGET_RED = np.array([0xB3, 0x26, 0x1E]) / 255


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    image: np.ndarray[Any, Any] = matplotlib.image.imread(io.BytesIO(png))[..., :3]
    return image


def has_budget_line(png: bytes) -> bool:
    return bool((np.abs(pixels(png) - BUDGET_RED).max(axis=2) < 0.02).sum() > 100)


@pytest.fixture
def run(front: dict[str, Any], trials: list[Trial]) -> Run:
    return gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)


@pytest.mark.parametrize("draw", [draw_front, draw_hypervolume])
def test_figures_are_png_of_full_size_and_not_blank(run: Run, draw: Callable[[Run], bytes]) -> None:
    image = pixels(draw(run))
    assert image.shape == (800, 1280, 3)
    assert (image < 0.5).any(axis=2).mean() > 0.005


def test_budget_is_drawn_only_where_there_is_one(run: Run, front: dict[str, Any], trials: list[Trial]) -> None:
    unbounded = gather(front=front | {"constraints": []}, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert has_budget_line(draw_front(run))
    assert not has_budget_line(draw_front(unbounded))


def test_empty_front_logarithmic_axis_and_dollars_in_names_can_be_drawn(
    front: dict[str, Any], trials: list[Trial]
) -> None:
    front |= {"trials": [], "search": front["search"] | {"name": "$half$ at $1"}}
    front["supernet"]["measurements"]["arc_easy"]["value"] = 900.0
    run = gather(front=front, trials=trials, hypervolume_by_trial=HYPERVOLUME)
    assert run.y.logarithmic
    assert pixels(draw_front(run)).std() > 0.05


def test_global_settings_stay_as_they_were(run: Run) -> None:
    before = dict(matplotlib.rcParams)
    draw_front(run)
    draw_hypervolume(run)
    assert dict(matplotlib.rcParams) == before


def test_reference_point_in_words(run: Run) -> None:
    assert reference_text(run) == "arc easy 0.5, decode latency 3 ms"
