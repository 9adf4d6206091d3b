import pytest

from nas.pruners import PRUNERS, UnknownPrunerError, pruner_named
from nas.supernet.importance import IMPORTANCES


def test_every_pruner_goes_by_an_importance_that_there_is() -> None:
    assert {pruner.importance for pruner in PRUNERS.values()} - {None} <= set(IMPORTANCES)
    assert pruner_named("fisher") is PRUNERS["fisher"]


def test_unknown_pruner() -> None:
    with pytest.raises(UnknownPrunerError, match=r"must be one of uniform, .*, got 'fischer'; try 'fisher'"):
        pruner_named("fischer")
