"""What must hold of a service to which faults have happened: nothing lost, nothing twice, no gaps, taken up in time."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service_processes import Followed, Users
from sqlalchemy import func, select
from tormentor import Fault

from nas.service import tables
from nas.service.database import Database

SLACK_S = 5.0
"""Beyond the lease, until a search must have been claimed again."""

Expected = Mapping[str, list[dict[str, Any]]]
"""By config, the trials that a search finds when it is left alone."""


@dataclass(slots=True)
class Findings:
    """What one check found: figures, and what does not hold."""

    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def hold(self, holds: bool, otherwise: str) -> None:
        """Notes what is broken unless it holds."""
        if not holds:
            self.broken.append(otherwise)

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return {"holds": not self.broken, **self.figures, "broken": self.broken}


def judge(found: Findings, url: str, expected: Expected, searches: Sequence[Followed], users: Users) -> None:
    """Nothing lost, nothing twice, no gaps: as the users saw it, and as it stands in the database."""
    for one in searches:
        found.hold(one.state == "complete", f"search {one.id} ended {one.state}: {one.reason}")
        found.hold(without_duration(one.trials) == expected[one.config], f"search {one.id} found other trials")
        found.hold(one.told == list(range(len(one.trials))), f"search {one.id} told of trials {one.told}")
        found.hold(one.heard == list(range(1, len(one.heard) + 1)), f"the user of {one.id} heard {one.heard}")
    with opened(url) as database, database.reading() as connection:
        ids = connection.execute(select(tables.searches.c.id)).scalars().all()
        numbers: dict[str, list[int]] = {search_id: [] for search_id in ids}
        for search_id, number in connection.execute(
            select(tables.events.c.search_id, tables.events.c.number).order_by(tables.events.c.number)
        ):
            numbers[search_id].append(number)
        num_begun = connection.execute(select(func.count()).select_from(tables.begun_trials)).scalar_one()
        printed = connection.execute(select(tables.events.c.data).where(tables.events.c.kind == "log")).scalars()
        complaints = Counter(str(line["text"])[:160] for line in printed if "Error" in line["text"])
    found.hold(sorted(ids) == sorted(one.id for one in searches), f"{len(ids)} searches for {len(searches)} keys")
    for one in searches:
        found.hold(numbers.get(one.id) == one.heard, f"the database has other events of {one.id} than its user heard")
    found.hold(num_begun == 0, f"{num_begun} trials count as begun and not ended")
    found.figures |= {
        "searches": len(searches),
        "trials": sum(len(one.trials) for one in searches),
        "events": sum(len(one.heard) for one in searches),
        "answers_other_than_wanted": dict(users.troubles),
        "errors_in_logs": dict(complaints.most_common(10)),
    }


def judge_reclaims(found: Findings, url: str, faults: Sequence[Fault], *, lease_s: float) -> None:
    """From each kill of a worker at work, or of its process, to the next claim of its search."""
    limit_s = lease_s + SLACK_S
    with opened(url) as database:
        histories = states(database)
    took: dict[str, list[float]] = {}
    num_ended = 0
    for fault in faults:
        for history in histories:
            before = [one for one in history if one[0] <= fault.at]
            after = [one for one in history if one[0] > fault.at]
            if not before or before[-1][1] != "running" or before[-1][2] not in fault.workers:
                continue
            again = next((at for at, state, _ in after if state == "running"), None)
            if again is None:
                num_ended += 1  # its last writes were made in that moment
            else:
                took.setdefault(f"{fault.action} {fault.role}", []).append(again - fault.at)
    late = [f"{name}: {one:.1f} s" for name, values in took.items() for one in values if one > limit_s]
    found.figures |= {
        "fault_to_claim_s": {name: summary(values) for name, values in sorted(took.items())},
        "claims_within_limit": f"{sum(map(len, took.values())) - len(late)} of {sum(map(len, took.values()))}",
        "limit_s": limit_s,
        "ended_in_that_moment": num_ended,
    }
    found.hold(not late, f"claimed later than after {limit_s} s: {', '.join(late)}")


def states(database: Database) -> list[list[tuple[float, str, str]]]:
    """Of every search: when it got into which state, and by which worker."""
    events = tables.events.c
    query = select(events.search_id, events.created_at, events.data).where(events.kind == "state")
    histories: dict[str, list[tuple[float, str, str]]] = {}
    with database.reading() as connection:
        for search_id, at, data in connection.execute(query.order_by(events.search_id, events.number)):
            histories.setdefault(search_id, []).append((at, data["state"], data.get("worker", "")))
    return list(histories.values())


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of what workers write."""
    watched = (tables.searches, tables.trials, tables.begun_trials, tables.events, tables.jobs)
    with database.reading() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in watched
        }


def only_claims_since(before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]) -> bool:
    """Whether nothing but new claims has come: the lease of whoever sleeps now may have run out by then."""
    same = all(before[name] == after[name] for name in ("trials", "begun_trials"))
    new = [row for row in after["events"] if row not in before["events"]]
    return same and all("running" in str(row) for row in new)


def without_duration(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Trials without what differs from run to run."""
    return [{name: value for name, value in trial.items() if name != "duration_s"} for trial in trials]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Of seconds."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    shown = {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }
    return {name: round(value, 2) for name, value in shown.items()} | {"n": len(ordered)}


def tracebacks(folder: Path) -> dict[str, int]:
    """Last lines of tracebacks that the processes have printed, and how often."""
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    found = Counter[str]()
    inside = False
    for line in lines:
        if line.startswith("Traceback"):
            inside = True
        elif inside and line and not line.startswith(" "):
            found[line[:160]] += 1
            inside = False
    return dict(found)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database, closed at the end."""
    database = Database(url)
    try:
        yield database
    finally:
        database.close()
