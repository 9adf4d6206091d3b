"""A search and its repetition, compared: what agrees and what differs."""

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


def _measurement(name: str, pairs: Sequence[tuple[Trial, Trial]]) -> Finding:
    both = [
        (one.measurements[name].value, other.measurements[name].value)
        for one, other in pairs
        if name in one.measurements and name in other.measurements
    ]
    differences = [abs(now - before) / max(abs(before), abs(now), 1e-300) for before, now in both]
    largest = max(differences, default=0.0)
    detail = f"in {len(both)} shared trials at most {largest:.2g} apart, relatively"
    if largest <= SAME:
        detail = f"the same in {len(both)} shared trials"
    return Finding(what=name, agrees=largest <= SAME, detail=detail)


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
