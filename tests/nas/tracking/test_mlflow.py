"""The run as MLflow sees it."""

import json
import os
from pathlib import Path

import pytest

from nas.tracking.base import Ending, EndState, standings
from nas.tracking.mlflow import LIMITS, MlflowTracker, _name
from tests.nas.tracking.searches import BUDGETED, ID, confirmed, eight_trials, results, tracked
from tests.nas.tracking.stores import options


def test_curves_labels_and_what_was_confirmed(place: Path) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(**options("mlflow", place))
    tracker.begin(tracked())
    for standing in standings(eight_trials(), BUDGETED, first=0):
        tracker.add(standing)
    tracker.end(Ending(state=EndState.COMPLETE, results=results(confirmed(eight_trials()))))
    client = MlflowClient(tracking_uri=options("mlflow", place)["uri"])
    experiment = client.get_experiment_by_name("searches")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id], f"tags.`nas.search_id` = '{ID}'")

    def history(key: str) -> dict[int, float]:
        return {point.step: point.value for point in client.get_metric_history(run.info.run_id, key)}

    assert run.info.run_name == "by_hand"
    assert history("trials/nsga2") == {3: 1, 4: 2, 5: 3, 7: 4}
    assert list(history("num_failed").values()) == [0, 0, 0, 0, 0, 1, 1, 1]
    assert list(history("feasible").values()) == [0, 1, 1, 1, 1, 0, 1, 0]
    assert list(history("front_size").values()) == [0, 1, 2, 3, 3, 3, 4, 4]
    best = history("best/minimal_pairs")
    assert 0 not in best  # nothing is within the budget yet
    assert (best[1], best[7]) == (0.5, 0.8)
    assert history("decode_latency")[3] == 0.02
    assert history("confirmed/decode_latency") == {1: 0.01, 2: 0.03, 6: 0.022}
    assert run.data.params["budget.latency.max"] == "40ms"
    assert run.data.params["objectives.1.options.workload"] == "decode"
    assert not any(key.startswith("tracking") for key in run.data.params)
    assert {key: run.data.tags[key] for key in ("nas.model", "nas.seed", "nas.device", "version.torch")} == {
        "nas.model": "bundled",
        "nas.seed": "0",
        "nas.device": "A CPU",
        "version.torch": "2.13.0",
    }
    [rows] = [file.path for file in client.list_artifacts(run.info.run_id)]
    lines = Path(client.download_artifacts(run.info.run_id, rows, str(place))).read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(8))
    assert json.loads(lines[5])["reason"] == "The device ran out of memory."


def test_names_have_only_characters_that_mlflow_takes() -> None:
    assert _name("arc_easy/acc_norm,none") == "arc_easy/acc_norm_none"


def test_what_a_person_has_set_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    MlflowTracker(**options("mlflow", place)).begin(tracked())
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert not (set(LIMITS) - {"MLFLOW_HTTP_REQUEST_TIMEOUT"}) & set(os.environ)
