"""What a tracker is: something that is told of a search as it goes, and keeps a record of it elsewhere.

A tracker says how many trials its record holds, and is then told of those that follow, in order. So a search that is
taken up again, one that was not tracked for a while, and one that ended long ago are all told in the same way.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

from nas.config import SearchConfig
from nas.front import Goal, front_of, hypervolume_while_under_way
from nas.results import Results, shape_from_record
from nas.trial import Trial, TrialState
from search_spaces import make_space
from search_spaces.base import Choice, UnitRanking


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedSearch:
    """What is known of a search before its first trial.

    Attributes:
        id: The same for as long as the search lives.
        config: What it runs with.
        environment: Where it runs, and the shape of its supernet.
    """

    id: str
    config: SearchConfig
    environment: Mapping[str, Any]

    @classmethod
    def of(cls, config: SearchConfig, environment: Mapping[str, Any]) -> Self:
        """From what every run records."""
        return cls(id=str(environment["search_id"]), config=config, environment=environment)

    @property
    def name(self) -> str:
        """For people."""
        return self.config.name

    def choices(self) -> tuple[Choice, ...]:
        """What a candidate decides. Sizes do not depend on how units are ranked, so any ranking does."""
        shape = shape_from_record(self.environment["supernet"])
        space = self.config.space
        return make_space(space.type, shape, UnitRanking.as_numbered(shape), **space.options).choices

    def settings(self) -> dict[str, Any]:
        """The resolved config, but for where the search is tracked: that says nothing of it, and may hold secrets."""
        return {key: value for key, value in self.config.model_dump(mode="json").items() if key != "tracking"}

    def labels(self) -> dict[str, str]:
        """Model, seed, device and versions, as far as they are known."""
        environment = self.environment
        program, device = environment.get("nas", {}), environment.get("device", {})
        labels = {
            "nas.search_id": self.id,
            "nas.model": self.config.model.name,
            "nas.seed": self.config.seed,
            "nas.version": program.get("version"),
            "nas.commit": program.get("commit"),
            "nas.device": device.get("name") or device.get("type"),
            "version.python": environment.get("python"),
            **{f"version.{name}": version for name, version in environment.get("packages", {}).items()},
        }
        return {key: str(value) for key, value in labels.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A search as it stood after one of its trials.

    Attributes:
        trials: All until then; the last is the one to tell of.
        goal: What is optimised, within which budgets.
        hypervolume: Of the front until then; None after the first trial.
    """

    trials: Sequence[Trial]
    goal: Goal
    hypervolume: float | None

    @property
    def trial(self) -> Trial:
        """The one to tell of."""
        return self.trials[-1]

    def readings(self) -> dict[str, float]:
        """Numbers for curves over trials, in the natural direction: only those that there are, and finite ones."""
        front = front_of(self.trials, self.goal)
        numbers = {name: measurement.value for name, measurement in self.trial.measurements.items()}
        if self.hypervolume is not None:
            numbers["hypervolume"] = self.hypervolume
        numbers["front_size"] = float(len(front))
        numbers |= best_of(front, self.goal)
        numbers |= {
            "feasible": float(self.goal.is_eligible(self.trial)),
            "duration_s": self.trial.duration_s,
            "num_failed": float(sum(trial.state is TrialState.FAILED for trial in self.trials)),
        }
        return {name: number for name, number in numbers.items() if math.isfinite(number)}


class EndState(StrEnum):
    """How a search ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    STOPPED = "stopped"
    """Somebody interrupted it, and may let it go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of a search.

    Attributes:
        state: How it ended.
        reason: Why, where it failed.
        results: What it found, confirmed: numbers may differ from those told before. None unless COMPLETE.
        folder: Of its run; None where it has none here.
    """

    state: EndState
    reason: str = ""
    results: Results | None = None
    folder: Path | None = None

    def files(self) -> list[Path]:
        """What is worth keeping of the run's folder, as far as it is there."""
        if self.folder is None:
            return []
        names = ("front.json", "config.yaml", "environment.json", "report.html")
        return [path for name in names if (path := self.folder / name).is_file()]


class Tracker(Protocol):
    """Keeps a record of one search. Any method may raise anything: it is for the caller to go on without it."""

    def begin(self, search: TrackedSearch) -> int:
        """Opens the record of the search: a new one, or the one that there is.

        Returns:
            How many trials it holds already.
        """

    def add(self, standing: Standing) -> None:
        """Records the trial that follows."""

    def end(self, ending: Ending) -> None:
        """Says how the search ended, and lets go of the record; nothing is told after that."""


def standings(trials: Sequence[Trial], goal: Goal, *, first: int) -> Iterator[Standing]:
    """How a search stood after each of its trials.

    Args:
        trials: Of the search, the supernet's first.
        goal: What it optimises.
        first: Number of the first trial to tell of.
    """
    if first >= len(trials):
        return
    volumes = hypervolume_while_under_way(trials, goal)
    for number in range(first, len(trials)):
        yield Standing(trials=trials[: number + 1], goal=goal, hypervolume=volumes[number])


def best_of(front: Sequence[Trial], goal: Goal) -> dict[str, float]:
    """The best value of each objective on a front, as ``best/<objective>``; empty for an empty front."""
    return {
        f"best/{objective.name}": objective.natural(min(objective.minimised(one.measurements) for one in front))
        for objective in goal.objectives
        if front
    }


def flattened(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and the text of their values: ``objectives.0.name`` for what is in a list of sections."""
    for key, value in record.items():
        if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
