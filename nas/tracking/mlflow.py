"""MLflow as tracker: one run a search, found again by the tag ``nas.search_id``.

Curves over trials are metrics whose step is the trial's number. Metrics are numbers only, so who proposed a trial is
told by a count for each source (``trials/nsga2``), and every trial with its reason and intervals lies in the artifact
``trials.jsonl`` at the end. What the end of a search measures again on the front is logged as ``confirmed/<name>``.
"""

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from nas.results import Results
from nas.tracking.base import Ending, EndState, Standing, TrackedSearch, best_of, flattened
from nas.tracking.errors import missing_package

if TYPE_CHECKING:
    pass

SEARCH_ID = "nas.search_id"
LAST = "trial"
"""The metric that holds a trial's own number; the last one is what a run was told until now."""
BATCH = 100
"""What a server takes at once, of parameters and tags; of metrics it takes more."""
MAX_TEXT = 500
"""Characters of a parameter or tag that any server takes."""
LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow's own are two minutes and seven retries, while which a search would wait."""
RUN_STATUS = {EndState.COMPLETE: "FINISHED", EndState.FAILED: "FAILED", EndState.STOPPED: "KILLED"}


class MlflowTracker:
    """Logs a run.

    Args:
        uri: Of the tracking server or database; MLflow's own choice (``MLFLOW_TRACKING_URI``) where none is given.
        experiment: Where the run belongs; made where there is none.

    Raises:
        TrackingError: MLflow is not installed.
    """

    HARMLESS = frozenset({"experiment"})
    VARIABLES = ("MLFLOW_TRACKING_URI",)

    def __init__(self, *, uri: str | None = None, experiment: str = "nas") -> None:
        # Before the import, which reads them; nothing that a person has set is changed.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            import mlflow
        except ImportError as error:
            raise missing_package("mlflow") from error
        for framework in ("mlflow", "alembic"):  # which makes its tables
            logging.getLogger(framework).setLevel(logging.WARNING)
        self._mlflow = mlflow
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._experiment = experiment
        self._run_id = ""

    def begin(self, search: TrackedSearch) -> int:
        """Finds or creates the run, and logs config and environment."""
        with _impatient():
            experiment_id = self._experiment_id()
            found = self._client.search_runs([experiment_id], f"tags.`{SEARCH_ID}` = '{search.id}'", max_results=1)
            if found:
                run = found[0]
                self._client.update_run(run.info.run_id, status="RUNNING")
            else:
                run = self._client.create_run(experiment_id, run_name=search.name, tags={SEARCH_ID: search.id})
            self._run_id = run.info.run_id
            self._describe(search, known=run.data.params)
            return int(run.data.metrics.get(LAST, -1)) + 1

    def add(self, standing: Standing) -> None:
        """Logs a trial in one request."""
        trial = standing.trial
        from_source = sum(one.source == trial.source for one in standing.trials)
        numbers = {**standing.readings(), f"trials/{trial.source}": float(from_source), LAST: float(trial.number)}
        with _impatient():
            self._log(numbers, step=trial.number)

    def end(self, ending: Ending) -> None:
        """Logs what was confirmed, uploads the run's files, and ends the run."""
        with _impatient():
            if ending.results is not None:
                self._conclude(ending.results)
            for path in ending.files():
                self._client.log_artifact(self._run_id, str(path))
            if ending.reason:
                self._client.set_tag(self._run_id, "nas.reason", ending.reason[:MAX_TEXT])
            self._client.set_terminated(self._run_id, RUN_STATUS[ending.state])

    def _experiment_id(self) -> str:
        if (found := self._client.get_experiment_by_name(self._experiment)) is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(self._experiment))
        except self._mlflow.exceptions.MlflowException:  # another search has made it meanwhile, or it cannot be had
            if (found := self._client.get_experiment_by_name(self._experiment)) is None:
                raise
            return str(found.experiment_id)

    def _describe(self, search: TrackedSearch, *, known: Mapping[str, str]) -> None:
        """Parameters once, as MLflow lets nobody change one; tags as they are in the process that goes on."""
        from mlflow.entities import Param, RunTag

        settings = {_name(key): text[:MAX_TEXT] for key, text in flattened(search.settings())}
        params = [Param(key, text) for key, text in settings.items() if key not in known]
        for batch in _batches(params):
            self._client.log_batch(self._run_id, params=batch)
        self._client.log_batch(
            self._run_id, tags=[RunTag(_name(key), text[:MAX_TEXT]) for key, text in search.labels().items()]
        )

    def _conclude(self, results: Results) -> None:
        for trial in results.front():
            confirmed = {f"confirmed/{name}": one.value for name, one in trial.measurements.items()}
            self._log(confirmed, step=trial.number)
        ends = {"hypervolume": float(results.record["hypervolume"]), **best_of(results.front(), results.goal)}
        self._log({f"confirmed/{name}": number for name, number in ends.items()}, step=len(results.trials) - 1)
        rows = "".join(f"{json.dumps(trial.to_json())}\n" for trial in results.trials)
        self._client.log_text(self._run_id, rows, "trials.jsonl")

    def _log(self, numbers: Mapping[str, float], *, step: int) -> None:
        """In the order given, so that the number of the trial comes last."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        finite = {key: number for key, number in numbers.items() if math.isfinite(number)}
        metrics: list[Metric] = [Metric(_name(key), number, now_ms, step) for key, number in finite.items()]
        for batch in _batches(metrics):
            self._client.log_batch(self._run_id, metrics=batch)


def _name(key: str) -> str:
    """With only such characters as MLflow takes: lm-eval's ``task/acc,none`` has others."""
    return re.sub(r"[^\w./: -]", "_", key)[:250]


def _batches(items: Iterable[Any]) -> Iterator[Sequence[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


@contextmanager
def _impatient() -> Iterator[None]:
    """Shorter waits for the server than MLflow's own, which it reads from the environment alone."""
    missing = {name: value for name, value in LIMITS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
