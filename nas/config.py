"""The search config: the YAML of a search, validated once, at the boundary.

Names of parts (spaces, evaluators, strategies, seeds) are checked here too, before anything is loaded, so that a typo
costs seconds and not a model download.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from evaluators import EVALUATORS
from evaluators.encoder_tasks import ENCODER_TASKS
from nas.amount import AmountError, parse_amount, parse_duration_s
from nas.pruners import PRUNERS
from nas.recovery import RECOVERIES
from nas.strategies import STRATEGIES
from nas.supernet.importance import IMPORTANCES
from search_spaces import SEARCH_SPACES


class ConfigError(ValueError):
    """A config that cannot be a search; the message names the key and how to mend it."""


def _known(names: Sequence[str], what: str) -> Any:
    """A string that must be one of ``names``."""

    def check(name: Any) -> Any:
        if name not in names:
            nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
            raise ValueError(f"{what} must be one of {', '.join(names)}, got {name!r}; try {nearest!r}")
        return name

    return Annotated[str, BeforeValidator(check)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Section):
    """Which supernet, and how to load it."""

    name: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    revision: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False


class SpaceConfig(_Section):
    """What may be chosen. Options other than ``type`` go to the search space."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: _known(list(SEARCH_SPACES), "space.type") = "joint"  # type: ignore[valid-type]

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the type."""
        return dict(self.model_extra or {})


class _Named(_Section):
    """A part by name with its options: ``latency``, or ``{latency: {…}}``."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        """Accepts both, and the resolved form ``{name: …, options: …}``."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and set(value) <= {"name", "options"} and "name" in value:
            return value
        if isinstance(value, Mapping) and len(value) == 1:
            name, options = next(iter(value.items()))
            if options is None or isinstance(options, Mapping):
                return {"name": name, "options": options or {}}
        raise ValueError(f"{cls.model_config.get('title')}, got {value!r}")


class PartConfig(_Named):
    """An evaluator."""

    model_config = ConfigDict(title="an evaluator must be a name with options, as {latency: {workload: decode}}")
    name: _known(list(EVALUATORS), "an evaluator")  # type: ignore[valid-type]


class ExamplesConfig(_Named):
    """Examples of an encoder's task."""

    model_config = ConfigDict(title="examples must be a task with options, as {classification: {data: train.tsv}}")
    name: _known(list(ENCODER_TASKS), "examples")  # type: ignore[valid-type]


class ImportanceConfig(_Section):
    """How units are ranked."""

    type: _known(list(IMPORTANCES), "importance.type") = "activation"  # type: ignore[valid-type]
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


class StrategyConfig(_Section):
    """Which sub-network next."""

    type: _known(list(STRATEGIES), "strategy.type") = "nsga2"  # type: ignore[valid-type]
    seeds: tuple[_known(list(PRUNERS), "strategy.seeds"), ...] = ("uniform", "activation", "block_influence")  # type: ignore[valid-type]


class RecoveryConfig(_Section):
    """How quality is won back inside a candidate's evaluation."""

    type: _known(["none", *RECOVERIES], "recovery.type") = "none"  # type: ignore[valid-type]


class ExecutorConfig(_Section):
    """Where trials run."""

    type: Literal["local"] = "local"


class LimitConfig(_Section):
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


class SearchConfig(_Section):
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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"A config must be a readable YAML file, got {path} ({error}); check the path.") from error
    return parse_config(text, overrides, default_name=path.stem)


def parse_config(text: str, overrides: Sequence[str] = (), *, default_name: str = "search") -> SearchConfig:
    """Validates the text of a config. The arguments and errors are those of ``load_config``."""
    try:
        record = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"A config must be YAML, got a syntax error: {' '.join(str(error).split())}.") from error
    if not isinstance(record, dict):
        raise ConfigError("A config must be a YAML mapping with keys such as model and objectives; see configs/.")
    record.setdefault("name", default_name)
    for override in overrides:
        _override(record, override)
    try:
        return SearchConfig.model_validate(record)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _override(record: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set must have the form key=value, got {override!r}; write --set trials=10.")
    *parents, last = key.split(".")
    for parent in parents:
        child = record.setdefault(parent, {})
        if isinstance(child, str):  # `model: bundled` is short for `model: {name: bundled}`
            child = record[parent] = {"name": child}
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {key} must name a key, but {parent!r} holds {child!r}; set {parent!r} as a whole."
            )
        record = child
    try:
        record[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set must give a YAML value, got {override!r}; quote it.") from error


_EXPECTED = {
    "model_type": "a mapping such as {{type: random}} or {{max: 0.6x}}",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
}
"""What pydantic would tell in its own terms, by type of problem."""


def _explain(error: ValidationError) -> str:
    """One sentence on the first problem, or on the first unknown key: it may be what a missing key was meant to be."""
    problems = error.errors()
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(problem["loc"])
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.0)
        return f"A config must hold known keys only, got {key!r}; did you mean {nearest[0]!r}?"
    if problem["type"] == "missing":
        return f"A config must have the key {key!r}, and this one does not; add it."
    if problem["type"] in _EXPECTED:
        expected = _EXPECTED[problem["type"]].format(**problem.get("ctx", {}))
        return f"In the config, {key} must be {expected}, got {problem['input']!r}."
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    where = f"In the config, {key}: " if key else "In the config, "
    return f"{where}{message}, got {problem['input']!r}." if problem["type"] != "value_error" else f"{where}{message}."


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys known where the unknown one stood."""
    sections: dict[str, type[BaseModel]] = {
        "model": ModelConfig,
        "importance": ImportanceConfig,
        "strategy": StrategyConfig,
        "recovery": RecoveryConfig,
        "executor": ExecutorConfig,
        "budget": LimitConfig,
    }
    section = sections.get(str(location[0]), SearchConfig) if len(location) > 1 else SearchConfig
    return list(section.model_fields)


__all__ = ["AmountError", "ConfigError", "SearchConfig", "load_config", "parse_config"]
