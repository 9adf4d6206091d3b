import pytest

from search_spaces.base import SearchSpaceError
from search_spaces.loadable import Limits
from search_spaces.shape import SupernetShape
from search_spaces.widths import Counts, WidthChoices, Widths, WidthSizes, width_sizes
from tests.search_spaces.spaces import GQA, MHA


def shape_with(num_neurons: int) -> SupernetShape:
    return SupernetShape(num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=num_neurons, head_dim=1, hidden_size=1)


@pytest.mark.parametrize(
    ("heads", "kv_groups", "heads_per_group"),
    [("kv_group", (1, 2), (2,)), ("head", (1, 2), (1, 2)), ("fixed", (2,), (2,))],
)
def test_head_granularities(heads: str, kv_groups: tuple[int, ...], heads_per_group: tuple[int, ...]) -> None:
    sizes = width_sizes(GQA, Limits(), heads=heads, neurons_multiple_of=16)  # type: ignore[arg-type]
    assert sizes == WidthSizes(kv_groups=kv_groups, heads_per_group=heads_per_group, neurons=(16, 32))


def test_the_full_width_is_a_size_though_no_multiple() -> None:
    assert width_sizes(MHA, Limits(), heads="fixed", neurons_multiple_of=8).neurons == (8, 16, 20)


@pytest.mark.parametrize(("num_neurons", "step"), [(1, 1), (9, 1), (16, 2), (100, 8), (256, 32), (14336, 32)])
def test_the_default_step_suits_the_width(num_neurons: int, step: int) -> None:
    sizes = width_sizes(shape_with(num_neurons), Limits(), heads="fixed", neurons_multiple_of=None).neurons
    assert sizes[0] == step
    assert sizes[-1] == num_neurons


@pytest.mark.parametrize(("step", "limit"), [(0, 1), (-32, 1), (65, 1), (48, 32)])
def test_a_step_without_a_multiple_is_refused(step: int, limit: int) -> None:
    limits = Limits(neurons_multiple_of=limit)
    remedy = width_sizes(shape_with(64), limits, heads="fixed", neurons_multiple_of=None).neurons[0]
    with pytest.raises(SearchSpaceError, match=f"at most the supernet's 64 neurons.*got {step}; choose {remedy}"):
        width_sizes(shape_with(64), limits, heads="fixed", neurons_multiple_of=step)


def test_an_unknown_head_granularity_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match="heads must be one of kv_group, head, fixed, got 'kv_groups'"):
        width_sizes(GQA, Limits(), heads="kv_groups", neurons_multiple_of=None)  # type: ignore[arg-type]


def choices_of(sizes: WidthSizes, *, mlp_needs_attention: bool = False) -> WidthChoices:
    return WidthChoices({"": sizes}, Limits(mlp_needs_attention=mlp_needs_attention))


DROPPABLE = WidthSizes((1, 2, 3), (1, 2), (4, 8)).droppable(attention=True)


def test_a_width_of_one_size_is_no_choice() -> None:
    choices = choices_of(WidthSizes((1, 2), (4,), (8,)))
    assert [choice.name for choice in choices.choices] == ["kv_groups"]
    assert choices.widths((0,)) == [Widths(1, 4, 8)]


def test_a_dropped_attention_has_no_heads_to_choose() -> None:
    assert WidthSizes((0, 1, 2, 3), (1, 2), (0, 4, 8)) == DROPPABLE
    assert choices_of(DROPPABLE).widths((0, 1, 2)) == [Widths(0, 0, 8)]
    assert choices_of(DROPPABLE).canonical((0, 1, 2)) == (0, 0, 2)
    assert choices_of(DROPPABLE, mlp_needs_attention=True).canonical((0, 1, 2)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("counts", "widths"),
    [
        (Counts(kv_groups=3, heads=6, neurons=8), Widths(3, 2, 8)),
        (Counts(kv_groups=3, heads=3, neurons=7), Widths(3, 1, 4)),
        (Counts(kv_groups=1, heads=2, neurons=3), Widths(1, 2, 0)),
        (Counts(kv_groups=0, heads=0, neurons=8), Widths(0, 0, 8)),
    ],
)
def test_nearest_rounds_down(counts: Counts, widths: Widths) -> None:
    choices = choices_of(DROPPABLE)
    assert choices.widths(choices.nearest([counts])) == [widths]


def test_nearest_takes_the_smallest_where_all_are_above() -> None:
    choices = choices_of(WidthSizes((1, 2), (1, 2), (4, 8)))
    assert choices.widths(choices.nearest([Counts(kv_groups=0, heads=0, neurons=0)])) == [Widths(1, 1, 4)]


def test_whole_groups_number_as_many_as_the_heads_fill() -> None:
    choices = choices_of(WidthSizes((1, 2, 3, 4), (4,), (8,)))
    assert choices.widths(choices.nearest([Counts(kv_groups=4, heads=8, neurons=8)])) == [Widths(2, 4, 8)]
