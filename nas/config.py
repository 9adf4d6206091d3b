"""The search config: the YAML of a search, validated once, at the boundary.

Names of parts (spaces, evaluators, strategies, seeds) are checked here too, before anything is loaded, so that a typo
costs seconds and not a model download.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from evaluators import EVALUATORS
from evaluators.encoder_tasks import ENCODER_TASKS
from nas.amount import AmountError, parse_amount, parse_duration_s
from nas.config_reading import ConfigError, Named, Section, known, parse_record, read_text, validated
from nas.pruners import PRUNERS, TRAINED_PRUNERS
from nas.recovery import FINALIST_RECOVERIES, RECOVERY_NAMES, resolved_options
from nas.strategies import STRATEGIES
from nas.supernet.importance import IMPORTANCES
from nas.tracking import TRACKERS, check_options
from search_spaces import SEARCH_SPACES


class ModelConfig(Section):
    """Which supernet, and how to load it."""

    name: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    revision: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False


class SpaceConfig(Section):
    """What may be chosen. Options other than ``type`` go to the search space."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: known(list(SEARCH_SPACES), "space.type") = "joint"  # type: ignore[valid-type]

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the type."""
        return dict(self.model_extra or {})


class PartConfig(Named):
    """An evaluator."""

    model_config = ConfigDict(title="an evaluator must be a name with options, as {latency: {workload: decode}}")
    name: known(list(EVALUATORS), "an evaluator")  # type: ignore[valid-type]


class ExamplesConfig(Named):
    """Examples of an encoder's task."""

    model_config = ConfigDict(title="examples must be a task with options, as {classification: {data: train.tsv}}")
    name: known(list(ENCODER_TASKS), "examples")  # type: ignore[valid-type]


class ImportanceConfig(Section):
    """How units are ranked."""

    type: known(list(IMPORTANCES), "importance.type") = "activation"  # type: ignore[valid-type]
    text: Path | None = Field(
        default=None, description="A UTF-8 file; the bundled calibration text where none is given."
    )
    examples: ExamplesConfig | None = Field(
        default=None, description="Examples of an encoder's task in place of a text: {classification: {data: …}}."
    )
    labels: bool = Field(default=True, description="Whether methods may look at the labels of the examples.")
    max_sequences: int = Field(default=64, ge=1)
    sequence_tokens: int = Field(default=128, ge=2)
    batch_size: int = Field(default=8, ge=1)


_SEEDS: ChainMap[str, Any] = ChainMap(TRAINED_PRUNERS, PRUNERS)


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
            return {"type": name, **resolved_options(name, _without_off(options))}
        return value

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the type."""
        return dict(self.model_extra or {})

    @property
    def is_of_finalists(self) -> bool:
        """Whether it is done at the end of a search, not in every trial."""
        return self.type in FINALIST_RECOVERIES


def _without_off(options: Mapping[str, Any]) -> dict[str, Any]:
    """An unquoted ``no`` is false in YAML."""
    return {key: "no" if key == "mixed_precision" and value is False else value for key, value in options.items()}


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

    name: str = "search"
    model: ModelConfig
    space: SpaceConfig = SpaceConfig()
    importance: ImportanceConfig = ImportanceConfig()
    objectives: tuple[PartConfig, ...] = Field(min_length=2)
    also_measure: tuple[PartConfig, ...] = Field(
        default=(), description="Evaluators that are no objectives: recorded, and possible in the budget."
    )
    budget: dict[str, LimitConfig] = {}
    strategy: StrategyConfig = StrategyConfig()
    trials: int | None = Field(default=None, ge=1)
    time: str | None = None
    recovery: RecoveryConfig = RecoveryConfig()
    executor: ExecutorConfig = ExecutorConfig()
    tracking: tuple[TrackerConfig, ...] = Field(
        default=(), description="Where else to record the search: mlflow, wandb, optuna."
    )
    seed: int = Field(default=0, ge=0)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

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


__all__ = ["AmountError", "ConfigError", "SearchConfig", "load_config", "parse_config"]
