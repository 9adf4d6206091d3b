"""Sections that several kinds of config share: the model, its space, the examples that its units are ranked by."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from evaluators.encoder_tasks import ENCODER_TASKS
from nas.config_reading import Named, Section, known
from nas.supernet.importance import IMPORTANCES
from search_spaces import SEARCH_SPACES, check_options


def _no_is_no(value: Any) -> Any:
    return "no" if value is False else value  # an unquoted `no` is false in YAML


MixedPrecision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_no_is_no)]
"""In which precision matrices are multiplied in training; weights stay in float32."""


def by_name(value: Any) -> Any:
    """The section of a model that is given by its name alone."""
    return {"name": value} if isinstance(value, str) else value


class ModelConfig(Section):
    """Which supernet, and how to load it."""

    name: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    revision: str | None = None
    device: str = "auto"
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _has_revisions(self) -> Self:
        if self.name == "bundled" and self.revision is not None:
            raise ValueError(f"the bundled model has no revisions, got revision {self.revision!r}; remove it")
        return self


class SpaceConfig(Section):
    """What may be chosen. Options other than ``type`` go to the search space."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: known(list(SEARCH_SPACES), "space.type") = "joint"  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        check_options(self.type, self.options)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the type."""
        return dict(self.model_extra or {})


class ExamplesConfig(Named):
    """Examples of an encoder's task."""

    model_config = ConfigDict(title="examples must be a task with options, as {classification: {data: train.tsv}}")
    name: known(list(ENCODER_TASKS), "examples")  # type: ignore[valid-type]


class ImportanceConfig(Section):
    """How units are ranked, and the directions of matrices."""

    type: known(list(IMPORTANCES), "importance.type") = "activation"  # type: ignore[valid-type]
    text: Path | None = Field(
        default=None, description="A UTF-8 file; the bundled calibration text where none is given."
    )
    examples: ExamplesConfig | None = Field(
        default=None, description="Examples of an encoder's task in place of a text: {classification: {data: …}}."
    )
    recorded_ranking: bool = Field(
        default=True, description="Whether a supernet that was trained by a ranking keeps that one."
    )
    labels: bool = Field(default=True, description="Whether methods may look at the labels of the examples.")
    max_sequences: int = Field(default=64, ge=1)
    sequence_tokens: int = Field(default=128, ge=2)
    batch_size: int = Field(default=8, ge=1)
    directions: Literal["activation", "weights"] = Field(
        default="activation",
        description="What sorts the directions of factorised matrices: their outputs on the examples, or singular "
        "values of the weights alone.",
    )
