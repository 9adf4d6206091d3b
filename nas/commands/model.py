"""`nas measure` and `nas evaluate`: any model, by the evaluators of a search."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
    model: str,
    parts: Sequence[PartConfig],
    *,
    dtype: str,
    device: str,
    trust_remote_code: bool,
    against: str | None = None,
) -> dict[str, Measurement]:
    """Measures a model on its own, or its latency in alternation with that of another one.

    Args:
        model: Its id or folder.
        parts: The evaluators.
        dtype: As ``Supernet.load`` takes it, of both models.
        device: As ``Supernet.load`` takes it.
        trust_remote_code: Whether to run code that comes with the models.
        against: The other one's id or folder, such as the model that the first was cut from.

    Raises:
        ValueError: One of the subclasses that say what is wrong with a model, a task or an option.
    """
    evaluators = build_evaluators(parts)

    def load(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
        return load_pretrained(name, dtype=dtype, revision=None, device=device, trust_remote_code=trust_remote_code)

    loaded, tokenizer = load(model)
    other = None if against is None else load(against)[0]
    subject = Subject(
        model=loaded, tokenizer=tokenizer, reference=None if other is None else lambda: nullcontext(other)
    )
    measurements: dict[str, Measurement] = {}
    for evaluator in evaluators:
        measurements |= evaluator.evaluate(subject)
    return measurements
