"""The report as one HTML page: template, style, script and Plotly all inside, so that it opens without a network."""

import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from nas.report.data import export_command, page_data, source_colours
from nas.report.figures import reference_text
from nas.report.run import Point, Run
from nas.report.static import plotly_script, shared_file

MODULES = ("element.js", "picture.js", "panel.js", "charts.js", "legend.js")
"""Shared with the dashboard, in an order in which each comes after those that it imports."""


def render_page(run: Run, *, folder: Path, comparison: str, device: str | None) -> str:
    """The page.

    Args:
        run: What to show.
        folder: The run directory, as the commands shall name it.
        comparison: One sentence that sets the front against pruning every layer to the same width.
        device: What latency was measured on; None leaves it out.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.from_string(_package_file("report.html.j2")).render(
        run=run,
        facts=_facts(run, device),
        verdict=verdict(run),
        comparison=comparison,
        reference=reference_text(run),
        colours=source_colours(run),
        failed=[point for point in run.trials if point.state == "failed"],
        rows=[(run.trials.index(point), point) for point in run.front],
        parameters=next((quantity for quantity in run.quantities if quantity.stored_unit == "parameters"), None),
        commands={
            point.number: export_command(folder, point.number) for point in run.front if point.number is not None
        },
        data=page_data(run, folder=folder),
        # Files of this package, which need no escape.
        style=Markup(shared_file("base.css") + _package_file("report.css")),
        script=Markup(_joined([*map(shared_file, MODULES), _package_file("report.js")])),
        plotly=Markup(plotly_script()),
    )


def verdict(run: Run) -> str:
    """What came out, in a sentence or two."""
    budget = ", ".join(quantity.budget_text for quantity in run.quantities if quantity.budget_text)
    within = f"within the budget ({budget})" if budget else "by quality"
    if run.best is None:
        return f"The front is empty: none of the {len(run.trials)} trials is usable {within}."
    members = "1 sub-network" if len(run.front) == 1 else f"{len(run.front)} sub-networks"
    return f"The front holds {members} out of {len(run.trials)} trials. The best {within} is {_praise(run, run.best)}."


def _praise(run: Run, best: Point) -> str:
    ratio = run.ratio(best, run.x)
    times = "" if ratio is None else f", {ratio:.2f}× the supernet's"
    quality, cost = (
        f"{quantity.title} {quantity.with_unit(best.readings[quantity.name].text)}" for quantity in (run.y, run.x)
    )
    return f"trial {best.number}: {quality} at {cost}{times}"


def _facts(run: Run, device: str | None) -> dict[str, str]:
    facts = {"Model": str(run.search["model"]), "Seed": str(run.search["seed"]), "Trials": str(len(run.trials))}
    return facts if device is None else {**facts, "Device": device}


def _package_file(name: str) -> str:
    return resources.files("nas.report").joinpath(name).read_text(encoding="utf-8")


def _joined(modules: Iterable[str]) -> str:
    """One script of several modules: a page that loads nothing cannot import. No two may declare the same name."""
    text = "\n".join(modules)
    text = re.sub(r"^import\b[^;]*;\n", "", text, flags=re.MULTILINE)
    return '"use strict";\n(() => {\n' + re.sub(r"^export ", "", text, flags=re.MULTILINE) + "})();"
