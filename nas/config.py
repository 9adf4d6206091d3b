"""The search config: the YAML of a search, validated once, at the boundary.

Names of parts (spaces, evaluators, strategies, seeds) are checked here too, before anything is loaded, so that a typo
costs seconds and not a model download.
"""

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from evaluators import EVALUATORS
from nas.amount import AmountError, parse_amount, parse_duration_s
from nas.config_reading import ConfigError, Named, Section, known, parse_record, read_text, validated
from nas.config_sections import ExamplesConfig, ImportanceConfig, ModelConfig, SpaceConfig, by_name
from nas.pruners import ALL_PRUNERS, RANK_PRUNERS
from nas.recovery import FINALIST_RECOVERIES, RECOVERY_NAMES, resolved_options
from nas.strategies import STRATEGIES
from nas.supernet_training.config import SupernetTrainingConfig, require_trainable
from nas.tracking import TRACKERS, check_options
from nas.trained_pruners import TRAINED_PRUNERS
from nas.trained_pruners import resolved_options as resolved_pruner_options


class PartConfig(Named):
    """An evaluator."""

    model_config = ConfigDict(title="an evaluator must be a name with options, as {latency: {workload: decode}}")
    name: known(list(EVALUATORS), "an evaluator")  # type: ignore[valid-type]


_SEEDS = ChainMap[str, Any](TRAINED_PRUNERS, ALL_PRUNERS)


class StrategyConfig(Section):
    """Which sub-network next."""

    type: known(list(STRATEGIES), "strategy.type") = "nsga2"  # type: ignore[valid-type]
    seeds: tuple[known(_SEEDS, "strategy.seeds"), ...] = ("uniform", "flap", "block_influence")  # type: ignore[valid-type]


class RecoveryConfig(Section):
    """How quality is won back: inside a candidate's evaluation, or by training at the end, which has options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: known(["none", *RECOVERY_NAMES], "recovery.type") = "none"  # type: ignore[valid-type]

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, value: Any) -> Any:
        """With all options of that recovery, so that a run's config says what it was run with."""
        if isinstance(value, Mapping) and (name := value.get("type", "none")) in ("none", *RECOVERY_NAMES):
            options = {key: one for key, one in value.items() if key != "type"}
            return {"type": name, **resolved_options(name, _as_meant(options))}
        return value

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the type."""
        return dict(self.model_extra or {})

    @property
    def is_of_finalists(self) -> bool:
        """Whether it is done at the end of a search, not in every trial."""
        return self.type in FINALIST_RECOVERIES

    @property
    def is_inside_trials(self) -> bool:
        """Whether it is done in every trial."""
        return self.type != "none" and not self.is_of_finalists


_EXPONENTIAL = re.compile(r"[-+]?([0-9]+\.?|[0-9]*\.[0-9]+)[eE][-+]?[0-9]+")


def _as_meant(options: Mapping[str, Any]) -> dict[str, Any]:
    """In YAML 1.1 an unquoted ``no`` is false, and ``3e-5``, which has no point, a text; sections undo both, too."""
    found = {key: "no" if key == "mixed_precision" and value is False else value for key, value in options.items()}
    return {
        key: float(value) if isinstance(value, str) and _EXPONENTIAL.fullmatch(value) else value
        for key, value in found.items()
    }


class ExecutorConfig(Section):
    """Where trials run."""

    type: Literal["local"] = "local"


class TrackerConfig(Named):
    """Where a search is told of besides its folder."""

    model_config = ConfigDict(title="a tracker must be a name with options, as {mlflow: {experiment: mine}}")
    name: known(list(TRACKERS), "a tracker")  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        check_options(self.name, self.options)
        return self


class LimitConfig(Section):
    """A budget on one measurement: an amount such as ``4.1ms``, or ``0.6x`` of the supernet's own."""

    max: str | None = None
    min: str | None = None

    @field_validator("max", "min", mode="before")
    @classmethod
    def _is_amount(cls, value: Any) -> Any:
        return None if value is None else str(parse_amount(value))

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.max is None) == (self.min is None):
            raise ValueError("a budget must have either max or min; write {max: 0.6x}")
        return self


class SearchConfig(Section):
    """One search, from model to front."""

    name: str = Field(default="search", min_length=1, max_length=200)
    model: ModelConfig
    space: SpaceConfig = SpaceConfig()
    importance: ImportanceConfig = ImportanceConfig()
    objectives: tuple[PartConfig, ...] = Field(min_length=2)
    also_measure: tuple[PartConfig, ...] = Field(
        default=(), description="Evaluators that are no objectives: recorded, and possible in the budget."
    )
    budget: dict[str, LimitConfig] = {}
    strategy: StrategyConfig = StrategyConfig()
    trials: int | None = Field(default=None, ge=2, le=2**31 - 1)
    time: str | None = None
    recovery: RecoveryConfig = RecoveryConfig()
    trained_pruners: dict[str, dict[str, Any]] = Field(
        default={}, description="Options of pruners that train, by their names: {grain: {steps: 1000}}."
    )
    executor: ExecutorConfig = ExecutorConfig()
    supernet_training: SupernetTrainingConfig | None = Field(
        default=None, description="How to train the supernet before its sub-networks are tried."
    )
    tracking: tuple[TrackerConfig, ...] = Field(
        default=(), description="Where else to record the search: mlflow, wandb, optuna."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    @field_validator("name")
    @classmethod
    def _name_in_a_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError(f"a name must be printable, on one line, got {value!r}; remove what is not")
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return by_name(value)

    @field_validator("trained_pruners")
    @classmethod
    def _pruners_have_options(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: resolved_pruner_options(name, _as_meant(options)) for name, options in value.items()}

    @field_validator("trials", mode="before")
    @classmethod
    def _holds_both_ends(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 2:
            raise ValueError(
                f"a search has at least 2 trials, the supernet and the smallest sub-network, got {value}; raise it"
            )
        return value

    @field_validator("time", mode="before")
    @classmethod
    def _is_duration(cls, value: Any) -> Any:
        if value is not None:
            parse_duration_s(value)
        return None if value is None else str(value)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.time is None:
            raise ValueError("a search must end: give trials, time or both, such as trials: 64")
        return self

    @model_validator(mode="after")
    def _each_evaluator_once(self) -> Self:
        parts = [(part.name, tuple(sorted(map(repr, part.options.items())))) for part in self.evaluators]
        repeated = sorted({name for name, options in parts if parts.count((name, options)) > 1})
        if repeated:
            raise ValueError(f"each evaluator must be named once, got {repeated[0]!r} twice; remove one")
        return self

    @model_validator(mode="after")
    def _each_tracker_once(self) -> Self:
        names = [part.name for part in self.tracking]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"each tracker must be named once, got {repeated[0]!r} twice; remove one")
        return self

    @model_validator(mode="after")
    def _recovers_units(self) -> Self:
        factorising = [f"strategy.seeds has {name}" for name in self.strategy.seeds if name in RANK_PRUNERS]
        if self.space.type == "low_rank":
            factorising.append("space.type is low_rank")
        if factorising and self.recovery.is_inside_trials:
            raise ValueError(
                f"recovery.type must be none or a training of finalists where {factorising[0]}, for the others recover "
                f"what removed units did, got {self.recovery.type!r}; take lora_distillation, or remove recovery"
            )
        return self

    @model_validator(mode="after")
    def _space_is_trained(self) -> Self:
        if self.supernet_training is not None:
            sampling = self.supernet_training.sampling
            require_trainable(self.space, sampling, "set joint, or remove supernet_training")
        return self

    @property
    def evaluators(self) -> tuple[PartConfig, ...]:
        """Objectives first, then what is measured besides."""
        return (*self.objectives, *self.also_measure)

    @property
    def max_seconds(self) -> float | None:
        """``time`` in seconds."""
        return None if self.time is None else parse_duration_s(self.time)

    def to_yaml(self) -> str:
        """The resolved config, defaults included; loading it gives an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(path: Path, overrides: Sequence[str] = ()) -> SearchConfig:
    """Reads and validates a config file.

    Args:
        path: YAML. Relative paths in it are relative to the working directory.
        overrides: ``key=value`` each, the key dotted (``strategy.type=random``), the value YAML.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or is no config.
    """
    return parse_config(read_text(path), overrides, default_name=path.stem)


def parse_config(text: str, overrides: Sequence[str] = (), *, default_name: str = "search") -> SearchConfig:
    """Validates the text of a config. The arguments and errors are those of ``load_config``."""
    record = parse_record(text, overrides, such_as="model and objectives")
    record.setdefault("name", default_name)
    return validated(record, SearchConfig)


__all__ = [
    "AmountError",
    "ConfigError",
    "ExamplesConfig",
    "ImportanceConfig",
    "ModelConfig",
    "PartConfig",
    "SearchConfig",
    "SpaceConfig",
    "load_config",
    "parse_config",
]
