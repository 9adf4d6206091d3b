"""Judges causal language models by lm-eval tasks at little more than the cost of the model's forward pass.

Tasks are loaded and rendered when the evaluator is built, tokenised and batched at the first model, and kept for all
that share its tokenizer. Only what lm-eval does with the responses (filters, metrics, aggregation) is done for every
model, by lm-eval's own code. Tasks that generate text or score whole documents go through lm-eval's own wrapper.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import resolve_max_length

from evaluators.base import Direction, EvaluationError, Measurement, Subject, require_count
from evaluators.lm_eval_tasks.loading import load_tasks, quiet, seeded
from evaluators.lm_eval_tasks.results import Scores, average, by_document, find_metric, score_group, score_task
from evaluators.lm_eval_tasks.scoring import Plan, encode, log_likelihoods, plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """The log-likelihood requests in batches, and what they were batched for."""

    tokenizer: Any
    max_length: int
    device: torch.device
    plan: Plan

    def fits(self, tokenizer: Any, max_length: int, device: torch.device) -> bool:
        """Whether it serves a model with these."""
        return self.tokenizer is tokenizer and (self.max_length, self.device) == (max_length, device)


class LmEvalTasks:
    """The mean over tasks, and each task's metrics.

    A task's primary metric is the first of its ``metric_list`` (through its first filter), a group's the first of its
    ``aggregate_metric_list``. The measurement that serves as objective is the unweighted mean of the primary metrics
    of what was asked for, a group with aggregates counting as one; a tag, or a group without, stands for its tasks.
    It is called like the task or group where only one was asked for, else ``lm_eval``. Every metric is returned
    besides as ``lm_eval/<task>/<metric>``, with the filter's name added for all filters but the first.

    Args:
        tasks: Names of lm-eval tasks, groups or tags, or one; those of ``evaluators/bundled_tasks`` need no network.
        include_path: Folders with YAML files of one's own, or one.
        limit: Documents of each task, from the first; None for all.
        num_fewshot: Examples in each prompt; None for what the task says.
        batch_tokens: Most tokens in a forward pass, padding included.

    Raises:
        EvaluationError: No or an unknown task, data that cannot be had, a number out of range, or tasks of which some
            are better high and some low.
    """

    varies = False

    def __init__(
        self,
        tasks: str | Sequence[str],
        *,
        include_path: str | Path | Sequence[str | Path] = (),
        limit: int | None = None,
        num_fewshot: int | None = None,
        batch_tokens: int = 4096,
    ) -> None:
        names = tuple(dict.fromkeys([tasks] if isinstance(tasks, str) else tasks))
        folders = [include_path] if isinstance(include_path, str | Path) else include_path
        if not names:
            raise EvaluationError("tasks must name at least one lm-eval task, got none; minimal_pairs is bundled.")
        require_count("batch_tokens", batch_tokens, least=1)
        for option, value, least in (("limit", limit, 1), ("num_fewshot", num_fewshot, 0)):
            if value is not None:
                require_count(option, value, least=least)
        with seeded():
            self._loaded = load_tasks(names, [Path(folder) for folder in folders], limit=limit, num_fewshot=num_fewshot)
            self._primary = dict(primary for name in names for primary in self._primary_metrics(name))
            self.direction: Direction = self._common_direction()
        self.name = names[0] if len(names) == 1 else "lm_eval"
        self.unit = _common_unit(set(self._primary.values()))
        self._documents = {name: by_document(task) for name, task in self._loaded.tasks.items()}
        self._requests: dict[str, list[Instance]] = defaultdict(list)
        for task in self._loaded.tasks.values():
            for instance in task.instances:
                self._requests[instance.request_type] += [instance] * instance.repeats
        self._batch_tokens = batch_tokens
        self._prepared: _Prepared | None = None

    def evaluate(self, subject: Subject) -> dict[str, Measurement]:
        """Scores the model on all tasks.

        Raises:
            EvaluationError: No tokenizer, not a causal language model, or scores that are not finite.
        """
        with seeded():
            self._respond(subject)
            scores = self._score()
        primary = [find_metric(name, scores[name], metric) for name, metric in self._primary.items()]
        measurements = {self.name: average(primary).as_measurement(self.unit)}
        for name, own in scores.items():
            measurements |= {f"lm_eval/{name}/{label}": measurement for label, measurement in _labelled(own).items()}
        return measurements

    def _score(self) -> dict[str, Scores]:
        """The scores of every task and group, from the responses that stand in their requests."""
        scores: dict[str, Scores] = {
            name: score_task(task, self._documents[name]) for name, task in self._loaded.tasks.items()
        }
        return scores | {name: score_group(group, scores) for name, group in self._loaded.groups.items()}

    def _respond(self, subject: Subject) -> None:
        """Runs the model on all requests and leaves its responses in them."""
        model: Any = subject.model
        tokenizer = subject.tokenizer
        if tokenizer is None:
            raise EvaluationError("lm-eval tasks are text and need a tokenizer, got none; save one beside the model.")
        if model.config.is_encoder_decoder or not model.can_generate():
            raise EvaluationError(
                f"lm-eval tasks need a causal language model, got {type(model).__name__}; "
                f"evaluate encoders by classification or question answering."
            )
        for instances in self._requests.values():
            for instance in instances:
                instance.resps = []
        for kind, instances in self._requests.items():
            for instance, response in zip(instances, self._run(kind, instances, model, tokenizer), strict=True):
                instance.resps.append(response)

    def _run(self, kind: str, instances: list[Instance], model: Any, tokenizer: Any) -> list[Any]:
        """The responses to requests of one of lm-eval's kinds."""
        if kind == "loglikelihood":
            return log_likelihoods(model, self._plan(instances, model, tokenizer))
        with quiet():
            max_length = resolve_max_length(model.config, tokenizer)
            rows = max(1, self._batch_tokens // max_length)
            lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=rows, softmax_dtype="float32")
            responses: list[Any] = getattr(lm, kind)(instances)
        return responses

    def _plan(self, instances: list[Instance], model: Any, tokenizer: Any) -> Plan:
        """The batches of the log-likelihood requests: those of the last model where they fit this one."""
        max_length = resolve_max_length(model.config, tokenizer)
        device: torch.device = model.device
        if self._prepared is None or not self._prepared.fits(tokenizer, max_length, device):
            with quiet():
                pairs = encode(model, tokenizer, instances)
            batches = plan(pairs, max_length=max_length, batch_tokens=self._batch_tokens, device=device)
            self._prepared = _Prepared(tokenizer=tokenizer, max_length=max_length, device=device, plan=batches)
        return self._prepared.plan

    def _primary_metrics(self, requested: str) -> list[tuple[str, str]]:
        """The tasks and groups that a requested name stands for in the mean, each with its primary metric."""
        primary = []
        for name in self._loaded.members[requested]:
            group = self._loaded.groups.get(name)
            if group is not None and group.has_aggregation:
                primary.append((name, group.aggregate_metric_list[0].metric))
            else:
                tasks = [self._loaded.tasks[name]] if group is None else group.get_all_tasks()
                primary += [(task.task_name, next(iter(task.aggregation()))) for task in tasks]
        return primary

    def _common_direction(self) -> Direction:
        """Which way all the primary metrics are better."""
        higher: dict[str, bool] = {}
        for name, metric in self._primary.items():
            group = self._loaded.groups.get(name)
            tasks = [self._loaded.tasks[name]] if group is None else group.get_all_tasks()
            higher |= {task.task_name: task.higher_is_better().get(metric, True) for task in tasks}
        if len(set(higher.values())) > 1:
            low = next(name for name, is_higher in higher.items() if not is_higher)
            raise EvaluationError(
                f"The tasks of one evaluator must all be better high or all be better low, got {low!r} among others "
                f"that are better high; give it an evaluator of its own."
            )
        return "maximize" if all(higher.values()) else "minimize"


def _common_unit(metrics: set[str]) -> str:
    """The unit of the mean of these metrics."""
    units = {_unit(metric) for metric in metrics}
    return units.pop() if len(units) == 1 else "score"


def _unit(metric: str) -> str:
    """``accuracy`` for lm-eval's ``acc``, ``acc_norm`` and the like; else the metric's own name."""
    return "accuracy" if metric.startswith("acc") else metric


def _labelled(scores: Scores) -> dict[str, Measurement]:
    """The scores as measurements, named by their metric and, after the first filter, by the filter."""
    measurements: dict[str, Measurement] = {}
    for key, score in scores.items():
        metric = key.split(",")[0]
        measurements[key if metric in measurements else metric] = score.as_measurement(_unit(metric))
    return measurements
