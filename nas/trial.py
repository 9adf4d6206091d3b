"""A trial: one sub-network with what was measured on it and how it ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from evaluators.base import Measurement
from search_spaces.base import Candidate
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


class TrialState(StrEnum):
    """How a trial ended. A trial that is still running is not stored: after a crash it is simply asked again."""

    COMPLETE = "complete"
    FAILED = "failed"


class Judged(Protocol):
    """What fronts, budgets and picks look at: how a trial ended and what was measured, not what was kept."""

    @property
    def number(self) -> int:
        """Position in the search, from 0."""

    @property
    def source(self) -> str:
        """Who proposed it."""

    @property
    def state(self) -> TrialState:
        """How it ended."""

    @property
    def fidelity(self) -> float:
        """Share of the evaluation examples used, in (0, 1]."""

    @property
    def measurements(self) -> Mapping[str, Measurement]:
        """By name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One sub-network, judged.

    Attributes:
        number: Position in the search, from 0.
        candidate: Its point in the search space; None where it came from outside the space.
        sub_network: What was kept.
        source: Who proposed it: ``supernet``, a seed such as ``fisher``, or a strategy such as ``nsga2``.
        state: COMPLETE, or FAILED with a ``reason``.
        measurements: By name; empty when FAILED before anything was measured.
        fidelity: Share of the evaluation examples used, in (0, 1].
        reason: One sentence; empty when COMPLETE.
        duration_s: Wall time spent on it.
    """

    number: int
    candidate: Candidate | None
    sub_network: SubNetwork
    source: str
    state: TrialState
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    fidelity: float = 1.0
    reason: str = ""
    duration_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, as ``front.json`` and ``nas trials --json`` write it."""
        return {
            "number": self.number,
            "sub_network": self.sub_network.to_json(),
            "candidate": None if self.candidate is None else list(self.candidate),
            "source": self.source,
            "state": str(self.state),
            "fidelity": self.fidelity,
            "measurements": {name: measurement.to_json() for name, measurement in self.measurements.items()},
            "reason": self.reason,
            "duration_s": self.duration_s,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], shape: SupernetShape) -> "Trial":
        """The inverse of ``to_json``."""
        return cls(
            number=record["number"],
            candidate=None if record["candidate"] is None else tuple(record["candidate"]),
            sub_network=SubNetwork.from_json(record["sub_network"], shape),
            source=record["source"],
            state=TrialState(record["state"]),
            measurements={name: Measurement.from_json(m) for name, m in record["measurements"].items()},
            fidelity=record["fidelity"],
            reason=record["reason"],
            duration_s=record["duration_s"],
        )


class RecordedMeasurements(Mapping[str, Measurement]):
    """Measurements as JSON has them, each read when it is first asked for: of many, a front needs two or three.

    Args:
        records: By name, what ``Measurement.to_json`` made.
    """

    __slots__ = ("_read", "_records")

    def __init__(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self._records = records
        self._read: dict[str, Measurement] = {}

    def __getitem__(self, name: str) -> Measurement:
        if name not in self._read:
            self._read[name] = Measurement.from_json(self._records[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A trial but for its sub-network, which is most of its size and most of the work of reading it.

    Attributes:
        number: As a trial's, like the next four.
        source: Who proposed it.
        state: How it ended.
        fidelity: Share of the evaluation examples used.
        measurements: By name.
        record: What it was read from: as ``Trial.to_json`` has it, with some entries missing.
    """

    number: int
    source: str
    state: TrialState
    fidelity: float
    measurements: Mapping[str, Measurement]
    record: Mapping[str, Any]

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Outcome":
        """Of what ``Trial.to_json`` made; ``sub_network`` and ``candidate`` may be missing."""
        return cls(
            number=record["number"],
            source=record["source"],
            state=TrialState(record["state"]),
            fidelity=record["fidelity"],
            measurements=RecordedMeasurements(record["measurements"]),
            record=record,
        )
