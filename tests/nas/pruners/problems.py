"""Random supernets with random scores and costs."""

import numpy as np
from hypothesis import strategies as st

from nas.pruners.base import Selection
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

Problem = tuple[UnitScores, SupernetShape, UnitCosts]
SHARES = st.floats(min_value=0.001, max_value=1.0)


def scores_of(shape: SupernetShape, seed: int) -> UnitScores:
    """Integers, so that there are ties."""
    rng = np.random.default_rng(seed)
    heads_LH = rng.integers(0, 10, (shape.num_layers, shape.num_heads)).astype(float)
    neurons_LN = rng.integers(0, 10, (shape.num_layers, shape.num_neurons)).astype(float)
    return UnitScores(
        heads_LH=heads_LH,
        neurons_LN=neurons_LN,
        attention_L=rng.random(shape.num_layers),
        mlp_L=rng.random(shape.num_layers),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    groups, layers = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = SupernetShape(
        num_layers=layers,
        num_heads=groups * draw(st.integers(1, 3)),
        num_kv_groups=groups,
        num_neurons=draw(st.integers(1, 12)),
        head_dim=4,
        hidden_size=16,
        required_attention=(0, *sorted(draw(st.sets(st.integers(0, layers - 1))) - {0})),
    )
    costs = UnitCosts(
        name="parameters",
        fixed=draw(st.integers(0, 500)),
        layer=draw(st.integers(0, 9)),
        attention=draw(st.integers(0, 9)),
        mlp=draw(st.integers(0, 9)),
        head=draw(st.integers(1, 60)),
        kv_group=draw(st.integers(0, 60)),
        neuron=draw(st.integers(1, 60)),
    )
    return scores_of(shape, draw(st.integers(0, 10_000))), shape, costs


def pruned(select: Selection, problem: Problem, share: float) -> SubNetwork | None:
    """What a selection makes of a share of the whole cost; None where it says that this is too little."""
    scores, shape, costs = problem
    try:
        return select(scores, shape, costs, share * costs.total(shape))
    except BudgetTooSmallError:
        return None


def is_within(sub_network: SubNetwork, costs: UnitCosts, share: float) -> bool:
    """Exactly, without a tolerance."""
    return costs.of(sub_network) <= share * costs.total(sub_network.shape)


def keeps_all_of(larger: SubNetwork, smaller: SubNetwork) -> bool:
    return bool((larger.heads_LH >= smaller.heads_LH).all() and (larger.neurons_LN >= smaller.neurons_LN).all())
