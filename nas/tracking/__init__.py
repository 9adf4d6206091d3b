"""Trackers: where a search is told of besides its folder. One framework a file, named in ``TRACKERS``.

The config is checked against this file, so it imports no other part.
"""

import difflib
import os
import pkgutil
import typing
from collections.abc import Mapping
from typing import Any, Literal

from nas.tracking.errors import TrackingError

# Named, not imported: the frameworks are optional, and take seconds to import.
TRACKERS = {
    "mlflow": "nas.tracking.mlflow:MlflowTracker",
    "wandb": "nas.tracking.wandb:WandbTracker",
    "optuna": "nas.tracking.optuna:OptunaTracker",
}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Checks options without the framework being there.

    Args:
        name: A key of ``TRACKERS``.
        options: What a config gives it.

    Raises:
        TrackingError: No tracker has that name, or it has no such option, or the value is none for it.
    """
    if name not in TRACKERS:
        raise TrackingError(
            f"A tracker must be one of {', '.join(TRACKERS)}, got {name!r}; try {_near(name, TRACKERS)}."
        )
    constructor = pkgutil.resolve_name(TRACKERS[name]).__init__
    known = {key: hint for key, hint in typing.get_type_hints(constructor).items() if key != "return"}
    for option, value in options.items():
        if option not in known:
            raise TrackingError(
                f"An option of the tracker {name} must be one of {', '.join(known)}, got {option!r}; "
                f"did you mean {_near(option, known)}?"
            )
        _check_value(f"{name}.{option}", value, known[option])


def make_tracker(name: str, options: Mapping[str, Any], *, confined: bool = False) -> Any:
    """A tracker (``nas.tracking.base.Tracker``) that was told nothing yet.

    Args:
        name: A key of ``TRACKERS``.
        options: What a config gives it.
        confined: For strangers: where to is for this machine's operator to say, in the environment.

    Raises:
        TrackingError: As for ``check_options``, or the framework is not installed, or the options say where to.
    """
    check_options(name, options)
    if confined:
        refuse_places({name: options})
        _require_operator(name)
    return pkgutil.resolve_name(TRACKERS[name])(**options)


def refuse_places(trackers: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that options do not say where to: a server, a database or a folder that strangers must not choose.

    Args:
        trackers: Options by name.

    Raises:
        TrackingError: One does.
    """
    for name, options in trackers.items():
        harmless = pkgutil.resolve_name(TRACKERS[name]).HARMLESS
        for option in options:
            if option not in harmless:
                raise TrackingError(
                    f"Where the service tracks is for its operator to say, got {option!r} for {name}; leave it out "
                    f"(a search may give {', '.join(sorted(harmless))})."
                )


def _require_operator(name: str) -> None:
    variables = pkgutil.resolve_name(TRACKERS[name]).VARIABLES
    if not any(os.environ.get(variable) for variable in variables):
        raise TrackingError(
            f"The service tracks by {name} once its operator has said where to, and this worker was told nothing; "
            f"start it with {' or '.join(variables)} set."
        )


def _check_value(what: str, value: Any, hint: Any) -> None:
    kinds = (hint, *typing.get_args(hint))
    if value is None and type(None) in kinds:  # as good as left out
        return
    literals = [kind for kind in kinds if typing.get_origin(kind) is Literal]
    if literals:
        values = typing.get_args(literals[0])
        if value not in values:
            raise TrackingError(
                f"{what} must be one of {', '.join(values)}, got {value!r}; try {_near(value, values)}."
            )
    elif not isinstance(value, str):
        raise TrackingError(f"{what} must be text, got {value!r}; put it in quotes.")


def _near(name: object, known: typing.Iterable[str]) -> str:
    return repr(difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0])
