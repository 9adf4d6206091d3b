import pytest

from search_spaces import SEARCH_SPACES, UnknownSearchSpaceError, make_space
from search_spaces.base import SearchSpaceError, UnitRanking
from search_spaces.shape import SupernetShape
from tests.search_spaces.spaces import GQA

RANKING = UnitRanking.as_numbered(GQA)


def test_an_unknown_name_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(UnknownSearchSpaceError, match=r"uniform, per_layer, .*got 'perlayer'") as error:
        make_space("perlayer", GQA, RANKING)
    assert "did you mean 'per_layer'" in str(error.value)


def test_an_unknown_option_lists_the_options() -> None:
    with pytest.raises(
        SearchSpaceError, match="heads, neurons_multiple_of, loadable_by, got 'head'; did you mean 'heads'"
    ):
        make_space("uniform", GQA, RANKING, head="fixed")


def test_nothing_to_choose_is_refused() -> None:
    one = SupernetShape(num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=1, head_dim=1, hidden_size=1)
    with pytest.raises(SearchSpaceError, match="must leave something to choose, but uniform"):
        make_space("uniform", one, UnitRanking.as_numbered(one))


@pytest.mark.parametrize("type", SEARCH_SPACES)
def test_defaults_leave_something_to_choose(type: str) -> None:
    assert make_space(type, GQA, RANKING).choices
