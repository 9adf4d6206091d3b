"""The JSON that the page embeds: points with their numbers as text, and sub-networks as pictures in short strings.

A picture is, for each layer, one character a head (``1`` kept, ``0`` dropped) and one hexadecimal digit a bin of
neurons: the share kept, from ``0`` (none) to ``f`` (all). That stays small for long searches over large models. Where
matrices are factorised, their ranks come besides, 0 for a matrix that is not.

Legend: L layers, N neurons, B bins.
"""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.report.run import Point, Run
from search_spaces.sub_network import SubNetwork

NUM_BINS = 48

# After Okabe and Ito, for colour-blind readers; the blue is lighter, to show on a dark page too. The busiest source
# takes the first.
PALETTE = ("#1f86c7", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c8c8c")


def source_colours(run: Run) -> dict[str, str]:
    """A colour for each source of trials; they repeat from the eighth on."""
    return {source: PALETTE[index % len(PALETTE)] for index, source in enumerate(run.sources)}


def export_command(folder: Path, number: int) -> str:
    """What to type to get the files of a trial."""
    return f"nas export {shlex.quote(str(folder))} {number} --to huggingface --out trial-{number}"


def page_data(run: Run, *, folder: Path | None) -> dict[str, Any]:
    """Everything that the page's script draws, JSON-ready and without NaN.

    Args:
        run: What to show.
        folder: The run directory, for the commands; None for a run without one, and without commands.
    """
    shape = run.supernet.sub_network.shape
    return {
        "quantities": {
            quantity.name: {
                "label": quantity.label,
                "title": quantity.title,
                "unit": quantity.unit,
                "stored_unit": quantity.stored_unit,
                "factor": quantity.factor,
                "is_cost": quantity.is_cost,
                "bound": quantity.bound,
                "logarithmic": quantity.logarithmic,
                "direction": quantity.direction,
                "budget": quantity.budget,
            }
            for quantity in run.quantities
        },
        "objectives": list(run.objectives),
        "x": run.x.name,
        "y": run.y.name,
        "colours": source_colours(run),
        "shape": {
            "num_heads": shape.num_heads,
            "heads_per_group": shape.heads_per_group,
            "neurons": shape.num_neurons,
            "matrices": [[matrix.name, matrix.break_even_rank] for matrix in shape.matrices],
        },
        "points": [_point(run, point, folder) for point in (*run.trials, run.supernet)],
        "first": run.trials.index(run.best) if run.best else len(run.trials),
        "hypervolume": list(run.hypervolume),
        "elapsed_s": list(run.elapsed_s),
    }


def picture(sub_network: SubNetwork) -> list[dict[str, Any]]:
    """What each layer keeps, as this module's first lines describe it."""
    layers: list[dict[str, Any]] = [
        {"heads": "".join("01"[kept] for kept in heads_H), "bins": bins, "neurons": count}
        for heads_H, bins, count in zip(
            sub_network.heads_LH.astype(int).tolist(),
            _bins(sub_network.neurons_LN),
            sub_network.num_neurons,
            strict=True,
        )
    ]
    if sub_network.ranks_LM is None:
        return layers
    return [{**layer, "ranks": ranks_M} for layer, ranks_M in zip(layers, sub_network.ranks_LM.tolist(), strict=True)]


def _bins(neurons_LN: NDArray[np.bool_]) -> list[str]:
    """One string a layer. All layers at once: charts of a thousand trials are made while somebody waits."""
    num_neurons = neurons_LN.shape[1]
    num_bins = min(NUM_BINS, num_neurons)
    sizes_B = np.full(num_bins, num_neurons // num_bins)
    sizes_B[: num_neurons % num_bins] += 1
    starts_B = np.cumsum(sizes_B) - sizes_B
    kept_LB = np.add.reduceat(neurons_LN.astype(np.int64), starts_B, axis=1)
    # Only an empty bin reads 0 and only a full one f, however near to them the others come.
    digits_LB = np.clip(np.rint(kept_LB / sizes_B * 15).astype(int), 1, 14)
    digits_LB[kept_LB == 0] = 0
    digits_LB[kept_LB == sizes_B] = 15
    return ["".join("0123456789abcdef"[digit] for digit in digits_B) for digits_B in digits_LB.tolist()]


def _point(run: Run, point: Point, folder: Path | None) -> dict[str, Any]:
    command = None
    if folder is not None and point.number is not None and not point.reason:
        command = export_command(folder, point.number)
    readings = {}
    for quantity in run.quantities:
        if (reading := point.readings.get(quantity.name)) is not None:
            ratio = run.ratio(point, quantity)
            readings[quantity.name] = {
                "value": reading.value,
                "low": reading.low,
                "high": reading.high,
                "text": quantity.with_unit(reading.text),
                "ratio": None if ratio is None else f"{ratio:.2f}×",
                "flags": list(reading.flags),
            }
    return {
        "number": point.number,
        "title": point.title,
        "source": point.source,
        "state": point.state,
        "fidelity": point.fidelity,
        "reason": point.reason,
        "readings": readings,
        "kept": {name: f"{share:.0%}" for name, share in point.kept.items()},
        "layers": picture(point.sub_network),
        "command": command,
    }
