"""`nas track`: a recorded run, told to a tracker."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from nas.config import parse_config
from nas.run import Run
from nas.tracking import make_tracker
from nas.tracking.base import Ending, EndState, TrackedSearch, standings
from nas.tracking.errors import TrackingError


def track_run(path: Path, *, to: str, options: Sequence[str]) -> str:
    """Tells a tracker what it does not know of a run yet.

    Args:
        path: The run.
        to: The tracker's name.
        options: ``key=value`` each, as a config would give them.

    Returns:
        One line on what was told.

    Raises:
        TrackingError: The tracker is unknown, not installed, or does not take it.
        ValueError: Another subclass that says what is wrong with the run.
    """
    run = Run.open(path)
    config = parse_config(run.directory.read_config_text())
    tracker = make_tracker(to, dict(_option(text) for text in options))
    search = TrackedSearch.of(config, run.directory.read_environment())
    try:
        first = tracker.begin(search)
        for standing in standings(run.trials, run.goal, first=first):
            tracker.add(standing)
        tracker.end(Ending(state=EndState.COMPLETE, results=run, folder=path))
    except TrackingError:
        raise
    except Exception as error:  # of an optional framework: anything
        detail = " ".join(str(error).split()) or type(error).__name__
        raise TrackingError(
            f"{to} must be there and take what it is told, but it says: {detail}; see whether it can be reached, and "
            "repeat: what it knows already is not told twice."
        ) from error
    return f"{to} knows all {len(run.trials)} trials of {search.name}; {max(0, len(run.trials) - first)} are new to it."


def _option(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise TrackingError(
            f"--set must have the form key=value, got {text!r}; write --set storage=sqlite:///optuna.db."
        )
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise TrackingError(f"--set must give a YAML value, got {text!r}; quote it.") from error
