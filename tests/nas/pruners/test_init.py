import pytest

from nas.pruners import PRUNERS, UnknownPrunerError, pruner_named
from nas.pruners.base import ScoredPruner
from nas.supernet.importance import IMPORTANCES


def test_scored_pruners_go_by_importances_that_there_are() -> None:
    scored = [pruner for pruner in PRUNERS.values() if isinstance(pruner, ScoredPruner)]
    assert {pruner.importance for pruner in scored} - {None} <= set(IMPORTANCES)
    assert pruner_named("fisher") is PRUNERS["fisher"]


def test_unknown_pruner() -> None:
    with pytest.raises(UnknownPrunerError, match=r"must be one of random, uniform, .*, got 'fischer'; try 'fisher'"):
        pruner_named("fischer")
