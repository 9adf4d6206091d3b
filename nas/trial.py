"""A trial: one sub-network with what was measured on it and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evaluators.base import Measurement
from search_spaces.base import Candidate
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


class TrialState(StrEnum):
    """How a trial ended. A trial that is still running is not stored: after a crash it is simply asked again."""

    COMPLETE = "complete"
    FAILED = "failed"


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
