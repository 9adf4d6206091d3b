"""`nas track`: a recorded run, told to a tracker."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from nas.config import SearchConfig, parse_config
from nas.run import Run
from nas.search import is_over
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
    # Final only where the search came to its end: trackers take back neither that nor confirmed numbers.
    has_concluded, ending = _has_concluded(run, config), Ending(state=EndState.STOPPED)
    if has_concluded:
        ending = Ending(state=EndState.COMPLETE, results=run, folder=path)
    tracker = make_tracker(to, dict(_option(text) for text in options))
    search = TrackedSearch.of(config, run.directory.read_environment())
    try:
        first = tracker.begin(search)
        for standing in standings(run.trials, run.goal, first=first):
            tracker.add(standing)
        tracker.end(ending)
    except TrackingError:
        raise
    except Exception as error:  # of an optional framework: anything
        detail = " ".join(str(error).split()) or type(error).__name__
        raise TrackingError(
            f"{to} must be there and take what it is told, but it says: {detail}; see whether it can be reached, and "
            "repeat: what it knows already is not told twice."
        ) from error
    told = f"{to} knows all {len(run.trials)} trials of {search.name}; {max(0, len(run.trials) - first)} are new to it."
    return told if has_concluded else f"{told} The search has not ended: repeat this once it has."


def _has_concluded(run: Run, config: SearchConfig) -> bool:
    """As the front says; that of an earlier version does not, and counts as final once nothing is left to do."""
    recorded = run.record["search"].get("has_concluded")
    if recorded is not None:
        return bool(recorded)
    is_training = run.directory.trainings_path.exists()
    return run.directory.is_of_pruning or (is_over(run.trials, config) and not is_training)


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
