"""The ranking that a supernet was trained by, beside its weights.

Sub-networks that were trained keep the first units of that order; a search that ranks units anew would cut out others.
Units bear the numbers that they have in the weights beside it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.base import UnitRanking
from search_spaces.shape import SupernetShape

RANKING = "unit_ranking.json"
"""Its name in the folder of a model."""
_RANKED = ("kv_groups_LK", "heads_LKG", "neurons_LN")
_NAMES = (*_RANKED, "attention_L", "mlp_L")
"""What is recorded: sub-networks that cut dimensions within heads are not trained."""


class RankingFileError(ValueError):
    """A ranking that does not fit the model beside it; the message says what to do."""


def ranking_to_json(ranking: UnitRanking) -> dict[str, Any]:
    """What ``read_ranking`` reads."""
    return {name: getattr(ranking, name).tolist() for name in _NAMES}


def read_ranking(folder: Path, shape: SupernetShape) -> UnitRanking | None:
    """The ranking in the folder of a model; None where there is none.

    Args:
        folder: The model's; ids on the Hub and names of nothing have none.
        shape: The model's.

    Raises:
        RankingFileError: The file is damaged, or belongs to another model.
    """
    path = folder / RANKING
    if not path.is_file():
        return None
    whole = UnitRanking.as_numbered(shape)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        arrays = {name: np.array(record[name], dtype=getattr(whole, name).dtype) for name in _NAMES}
        fits = all(array.shape == getattr(whole, name).shape for name, array in arrays.items()) and all(
            np.array_equal(np.sort(arrays[name], axis=-1), getattr(whole, name)) for name in _RANKED
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RankingFileError(
            f"{path} must be a ranking as `nas train-supernet` wrote it, but it cannot be read "
            f"({type(error).__name__}); restore it, or set importance.recorded_ranking to false."
        ) from error
    if not fits:
        raise RankingFileError(
            f"{path} must rank the units of the model beside it ({shape}), and it does not; restore it, or set "
            "importance.recorded_ranking to false."
        )
    return UnitRanking(**arrays)
