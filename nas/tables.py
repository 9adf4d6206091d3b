"""Fronts and trials as tables for a terminal."""

import time
from collections.abc import Mapping, Sequence

from rich.table import Table

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
    """One row a trial: who proposed it, what was measured, what is kept.

    Beside a score that training won back stand the score before it, and the trial's place among the recovered ones
    before it and after.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("from")
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
        table.add_row(str(trial.number), trial.source, *cells, *_kept(trial), *in_matrices)
    return table


def ranks_by(trials: Sequence[Trial], objective: Objective) -> dict[int, tuple[int, int]]:
    """Places before recovery and after it, by the number of the trial; empty where nothing was recovered."""
    return ranks(trials, objective.name, maximize=objective.direction == "maximize")


def _cells(
    run: Results, trial: Trial, names: Sequence[str], places: Mapping[str, Mapping[int, tuple[int, int]]]
) -> list[str]:
    cells = []
    for name in names:
        measurement, supernet = trial.measurements.get(name), run.supernet.measurements.get(name)
        failed = "failed" if trial.state is TrialState.FAILED else "–"
        cells.append(failed if measurement is None else shown(measurement))
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
