import pytest

from nas.strategies import UnknownStrategyError, make_strategy
from tests.nas.strategies.problems import StubSpace


def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownStrategyError, match=r"one of random, local_search, .*'nsga3'; did you mean 'nsga2'\?"):
        make_strategy("nsga3", StubSpace(num_sizes=(2, 2)), num_objectives=2, num_constraints=0, seed=0)
