"""The report's figures as PNG: the front, and the hypervolume over trials.

Drawn on Figure objects of their own; neither pyplot nor matplotlib's global settings are touched.
"""

import io
import math
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.report.data import PALETTE, source_colours
from nas.report.quantities import Quantity
from nas.report.run import Point, Run

_INK, _FAINT_INK, _GRID, _BUDGET = "#1c2430", "#5b6675", "#e4e8ee", "#b3261e"
_MARKERS = {"feasible": "o", "infeasible": "o", "partial": "D", "failed": "x"}
_FILLED = frozenset({"feasible", "partial"})


def draw_front(run: Run) -> bytes:
    """Quality against cost: all trials, the front with 95 % intervals, the supernet and the budgets, as PNG."""
    figure, axes = _canvas()
    x, y = run.x, run.y
    colours = source_colours(run)
    _draw_others(axes, run, colours)
    _draw_members(axes, run, colours)
    for _, across, up in _placed([run.supernet], x, y):
        axes.plot(across, up, marker="*", markersize=15, color=_INK, linestyle="none", zorder=4)
    for quantity, draw in ((x, axes.axvline), (y, axes.axhline)):
        if quantity.budget is not None:
            draw(quantity.budget, color=_BUDGET, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
    if x.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    if y.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(_axis_label(x), color=_FAINT_INK)
    axes.set_ylabel(_axis_label(y), color=_FAINT_INK)
    _title(axes, f"{run.search['name']}: {len(run.front)} of {len(run.trials)} trials on the front")
    _add_legend(axes, run, colours)
    return _png(figure)


def draw_hypervolume(run: Run) -> bytes:
    """The hypervolume after each trial, as PNG."""
    figure, axes = _canvas()
    heights = [math.nan if value is None else value for value in run.hypervolume]
    axes.step(range(1, len(heights) + 1), heights, where="post", color=PALETTE[0], linewidth=2)
    axes.set_xlabel("trials", color=_FAINT_INK)
    axes.set_ylabel("hypervolume of the front (higher is better)", color=_FAINT_INK)
    _title(axes, f"{run.search['name']}: hypervolume by trial")
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    figure.supxlabel(
        _plain(f"reference point: {reference_text(run)}"), x=0.99, ha="right", fontsize=8, color=_FAINT_INK
    )
    return _png(figure)


def reference_text(run: Run) -> str:
    """The reference point in words, such as ``decode latency 5.2 ms, accuracy 0.3``."""
    return ", ".join(
        f"{quantity.title} {quantity.with_unit(f'{run.reference_point[quantity.name]:.4g}')}"
        for quantity in run.quantities
        if quantity.name in run.reference_point
    )


def _draw_others(axes: Axes, run: Run, colours: dict[str, str]) -> None:
    for point, across, up in _placed(run.trials, run.x, run.y):
        if point.state in _MARKERS:
            colour = colours[point.source]
            axes.plot(
                across,
                up,
                linestyle="none",
                marker=_MARKERS[point.state],
                markersize=5,
                color=colour,
                markerfacecolor=colour if point.state in _FILLED else "none",
                alpha=0.45,
            )


def _draw_members(axes: Axes, run: Run, colours: dict[str, str]) -> None:
    x, y = run.x, run.y
    members = sorted(_placed(run.front, x, y), key=lambda member: member[1])
    if run.is_planar:
        # A staircase: between two members, only the cheaper one is to be had.
        axes.step(
            [across for _, across, _ in members],
            [up for _, _, up in members],
            where="post" if x.direction == "minimize" else "pre",
            color=_INK,
            linewidth=1.6,
            zorder=2,
        )
    for point, across, up in members:
        axes.errorbar(
            across,
            up,
            xerr=_errors(point, x),
            yerr=_errors(point, y),
            marker="o",
            markersize=8,
            markerfacecolor=colours[point.source],
            markeredgecolor=_INK,
            ecolor=_FAINT_INK,
            elinewidth=1,
            capsize=2,
            linestyle="none",
            zorder=3,
        )


def _errors(point: Point, quantity: Quantity) -> list[list[float]] | None:
    """What matplotlib wants: one column of distances below and above."""
    reading = point.readings[quantity.name]
    if reading.value is None or reading.low is None or reading.high is None:
        return None
    return [[max(0.0, reading.value - reading.low)], [max(0.0, reading.high - reading.value)]]


def _placed(points: Iterable[Point], x: Quantity, y: Quantity) -> list[tuple[Point, float, float]]:
    """The points that have both coordinates, with them."""
    places = [(point, point.value(x), point.value(y)) for point in points]
    return [(point, across, up) for point, across, up in places if across is not None and up is not None]


def _add_legend(axes: Axes, run: Run, colours: dict[str, str]) -> None:
    def handle(**style: Any) -> Line2D:
        return Line2D([], [], **{"linestyle": "none", "marker": "o", "color": _FAINT_INK, **style})

    entries: dict[str, Line2D] = {
        "front, 95 % interval": handle(linestyle="-", color=_INK, markerfacecolor="white", markersize=8)
    }
    entries |= {_plain(source): handle(color=colours[source]) for source in run.sources}
    states = {point.state for point in run.trials if point.readings}
    entries |= {"outside the budget": handle(markerfacecolor="none")} if "infeasible" in states else {}
    entries |= {"fewer examples": handle(marker="D")} if "partial" in states else {}
    entries |= {"failed": handle(marker="x")} if "failed" in states else {}
    entries["supernet"] = handle(marker="*", markersize=12, color=_INK)
    for quantity in (run.x, run.y):
        if quantity.budget is not None:
            entries[_plain(quantity.budget_text)] = handle(linestyle=(0, (5, 3)), marker="", color=_BUDGET)
    axes.legend(
        entries.values(),
        entries.keys(),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
    )


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_FAINT_INK, labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_GRID)
    return figure, axes


def _title(axes: Axes, text: str) -> None:
    axes.set_title(_plain(text), loc="left", fontsize=12, fontweight="bold", color=_INK, pad=12)


def _axis_label(quantity: Quantity) -> str:
    better = {"minimize": ", lower is better", "maximize": ", higher is better", None: ""}[quantity.direction]
    return _plain(quantity.label + better)


def _plain(text: str) -> str:
    """The text as it stands: a dollar sign in a user's name starts no formula."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
