"""What may be chosen: shapes, sub-networks and search spaces. Plain Python and NumPy, no torch."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

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
    if type not in SEARCH_SPACES:
        raise UnknownSearchSpaceError(_one_of("A search space", type, list(SEARCH_SPACES)))
    known = [name for name in inspect.signature(SEARCH_SPACES[type]).parameters if name not in ("shape", "ranking")]
    for name in options:
        if name not in known:
            raise SearchSpaceError(_one_of(f"An option of search space {type}", name, known))
    space = SEARCH_SPACES[type](shape, ranking, **options)
    if num_candidates(space) == 1:
        raise SearchSpaceError(
            f"A search space must leave something to choose, but {type} with {options} holds only the supernet "
            f"({shape}); choose another type or finer options."
        )
    return space


def _one_of(what: str, name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"{what} must be one of {', '.join(known)}, got {name!r}; did you mean {nearest!r}?"
