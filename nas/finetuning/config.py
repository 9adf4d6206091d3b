"""The config of a fine-tuning, validated once, at the boundary, as a search's is."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from evaluators.encoder_tasks import ENCODER_TASKS
from nas.config import ConfigError, _explain, _known, _Named, _override, _Section

EVALUATOR_OF = {
    "classification": "accuracy",
    "question_answering": "question_answering",
    "token_classification": "token_classification",
}
"""The evaluator that judges each kind of task."""


class EncoderConfig(_Section):
    """Which encoder, and how to load it."""

    name: str
    revision: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False


class TaskConfig(_Named):
    """An encoder task by kind with its options."""

    model_config = ConfigDict(title="task must be a kind with options, as {classification: {data: train.tsv}}")
    name: _known(list(ENCODER_TASKS), "task")  # type: ignore[valid-type]


class EvaluateConfig(_Named):
    """An evaluator of encoder tasks with its options."""

    model_config = ConfigDict(title="evaluate must be an evaluator with options, as {accuracy: {data: dev.tsv}}")
    name: _known(list(EVALUATOR_OF.values()), "evaluate")  # type: ignore[valid-type]


class FinetuneConfig(_Section):
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
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    max_steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _no_is_no(cls, value: Any) -> Any:
        return "no" if value is False else value  # an unquoted `no` is false in YAML

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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"A config must be a readable YAML file, got {path} ({error}); check the path.") from error
    return parse_finetune_config(text, overrides)


def parse_finetune_config(text: str, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Validates the text of a config. The arguments and errors are those of ``load_finetune_config``."""
    try:
        record = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"A config must be YAML, got a syntax error: {' '.join(str(error).split())}.") from error
    if not isinstance(record, dict):
        raise ConfigError(
            "A config must be a YAML mapping with the keys model and task; see configs/finetune_sst2.yaml."
        )
    for override in overrides:
        _override(record, override)
    _refuse_unknown(record, FinetuneConfig)
    if isinstance(record.get("model"), Mapping):
        _refuse_unknown(record["model"], EncoderConfig, parent="model.")
    try:
        return FinetuneConfig.model_validate(record)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _refuse_unknown(record: Mapping[str, Any], section: type[BaseModel], *, parent: str = "") -> None:
    """Before pydantic does, since ``_explain`` would propose the keys of a search."""
    for key in record:
        if key not in section.model_fields:
            nearest = difflib.get_close_matches(str(key), section.model_fields, n=1, cutoff=0.0)[0]
            raise ConfigError(f"A config must hold known keys only, got '{parent}{key}'; did you mean {nearest!r}?")
