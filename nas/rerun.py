"""A search and its repetition, compared: what agrees and what differs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.results import Results
from nas.trial import Trial

SAME = 1e-6
"""Relative difference up to which two values count as equal: the order of additions is not the same everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing compared.

    Attributes:
        what: What it is.
        agrees: Whether both are the same in it.
        detail: How it was, and how it is.
    """

    what: str
    agrees: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"what": self.what, "agrees": self.agrees, "detail": self.detail}


def compare(
    before: Results, now: Results, *, environments: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[Finding]:
    """Compares a search with its repetition from the same config.

    Args:
        before: What was found first.
        now: What the repetition found.
        environments: Where each ran, as ``describe_environment`` has it.
    """
    pairs = _shared(before.trials, now.trials)
    return [
        *_environment(*environments),
        _sub_networks(before.trials, now.trials),
        _states(pairs),
        *(_measurement(name, pairs) for name in before.supernet.measurements if name in now.supernet.measurements),
        _front(before, now),
    ]


def _environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Finding]:
    versions = {name: (version, now["packages"].get(name)) for name, version in before["packages"].items()}
    versions |= {"python": (before["python"], now["python"]), "nas": (before["nas"]["commit"], now["nas"]["commit"])}
    other = [f"{name} {was} → {is_now}" for name, (was, is_now) in versions.items() if was != is_now]
    devices = [str(one["device"].get("name")) for one in (before, now)]
    threads = [one["torch_num_threads"] for one in (before, now)]
    return [
        Finding(what="versions", agrees=not other, detail="; ".join(other) or f"all {len(versions)} the same"),
        Finding(
            what="device",
            agrees=devices[0] == devices[1] and threads[0] == threads[1],
            detail=" → ".join(f"{device}, {number} threads" for device, number in zip(devices, threads, strict=True)),
        ),
    ]


def _sub_networks(before: Sequence[Trial], now: Sequence[Trial]) -> Finding:
    same = [one.sub_network == other.sub_network for one, other in zip(before, now, strict=False)]
    agrees = all(same) and len(before) == len(now)
    detail = f"{sum(same)} of {len(before)} trials have the same sub-network"
    if not all(same):
        first = same.index(False)
        detail += f"; from trial {first} on the search took another way, as it does where it is guided by what varies"
    elif len(before) != len(now):
        detail += f"; there are {len(now)} now"
    return Finding(what="sub-networks", agrees=agrees, detail=detail)


def _shared(before: Sequence[Trial], now: Sequence[Trial]) -> list[tuple[Trial, Trial]]:
    """Trials of the same sub-network, whatever their numbers."""
    by_sub_network = {trial.sub_network: trial for trial in now}
    return [(trial, by_sub_network[trial.sub_network]) for trial in before if trial.sub_network in by_sub_network]


def _states(pairs: Sequence[tuple[Trial, Trial]]) -> Finding:
    other = [(one, again) for one, again in pairs if one.state is not again.state]
    detail = f"{len(pairs) - len(other)} of {len(pairs)} shared trials ended alike"
    if other:
        one, again = other[0]
        why = " ".join((again.reason or one.reason).split())
        detail += f"; trial {one.number} was {one.state} and is now {again.state}: {why}"
    return Finding(what="states", agrees=not other, detail=detail)


def _measurement(name: str, pairs: Sequence[tuple[Trial, Trial]]) -> Finding:
    both = [
        (_value(one, name), _value(other, name))
        for one, other in pairs
        if name in one.measurements or name in other.measurements
    ]
    num_turned = sum(math.isfinite(before) != math.isfinite(now) for before, now in both)
    finite = [(before, now) for before, now in both if math.isfinite(before) and math.isfinite(now)]
    largest = max((abs(now - before) / max(abs(before), abs(now), 1e-300) for before, now in finite), default=0.0)
    parts = [
        *([f"{num_turned} of {len(both)} shared trials have a number in one search alone"] if num_turned else []),
        *([f"in {len(finite)} shared trials at most {largest:.2g} apart, relatively"] if largest > SAME else []),
    ]
    return Finding(what=name, agrees=not parts, detail="; ".join(parts) or f"the same in {len(both)} shared trials")


def _value(trial: Trial, name: str) -> float:
    """NaN where it is not finite, as it is stored, and where it was not measured."""
    return trial.measurements[name].value if name in trial.measurements else math.nan


def _front(before: Results, now: Results) -> Finding:
    members = [{trial.sub_network for trial in results.front()} for results in (before, now)]
    shared = members[0] & members[1]
    volumes = [float(results.record["hypervolume"]) for results in (before, now)]
    return Finding(
        what="front",
        agrees=members[0] == members[1],
        detail=(
            f"{len(shared)} of {len(members[0])} members are on the new front of {len(members[1])}; "
            f"hypervolume {volumes[0]:.4g} → {volumes[1]:.4g}"
        ),
    )
