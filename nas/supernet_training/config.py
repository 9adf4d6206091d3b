"""The config of a supernet's training, alone or as a section of a search, validated once, at the boundary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from nas.config_reading import Section, parse_record, read_text, validated
from nas.config_sections import (
    ExamplesConfig,
    ImportanceConfig,
    MixedPrecision,
    ModelConfig,
    SpaceConfig,
    by_name,
)

UNTRAINED_SPACES = ("intra_attention", "low_rank")
"""Whose sub-networks compute with matrices that gradients do not come back from: heads of another width, factors."""


def require_trainable(space: SpaceConfig, sampling: "SamplingConfig", remedy: str) -> None:
    """Checks that training reaches the weights that sub-networks of a space compute with, and can draw by their cost.

    Args:
        space: Of the training.
        sampling: Of the training.
        remedy: What to do, where it does not reach them.

    Raises:
        ValueError: It does not, or a table of latencies, which holds KV groups, cannot tell sub-networks apart that
            drop single query heads.
    """
    if space.type in UNTRAINED_SPACES:
        raise ValueError(f"a supernet is trained over spaces of whole units, got space.type {space.type!r}; {remedy}")
    if sampling.cost == "latency" and space.options.get("heads") == "head":
        raise ValueError(
            "sampling.cost latency is predicted from KV groups, got space.heads head, which drops query heads within "
            "them; set sampling.cost parameters, or space.heads kv_group"
        )


def _changed(section: Section, *names: str) -> str:
    """The first of these keys that does not hold its default; a resolved config holds them all, asked for or not."""
    fields = type(section).model_fields
    return next((name for name in names if getattr(section, name) != fields[name].default), "")


class SamplingConfig(Section):
    """How the random sub-networks of a step are drawn."""

    type: Literal["random", "calibrated"] = Field(
        default="random", description="Evenly over choices, or evenly over bins of their cost."
    )
    cost: Literal["parameters", "latency"] = "parameters"
    num_bins: int = Field(default=8, ge=2)
    min_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Of the supernet's cost, the least that sub-networks are trained for, the smallest too.",
    )
    latency: dict[str, Any] = Field(
        default={"workload": "decode"}, description="Options of the latency evaluator, where cost is latency."
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.type != "calibrated" and (given := _changed(self, "min_share", "cost", "num_bins", "latency")):
            raise ValueError(
                f"sampling.{given} needs sampling.type calibrated, got {self.type!r}; set that, or remove {given}"
            )
        if self.cost != "latency" and (given := _changed(self, "latency")):
            raise ValueError(
                f"sampling.{given} needs sampling.cost latency, got {self.cost!r}; set that, or remove {given}"
            )
        return self


class SandwichConfig(Section):
    """Which sub-networks a step trains besides the largest and the smallest."""

    num_random: int = Field(default=2, ge=0)


class DistillationConfig(Section):
    """What sub-networks learn from: a teacher's logits of the same batch, or the true loss."""

    type: Literal["none", "forward_kl", "reverse_kl"] = "forward_kl"
    teacher: Literal["largest", "original"] = Field(
        default="largest",
        description="The largest sub-network as that step finds it, which learns from the true loss itself; or the "
        "model that training began with, which the largest learns from, too.",
    )
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=2, description="Of the teacher's logits, the largest so many alone.")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.type == "none" and (given := _changed(self, "teacher", "temperature", "top_k")):
            raise ValueError(
                f"distillation.{given} needs a distillation.type that distils, got 'none'; set forward_kl or "
                f"reverse_kl, or remove {given}"
            )
        return self


class LoraConfig(Section):
    """Adapters of low rank beside the layers' projections, trained in place of the weights and merged at the end."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    norms: bool = Field(default=True, description="Whether the model's norms, some thousand parameters, train too.")


class SupernetTrainingConfig(Section):
    """How a supernet is trained."""

    text: Path | None = Field(default=None, description="A UTF-8 file; the bundled text where none is given.")
    examples: ExamplesConfig | None = Field(
        default=None, description="Labelled examples of an encoder's task: {classification: {data: …}}."
    )
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=8, ge=1, description="Sequences of a pass, on each device.")
    sequence_tokens: int = Field(default=128, ge=2)
    gradient_accumulation: int = Field(default=1, ge=1, description="Batches of a step.")
    learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    warmup_share: float = Field(default=0.05, ge=0, le=1, description="Share of the steps in which the rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    mixed_precision: MixedPrecision = "no"
    sampling: SamplingConfig = SamplingConfig()
    sandwich: SandwichConfig = SandwichConfig()
    distillation: DistillationConfig = DistillationConfig()
    lora: LoraConfig | None = None
    checkpoint_every: int = Field(default=100, ge=1, description="Steps.")
    max_bad_steps: int = Field(default=10, ge=1, description="In a row, with a loss or a gradient that is not finite.")
    tensorboard: bool = False
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.text is not None and self.examples is not None:
            raise ValueError("a supernet must learn from text or from examples, got both; remove one")
        return self

    @property
    def passes(self) -> int:
        """Sub-networks that a step trains: the largest, the smallest and the random ones."""
        return 2 + self.sandwich.num_random


class TrainSupernetConfig(SupernetTrainingConfig):
    """One training, from a model to a supernet that any search accepts."""

    model: ModelConfig
    space: SpaceConfig = SpaceConfig()
    importance: ImportanceConfig = ImportanceConfig()

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return by_name(value)

    @model_validator(mode="after")
    def _space_is_trained(self) -> Self:
        require_trainable(self.space, self.sampling, "set joint, or another that chooses whole units")
        return self

    def to_yaml(self) -> str:
        """The resolved config, defaults included; loading it gives an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_training_config(path: Path, overrides: Sequence[str] = ()) -> TrainSupernetConfig:
    """Reads and validates a config file.

    Args:
        path: YAML. Relative paths in it are relative to the working directory.
        overrides: ``key=value`` each, the key dotted (``distillation.type=none``), the value YAML.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or is no config of a supernet's training.
    """
    return parse_training_config(read_text(path), overrides)


def parse_training_config(text: str, overrides: Sequence[str] = ()) -> TrainSupernetConfig:
    """Validates the text of a config. The arguments and errors are those of ``load_training_config``."""
    return validated(parse_record(text, overrides, such_as="model and steps"), TrainSupernetConfig)
