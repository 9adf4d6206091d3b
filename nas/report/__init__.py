"""The report of a search: one HTML file that needs no network, and its figures as PNG."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.front import hypervolume_by_trial
from nas.report.data import page_data
from nas.report.figures import draw_front, draw_hypervolume
from nas.report.page import render_page
from nas.report.run import ReportError, Run, gather
from nas.results import Results

__all__ = ["ReportError", "ReportFiles", "chart_data", "report_page", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """What was written.

    Attributes:
        html: The page; it holds everything it shows.
        figures: The PNG files.
    """

    html: Path
    figures: tuple[Path, ...]


def write_report(folder: Path, results: Results, *, device: str | None = None) -> ReportFiles:
    """Writes ``report.html``, ``figures/front.png`` and ``figures/hypervolume.png``, each of them all or nothing.

    Args:
        folder: The run directory, as the commands that the page prints shall name it.
        results: Of the search.
        device: What latency was measured on; None leaves it out.

    Returns:
        The paths written.

    Raises:
        ReportError: There is nothing to show, the parts of the run contradict each other, or the folder cannot be
            written to.
    """
    run = _gathered(results)
    page = render_page(run, folder=folder, comparison=results.comparison(), device=device)
    contents = {
        folder / "figures" / "front.png": draw_front(run),
        folder / "figures" / "hypervolume.png": draw_hypervolume(run),
        folder / "report.html": page.encode(),
    }
    try:
        for path, content in contents.items():
            _replace(path, content)
    except OSError as error:
        raise ReportError(
            f"A report is written into its run's folder, but with {folder}: {error}; free some space if the disk is "
            "full, else copy the run to where you can write."
        ) from error
    *figures, html = contents
    return ReportFiles(html=html, figures=tuple(figures))


def report_page(folder: Path, results: Results, *, device: str | None = None) -> str:
    """The page alone. The arguments and errors are those of ``write_report``."""
    return render_page(_gathered(results), folder=folder, comparison=results.comparison(), device=device)


def chart_data(results: Results) -> dict[str, Any]:
    """What the page draws, JSON-ready. The arguments and errors are those of ``write_report``."""
    return page_data(_gathered(results), folder=None)


def _gathered(results: Results) -> Run:
    volumes = hypervolume_by_trial(results.trials, results.goal)
    return gather(front=results.record, trials=results.trials, hypervolume_by_trial=volumes)


def _replace(path: Path, content: bytes) -> None:
    """Writes beside the file and renames, so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
