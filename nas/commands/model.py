"""`nas measure` and `nas evaluate`: any model, by the evaluators of a search."""

from collections.abc import Sequence
from pathlib import Path

from evaluators.base import Measurement, Subject
from nas.config import PartConfig
from nas.preparation import build_evaluators
from nas.supernet.loading import load_pretrained


def latency_parts(workload: str, *, batch_size: int, context_tokens: int, max_s: float) -> list[PartConfig]:
    """Latency, peak memory, FLOPs and parameters of one workload."""
    sizes = {"batch_size": batch_size, "context_tokens": context_tokens}
    return [
        PartConfig(name="latency", options={"workload": workload, **sizes, "max_s": max_s}),
        PartConfig(name="memory", options={"workload": workload, **sizes}),
        PartConfig(name="flops", options={"context_tokens": context_tokens}),
        PartConfig(name="parameters"),
    ]


def task_parts(tasks: str, *, include_path: Sequence[Path], limit: int | None) -> list[PartConfig]:
    """The lm-eval tasks of a comma-separated list."""
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    options = {"tasks": names, "include_path": [str(path) for path in include_path], "limit": limit}
    return [PartConfig(name="lm_eval", options=options)]


def evaluate_model(
    model: str, parts: Sequence[PartConfig], *, dtype: str, device: str, trust_remote_code: bool
) -> dict[str, Measurement]:
    """Measures a model on its own.

    Raises:
        ValueError: One of the subclasses that say what is wrong with the model, a task or an option.
    """
    evaluators = build_evaluators(parts)
    loaded, tokenizer = load_pretrained(
        model, dtype=dtype, revision=None, device=device, trust_remote_code=trust_remote_code
    )
    subject = Subject(model=loaded, tokenizer=tokenizer)
    measurements: dict[str, Measurement] = {}
    for evaluator in evaluators:
        measurements |= evaluator.evaluate(subject)
    return measurements
