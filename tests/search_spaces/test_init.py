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


@pytest.mark.parametrize("value", ["abc", 32.5, True, [8]])
def test_counts_are_whole_numbers(value: object) -> None:
    with pytest.raises(SearchSpaceError, match=r"^neurons_multiple_of must be a whole number, got .*; give one, or"):
        make_space("joint", GQA, RANKING, neurons_multiple_of=value)


@pytest.mark.parametrize(
    ("type", "name", "value"),
    [("joint", "loadable_by", "transformers"), ("low_rank", "matrices", "q_proj"), ("uniform", "loadable_by", None)],
)
def test_lists_are_lists(type: str, name: str, value: object) -> None:
    with pytest.raises(SearchSpaceError, match=rf"^{name} must be a list, got {value!r}; write \[{value}\], or leave"):
        make_space(type, GQA, RANKING, **{name: value})


def test_a_count_may_be_left_to_the_space() -> None:
    assert make_space("joint", GQA, RANKING, neurons_multiple_of=None, loadable_by=("transformers",)).choices


def test_nothing_to_choose_is_refused() -> None:
    one = SupernetShape(num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=1, head_dim=1, hidden_size=1)
    with pytest.raises(SearchSpaceError, match="must leave something to choose, but uniform"):
        make_space("uniform", one, UnitRanking.as_numbered(one))


@pytest.mark.parametrize("type", SEARCH_SPACES)
def test_defaults_leave_something_to_choose(type: str) -> None:
    assert make_space(type, GQA, RANKING).choices
