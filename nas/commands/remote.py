"""`nas jobs` and `nas watch`, and what a search of a service has found, as if it were a run here.

Without torch, whose import takes longer than any of these.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from evaluators.base import Measurement
from nas.client import Client, Event
from nas.results import Results, results_of, shape_from_record
from nas.tables import moment, shown
from nas.trial import Trial


def jobs_table(searches: Sequence[Mapping[str, Any]]) -> Table:
    """One row a search, newest first."""
    # In 80 columns there is no room for all: an id is to be copied, and how a search stands is what is looked for.
    table = Table(title=f"{len(searches)} searches", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("id", "name", "owner", "state", "trials", "hypervolume", "submitted"):
        table.add_column(heading, no_wrap=heading in {"id", "state", "trials", "hypervolume"})
    for one in searches:
        volume = "–" if one["hypervolume"] is None else f"{one['hypervolume']:.4g}"
        trials = f"{one['num_trials']}/{one['max_trials'] or '?'}"
        table.add_row(one["id"], one["name"], one["owner"], one["state"], trials, volume, moment(one["created_at"]))
    return table


def watch_search(client: Client, search_id: str, console: Console) -> int:
    """Prints what happens to a search until it is over.

    Returns:
        The exit code: 0 where it is complete, else 1.
    """
    for event in client.watch(search_id):
        console.print(_line(event), highlight=False, soft_wrap=True)
    return 0 if client.get(search_id)["state"] == "complete" else 1


def fetch_results(client: Client, search_id: str, *, maxima: Sequence[str] = (), minima: Sequence[str] = ()) -> Results:
    """What a search has found so far, as if its run lay here.

    Args:
        client: Of the service.
        search_id: Which.
        maxima: Budgets in place of the search's own.
        minima: The same from below.
    """
    front = client.front(search_id, max=maxima, min=minima)
    shape = shape_from_record(client.get(search_id)["environment"]["supernet"])
    return results_of(shape, [Trial.from_json(one, shape) for one in client.trials(search_id)], front)


def _line(event: Event) -> str:
    data = event.data
    if event.kind == "trial":
        objectives = ", ".join(
            f"{name} {shown(Measurement.from_json(one))}"
            for name, one in data["measurements"].items()
            if "/" not in name
        )
        return f"{event.number}: trial {data['number']} ({data['source']}) {data['reason'] or objectives}"
    if event.kind == "front":
        members = ", ".join(map(str, data["trials"]))
        return f"{event.number}: front {members}; hypervolume {data['hypervolume']:.4g}"
    if event.kind == "log":
        return f"{event.number}: {data['text']}"
    more = " ".join(str(data[key]) for key in ("worker", "reason") if data.get(key))
    return f"{event.number}: {data['job']} {data['state']} {more}".rstrip()
