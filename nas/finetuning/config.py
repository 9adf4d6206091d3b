"""The config of a fine-tuning, validated once, at the boundary, as a search's is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from evaluators.encoder_tasks import ENCODER_TASKS
from nas.config_reading import Named, Section, known, parse_record, read_text, validated
from nas.config_sections import MixedPrecision, by_name

EVALUATOR_OF = {
    "classification": "accuracy",
    "question_answering": "question_answering",
    "token_classification": "token_classification",
}
"""The evaluator that judges each kind of task."""


class EncoderConfig(Section):
    """Which encoder, and how to load it."""

    name: str
    revision: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False


class TaskConfig(Named):
    """An encoder task by kind with its options."""

    model_config = ConfigDict(title="task must be a kind with options, as {classification: {data: train.tsv}}")
    name: known(list(ENCODER_TASKS), "task")  # type: ignore[valid-type]


class EvaluateConfig(Named):
    """An evaluator of encoder tasks with its options."""

    model_config = ConfigDict(title="evaluate must be an evaluator with options, as {accuracy: {data: dev.tsv}}")
    name: known(list(EVALUATOR_OF.values()), "evaluate")  # type: ignore[valid-type]


class FinetuneConfig(Section):
    """One fine-tuning, from a pre-trained encoder to a model of a task."""

    model: EncoderConfig
    task: TaskConfig
    evaluate: EvaluateConfig | None = None
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=3e-5, gt=0, allow_inf_nan=False)
    batch_size: int = Field(default=32, ge=1)
    warmup_share: float = Field(default=0.1, ge=0, le=1, description="Share of the steps in which the rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    mixed_precision: MixedPrecision = "no"
    max_steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return by_name(value)

    @model_validator(mode="after")
    def _evaluator_fits(self) -> Self:
        wanted = EVALUATOR_OF[self.task.name]
        if self.evaluate is not None and self.evaluate.name != wanted:
            raise ValueError(
                f"evaluate of {self.task.name} must be {wanted}, got {self.evaluate.name!r}; name that one"
            )
        return self


def load_finetune_config(path: Path, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Reads and validates a config file.

    Args:
        path: YAML. Relative paths in it are relative to the working directory.
        overrides: ``key=value`` each, the key dotted (``model.device=cpu``), the value YAML.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or is no config of a fine-tuning.
    """
    return parse_finetune_config(read_text(path), overrides)


def parse_finetune_config(text: str, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Validates the text of a config. The arguments and errors are those of ``load_finetune_config``."""
    return validated(parse_record(text, overrides, such_as="model and task"), FinetuneConfig)
