"""Fronts and trials as tables for a terminal."""

import time
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, ConsoleOptions
from rich.table import Column, Table

from evaluators.base import BEFORE_RECOVERY_SUFFIX, Measurement
from nas.objectives import Objective
from nas.recovered import ranks
from nas.results import Results
from nas.trial import Trial, TrialState
from search_spaces.low_rank import weights_kept

_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (0.0, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (0.0, "kB")),
    "parameters": ((1e9, "B"), (1e6, "M"), (0.0, "k")),
    "flops": ((1e12, "T"), (1e9, "G"), (0.0, "M")),
}
"""Costs: for each unit, the least value that is shown in which one."""
_DIVISORS = {
    "µs": 1e-6,
    "kB": 1e3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "B": 1e9,
    "T": 1e12,
    "ms": 1e-3,
    "s": 1.0,
    "MB": 1e6,
    "GB": 1e9,
}
_UNLIMITED = 100_000
"""Characters in a line: more than any table needs."""
_NARROW_TEXT = 10
"""Characters in a line: texts are folded no narrower than a date."""


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table without cutting anything off, as rich does where numbers have no room.

    Where no terminal shows it, a table is as wide as it needs. In a terminal that is too narrow its columns move
    together, and headings and then texts are folded, no further than it takes; where that is not enough the table is
    wider than the terminal.

    Args:
        table: Its numbers are in columns that are justified to the right, or not wrapped. It is changed to fit.
        console: Where to; None for standard output.
    """
    console = console or Console()
    options = console.options.update(width=_UNLIMITED)
    room = console.width if console.is_terminal else _UNLIMITED
    if console.measure(table, options=options).maximum > room:
        table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
        table.show_edge = table.pad_edge = False
    width = console.measure(table, options=options).maximum
    excess = max(0, width - room)
    for column in sorted(table.columns, key=lambda column: column.justify != "right"):
        least, most = _widths(column, console, options)
        column.width = max(least, most - excess)
        column.overflow = "fold"
        excess -= most - column.width
        width -= most - column.width
    table.width = width
    console.print(table, crop=False)


def _widths(column: Column, console: Console, options: ConsoleOptions) -> tuple[int, int]:
    """How narrow a column may become and how wide it is when nothing is folded, in characters."""
    heading, *cells = (console.measure(part, options=options) for part in (column.header, *column.cells))
    most = max(part.maximum for part in (heading, *cells))
    if column.no_wrap:
        return most, most
    if column.justify == "right":
        return max([heading.minimum, *(cell.maximum for cell in cells)]), most
    longest_word = max((cell.minimum for cell in cells), default=0)
    return max(heading.minimum, min(longest_word, _NARROW_TEXT)), most


def shown(measurement: Measurement) -> str:
    """A measurement as people read it: 4.12 ms, 0.823, 5.3M, with half its interval where it has one."""
    value, low, high = measurement.value, *(measurement.ci95 or (measurement.value, measurement.value))
    suffix = next((name for least, name in _SCALES.get(measurement.unit, ()) if abs(value) >= least), "")
    divisor = _DIVISORS.get(suffix, 1.0)
    interval = f" ±{(high - low) / 2 / divisor:.2g}" if measurement.ci95 else ""
    return f"{value / divisor:.4g}{interval}{' ' if suffix in {'s', 'ms', 'µs'} else ''}{suffix}"


def moment(seconds: float | None) -> str:
    """A time since 1970 as people read it here; a dash for none."""
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def trials_table(run: Results, trials: Sequence[Trial], *, title: str) -> Table:
    """One row a trial: who proposed it, how it ended where one failed, what was measured, what is kept.

    Beside a score that training won back stand the score before it, and the trial's place among the recovered ones
    before it and after.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("from")
    has_failed = any(trial.state is TrialState.FAILED for trial in trials)
    if has_failed:
        table.add_column("state")
    objectives = [objective.name for objective in run.goal.objectives]
    limited = [one.name for one in run.goal.constraints if one.name not in objectives]
    places = {one.name: found for one in run.goal.objectives if (found := ranks_by(run.trials, one))}
    for name in (*objectives, *limited):
        table.add_column(name.replace("_", " "), justify="right")
        if name in places:
            table.add_column("before", justify="right")
            table.add_column("rank", justify="right")
        supernet = run.supernet.measurements.get(name)
        if supernet is not None and supernet.unit in _SCALES:
            table.add_column("×", justify="right")
    has_ranks = any(trial.sub_network.ranks_LM is not None for trial in trials)
    for heading in ("layers", "heads", "neurons", *(["matrices"] if has_ranks else [])):
        table.add_column(heading, justify="right")
    for trial in trials:
        in_matrices = [f"{weights_kept(trial.sub_network):.0%}"] if has_ranks else []
        cells = _cells(run, trial, (*objectives, *limited), places)
        state = [str(trial.state)] if has_failed else []
        table.add_row(str(trial.number), trial.source, *state, *cells, *_kept(trial), *in_matrices)
    return table


def failures(trials: Sequence[Trial]) -> list[str]:
    """One line for each trial that failed, with its reason."""
    return [
        f"Trial {trial.number} failed: {' '.join(trial.reason.split())}"
        for trial in trials
        if trial.state is TrialState.FAILED
    ]


def ranks_by(trials: Sequence[Trial], objective: Objective) -> dict[int, tuple[int, int]]:
    """Places before recovery and after it, by the number of the trial; empty where nothing was recovered."""
    return ranks(trials, objective.name, maximize=objective.direction == "maximize")


def _cells(
    run: Results, trial: Trial, names: Sequence[str], places: Mapping[str, Mapping[int, tuple[int, int]]]
) -> list[str]:
    cells = []
    for name in names:
        measurement, supernet = trial.measurements.get(name), run.supernet.measurements.get(name)
        cells.append("–" if measurement is None else shown(measurement))
        if name in places:
            before, place = trial.measurements.get(name + BEFORE_RECOVERY_SUFFIX), places[name].get(trial.number)
            cells += ["–" if before is None else shown(before), "–" if place is None else f"{place[0]} → {place[1]}"]
        if supernet is not None and supernet.unit in _SCALES:
            cells.append("" if measurement is None else f"{measurement.value / supernet.value:.2f}")
    return cells


def _kept(trial: Trial) -> tuple[str, str, str]:
    kept, shape = trial.sub_network, trial.sub_network.shape
    dims = f" ({kept.dims_share:.0%})" if kept.cuts_heads else ""
    return (
        f"{len(kept.kept_layers)}/{shape.num_layers}",
        f"{sum(kept.num_heads)}/{shape.num_layers * shape.num_heads}{dims}",
        f"{sum(kept.num_neurons)}/{shape.num_layers * shape.num_neurons}",
    )


def comparison_table(run: Results, trial: Trial, *, title: str) -> Table:
    """The supernet and one trial side by side, one row a measurement; fits a narrow terminal."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("supernet", trial.source, "×"):
        table.add_column(heading, justify="right")
    for name, measurement in trial.measurements.items():
        supernet = run.supernet.measurements.get(name.removesuffix(BEFORE_RECOVERY_SUFFIX))
        if supernet is not None:
            times = f"{measurement.value / supernet.value:.2f}" if measurement.unit in _SCALES else ""
            table.add_row(name.replace("_", " "), shown(supernet), shown(measurement), times)
    for heading, whole, kept in zip(("layers", "heads", "neurons"), _kept(run.supernet), _kept(trial), strict=True):
        table.add_row(heading, whole.partition("/")[0], kept.partition("/")[0], "")
    return table


def measurements_table(measurements: Mapping[str, Measurement]) -> Table:
    """One row a measurement, with what a reader must know about it."""
    table = Table()
    for heading in ("measurement", "value", "n", "p90", "note"):
        table.add_column(heading, justify="left" if heading in {"measurement", "note"} else "right")
    for name, measurement in measurements.items():
        p90 = "" if measurement.p90 is None else shown(Measurement(value=measurement.p90, unit=measurement.unit))
        table.add_row(name, shown(measurement), str(measurement.n), p90, ", ".join(measurement.flags).replace("_", " "))
    return table
