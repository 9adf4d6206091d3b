"""From lm-eval's per-document results to scores with standard errors.

The standard error of a mean is the analytic one, ``sd / sqrt(n)`` with Bessel's correction, as lm-eval has it; that of
any other aggregate (F1, Matthews correlation, perplexity) is the standard deviation over bootstrap resamples.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.group import Group
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean, mean_stderr
from lm_eval.api.task import Task

from evaluators.base import EvaluationError, Measurement

_BOOTSTRAP_RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """An aggregated metric.

    Attributes:
        value: In the metric's own unit.
        stderr: Standard error; None where there is no telling.
        n: Documents behind it.
    """

    value: float
    stderr: float | None
    n: int

    def as_measurement(self, unit: str) -> Measurement:
        """With the normal 95 % confidence interval."""
        half = None if self.stderr is None else 1.96 * self.stderr
        ci95 = None if half is None else (self.value - half, self.value + half)
        return Measurement(value=self.value, unit=unit, ci95=ci95, n=self.n)


Scores = Mapping[str, Score]
"""By lm-eval's key ``metric,filter``, the metrics of the task's first filter first."""


def by_document(task: Task) -> list[list[Instance]]:
    """The task's requests, those of each document together and in order."""
    documents: dict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        documents[instance.doc_id].append(instance)
    return [sorted(instances, key=lambda instance: instance.idx) for instances in documents.values()]


def score_task(task: Task, documents: Sequence[Sequence[Instance]]) -> Scores:
    """Filters, judges and aggregates the responses that stand in the task's requests."""
    task.apply_filters()
    values: dict[str, list[Any]] = defaultdict(list)
    for filter_name in documents[0][0].filtered_resps:
        for instances in documents:
            responses = [instance.filtered_resps[filter_name] for instance in instances]
            for metric, value in task.process_results(instances[0].doc, responses).items():
                values[f"{metric},{filter_name}"].append(value)
    aggregations = task.aggregation()
    scores = {}
    for key, items in values.items():
        aggregate = aggregations.get(key.split(",")[0], mean)
        scores[key] = Score(value=float(aggregate(items)), stderr=_stderr(aggregate, items), n=len(items))
    return scores


def _stderr(aggregate: Callable[[list[Any]], float], items: list[Any]) -> float | None:
    """Standard error of ``aggregate(items)``; None for a single item."""
    if len(items) < 2:
        return None
    if aggregate is mean:
        return float(mean_stderr(items))
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample may lack a class
        resampled = [
            aggregate([items[index] for index in rng.integers(len(items), size=len(items))])
            for _ in range(_BOOTSTRAP_RESAMPLES)
        ]
    return float(np.std(resampled, ddof=1))


def score_group(group: Group, scores: Mapping[str, Scores]) -> Scores:
    """The group's own aggregates over its tasks, by lm-eval's rules; empty where its YAML asks for none."""
    table: dict[str, dict[str, Any]] = {}
    for task in group.get_all_tasks():
        row = table[task.task_name] = {"sample_len": max(score.n for score in scores[task.task_name].values())}
        for key, score in scores[task.task_name].items():
            metric, filter_name = key.split(",")
            row[key] = score.value
            row[f"{metric}_stderr,{filter_name}"] = "N/A" if score.stderr is None else score.stderr
    aggregated = group.aggregate(table)
    result = {}
    for key, n in aggregated.get("sample_count", {}).items():
        metric, filter_name = key.split(",")
        stderr = aggregated[f"{metric}_stderr,{filter_name}"]
        result[key] = Score(value=float(aggregated[key]), stderr=None if stderr == "N/A" else float(stderr), n=n)
    return result


def find_metric(name: str, scores: Scores, metric: str) -> Score:
    """The score of a task's or a group's metric, through its first filter.

    Raises:
        EvaluationError: The task returned no such metric, or NaN.
    """
    score = next((score for key, score in scores.items() if key.split(",")[0] == metric), None)
    if score is None:
        raise EvaluationError(
            f"Task {name!r} must return the first metric of its metric_list, {metric!r}, got "
            f"{', '.join(scores) or 'none'}; correct its YAML."
        )
    if not math.isfinite(score.value):
        raise EvaluationError(
            f"The score of a task must be finite, got {metric} = {score.value} for {name!r}; "
            f"check the model's outputs and the task's data."
        )
    return score


def average(scores: Sequence[Score]) -> Score:
    """The unweighted mean of independent scores."""
    stderrs = [score.stderr for score in scores if score.stderr is not None]
    return Score(
        value=sum(score.value for score in scores) / len(scores),
        stderr=math.hypot(*stderrs) / len(scores) if len(stderrs) == len(scores) else None,
        n=sum(score.n for score in scores),
    )
