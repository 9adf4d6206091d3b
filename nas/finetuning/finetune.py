"""One fine-tuning from its config to a folder in the Hub's format.

The folder holds weights as safetensors, config with the labels' names, tokenizer, and ``finetune.json``: the resolved
config, what training took, the scores, and the versions. It appears once all is written.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from evaluators import make_evaluator
from evaluators.base import EvaluationError, Measurement, Subject
from evaluators.encoder_tasks import make_task
from nas.environment import describe_environment
from nas.export.base import published, refuse_used
from nas.finetuning.config import FinetuneConfig
from nas.finetuning.training import FinetuningError, Step, Training, train
from nas.supernet.families import family_of
from nas.supernet.loading import load_config, load_with_head
from nas.supernet.quiet import without_progress_bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What came of it.

    Attributes:
        folder: Where the model lies.
        scores: Of ``evaluate``, by name; empty without.
        record: What ``finetune.json`` holds.
    """

    folder: Path
    scores: dict[str, Measurement]
    record: dict[str, Any]


def finetune(config: FinetuneConfig, folder: Path, *, on_step: Callable[[Step], None] = lambda _: None) -> Finetuned:
    """Trains an encoder on a task, scores it and writes it.

    The same config on the same machine and versions gives the same weights; torch's global generator is left as it
    was.

    Args:
        config: Which encoder, on what and how.
        folder: Where to; new or empty.
        on_step: Called after every step of training.

    Raises:
        ExportError: The folder is in use or cannot be written to.
        EvaluationError: Data that cannot be had, or labels that do not fit the model.
        ModelLoadingError, UnsupportedArchitectureError: The model cannot be had, or is none that is supported.
        FinetuningError: It is no encoder, it has no tokenizer, the data hold a single class, the loss is not finite, or
            the trained model, which is written then, cannot be scored.
    """
    refuse_used(folder)
    _require_encoder(config)
    task = make_task(config.task.name, **config.task.options)
    label_names = task.label_names()
    if len(label_names) == 1:
        raise FinetuningError(
            f"The data must hold at least two classes, got {label_names[0]!r} alone; give another file or raise limit."
        )
    evaluator: Any = config.evaluate and make_evaluator(config.evaluate.name, **config.evaluate.options)
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        torch.manual_seed(config.seed)  # the new head, and dropout
        model, tokenizer = load_with_head(
            config.model.name,
            task.kind,
            label_names=label_names,
            revision=config.model.revision,
            trust_remote_code=config.model.trust_remote_code,
        )
        if tokenizer is None:
            raise FinetuningError(
                f"Fine-tuning needs a tokenizer, and {config.model.name} has none; save one into its folder."
            )
        model_config: Any = model.config
        subject = Subject(model=model, tokenizer=tokenizer)
        if evaluator is not None:  # what is wrong with these data should show before the training, not after it
            evaluator.check(subject)
        batches = task.batches(tokenizer, model_config.label2id, batch_size=config.batch_size)
        training = train(model, batches, config, on_step=on_step)
    scores: dict[str, Measurement] = {}
    failure: EvaluationError | None = None
    try:
        scores = {} if evaluator is None else evaluator.evaluate(subject)
    except EvaluationError as error:  # what training took hours for is kept all the same
        failure = error
    record = _record(config, model, training, scores)
    with published(folder) as staging, without_progress_bars():
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        (staging / "finetune.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if failure is not None:
        raise FinetuningError(
            f"The model is trained and lies in {folder}, but could not be scored: {failure}"
        ) from failure
    return Finetuned(folder=folder, scores=scores, record=record)


def _require_encoder(config: FinetuneConfig) -> None:
    model_config = load_config(
        config.model.name, revision=config.model.revision, trust_remote_code=config.model.trust_remote_code
    )
    if family_of(model_config.model_type).is_decoder:
        raise FinetuningError(
            f"Fine-tuning needs an encoder such as bert, got {model_config.model_type!r}; choose another model."
        )


def _record(
    config: FinetuneConfig, model: PreTrainedModel, training: Training, scores: dict[str, Measurement]
) -> dict[str, Any]:
    model_config: Any = model.config
    return {
        "schema_version": 1,
        "config": config.model_dump(mode="json"),
        "labels": list(model_config.label2id) if config.task.name != "question_answering" else [],
        "training": {
            "num_steps": len(training.losses),
            "first_loss": training.losses[0],
            "final_loss": training.final_loss,
            "duration_s": round(training.duration_s, 3),
        },
        "scores": {name: measurement.to_json() for name, measurement in scores.items()},
        "environment": describe_environment(config.seed, model.device),
    }
