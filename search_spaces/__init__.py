"""What may be chosen: shapes, sub-networks and search spaces. Plain Python and NumPy, no torch."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from search_spaces.base import SearchSpace, SearchSpaceError, UnitRanking, num_candidates
from search_spaces.intra_attention import IntraAttentionSpace
from search_spaces.joint import JointSpace
from search_spaces.layer_drop import LayerDropSpace
from search_spaces.low_rank import LowRankSpace
from search_spaces.per_layer import PerLayerSpace
from search_spaces.shape import SupernetShape
from search_spaces.uniform import UniformSpace

SEARCH_SPACES: dict[str, Callable[..., SearchSpace]] = {
    "uniform": UniformSpace,
    "per_layer": PerLayerSpace,
    "layer_drop": LayerDropSpace,
    "joint": JointSpace,
    "intra_attention": IntraAttentionSpace,
    "low_rank": LowRankSpace,
}

RANKED_WITHIN_HEADS = ("intra_attention",)
"""Spaces that ask which dimensions of a head go first."""


class UnknownSearchSpaceError(SearchSpaceError):
    """A name that stands for no search space."""


def make_space(type: str, shape: SupernetShape, ranking: UnitRanking, **options: Any) -> SearchSpace:
    """The search space of that name over a supernet.

    Args:
        type: A name in ``SEARCH_SPACES``.
        shape: The supernet's.
        ranking: Which of its units to keep first.
        options: What the space's class takes by keyword.

    Raises:
        UnknownSearchSpaceError: No space has that name.
        SearchSpaceError: An option that the space does not know or cannot satisfy, or nothing left to choose.
    """
    check_options(type, options)
    space = SEARCH_SPACES[type](shape, ranking, **options)
    if num_candidates(space) == 1:
        raise SearchSpaceError(
            f"A search space must leave something to choose, but {type} with {options} holds only the supernet "
            f"({shape}); choose another type or finer options."
        )
    return space


def check_options(type: str, options: Mapping[str, Any]) -> None:
    """Checks what can be told of options without a supernet: their names, and whether they are counts and lists.

    Args:
        type: A name in ``SEARCH_SPACES``.
        options: What the space's class takes by keyword.

    Raises:
        UnknownSearchSpaceError: No space has that name.
        SearchSpaceError: The space does not know an option, or it is of another kind.
    """
    if type not in SEARCH_SPACES:
        raise UnknownSearchSpaceError(_one_of("A search space", type, list(SEARCH_SPACES)))
    parameters = inspect.signature(SEARCH_SPACES[type], eval_str=True).parameters
    known = {name: one.annotation for name, one in parameters.items() if name not in ("shape", "ranking")}
    for name, value in options.items():
        if name not in known:
            raise SearchSpaceError(_one_of(f"An option of search space {type}", name, list(known)))
        _require_kind(name, value, known[name])


def _require_kind(name: str, value: Any, hint: Any) -> None:
    kinds = get_args(hint) or (hint,)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if int in kinds and not (is_count or (value is None and NoneType in kinds)):
        raise SearchSpaceError(f"{name} must be a whole number, got {value!r}; give one, or leave it out.")
    if get_origin(hint) is Sequence and not isinstance(value, list | tuple):
        raise SearchSpaceError(f"{name} must be a list, got {value!r}; write [{value}], or leave it out.")


def _one_of(what: str, name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"{what} must be one of {', '.join(known)}, got {name!r}; did you mean {nearest!r}?"
