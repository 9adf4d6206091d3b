"""What a sub-network is worth and what it costs. Gets a model, knows no search."""

import difflib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from evaluators.base import EvaluationError, Evaluator

# Named, not imported: lm_eval and datasets take seconds to import, and a search needs few of these.
EVALUATORS = {
    "lm_eval": "evaluators.lm_eval_tasks:LmEvalTasks",
    "perplexity": "evaluators.perplexity:Perplexity",
    "accuracy": "evaluators.encoder_tasks.classification:Accuracy",
    "question_answering": "evaluators.encoder_tasks.question_answering:AnswerF1",
    "token_classification": "evaluators.encoder_tasks.token_classification:EntityF1",
    "latency": "evaluators.latency:Latency",
    "memory": "evaluators.memory:Memory",
    "parameters": "evaluators.parameters:Parameters",
    "flops": "evaluators.flops:Flops",
}

_MEASUREMENTS = {
    "perplexity": ("perplexity",),
    "accuracy": ("accuracy",),
    "question_answering": ("f1", "exact_match"),
    "token_classification": ("entity_f1",),
    "memory": ("peak_memory",),
    "parameters": ("parameters",),
    "flops": ("flops",),
}


def measurements_of(name: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What an evaluator will measure of every model, known before it is built and anything loaded.

    Args:
        name: In ``EVALUATORS``.
        options: As a config gives them, not yet checked.

    Returns:
        Names of measurements, but for the parts of lm-eval's scores, which all have a slash in theirs, and for what
        tells a sub-network's latency from its supernet's; None for an evaluator that is not known here.
    """
    if name == "lm_eval":
        tasks = options.get("tasks")
        names = {tasks} if isinstance(tasks, str) else set(map(str, tasks if isinstance(tasks, list | tuple) else ()))
        return tuple(names) if len(names) == 1 else ("lm_eval",)
    if name == "latency":
        return (f"{options.get('workload')}_latency",)
    return _MEASUREMENTS.get(name)


def make_evaluator(name: str, /, **options: Any) -> Evaluator:
    """Builds an evaluator by the name and with the options that a config gives it.

    Raises:
        EvaluationError: An unknown name or option, a missing option, or a value out of its range.
    """
    evaluator: Evaluator = build("evaluator", EVALUATORS, name, options)
    return evaluator


def build(what: str, parts: Mapping[str, str], name: str, options: Mapping[str, Any]) -> Any:
    """Builds one of ``parts`` (``module:class`` by name), calling it ``what`` where it cannot be had.

    Raises:
        EvaluationError: An unknown name or option, a missing option, or a value out of its range.
    """
    if name not in parts:
        raise EvaluationError(f"There is no {what} {name!r}; {_suggest(name, list(parts))}")
    part_class = pkgutil.resolve_name(parts[name])
    known = list(inspect.signature(part_class).parameters)
    for option in options:
        if option not in known:
            raise EvaluationError(f"The {what} {name!r} has no option {option!r}; {_suggest(option, known)}")
    try:
        return part_class(**options)
    except TypeError as error:
        raise EvaluationError(f"The options of the {what} {name!r} do not fit: {error}.") from error


def _suggest(unknown: str, known: list[str]) -> str:
    """The nearest known word, or all of them."""
    nearest = difflib.get_close_matches(unknown, known, n=1)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    return f"choose one of {', '.join(known)}." if known else "it takes none."
