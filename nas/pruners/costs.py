r"""What a sub-network costs in FLOPs or parameters, as a sum over what it keeps.

    cost = fixed + Σ kept layers (layer) + Σ kept sublayers (attention or mlp) + Σ kept units (head, kv_group, neuron)

Both sums are exact, which is why a pruner can spend a budget to the last unit. FLOPs are those of the ``flops``
evaluator: of one forward pass over T tokens, 2 T for each weight, and for each head 4 T² D for scores and values. What
lies outside of the layers (embeddings, the head over the vocabulary, a pooler) is fixed. A head of which dimensions
were removed costs less by those, and so does what is factorised: matrices, and the embedding in bands.

arXiv:2204.09656 counts units alike, but takes shares of their total alone; here a budget is one on the whole model.

Legend: T tokens, D head_dim.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from evaluators.flops import count_flops
from evaluators.parameters import unique_parameters
from nas.supernet.embedding_bands import has_tied_head
from nas.supernet.families import Sublayer, Unit
from nas.supernet.intra_attention import head_rows
from nas.supernet.layout import parameters_per_unit, weights_per_unit
from nas.supernet.supernet import Supernet
from search_spaces.embedding import BandWeights
from search_spaces.low_rank import weights_saved
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class DimCosts:
    """What one dimension within a head adds to a cost.

    Attributes:
        query: Of a query head: its row of the query projection, and its part of the scores.
        key: Of a KV group: its row of the key projection.
        value: Of a KV group: its row of the value projection.
        output: Of a query head: its column of the output projection, and its part of the attended values.
    """

    query: int
    key: int
    value: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """What each part of a model adds to a cost.

    Attributes:
        name: ``flops`` or ``parameters``.
        fixed: Everything outside of the layers.
        layer: What a layer has besides its sublayers, such as the norms of a post-norm layer.
        attention: What an attention sublayer has besides its units: its norm, its output bias.
        mlp: The same of an MLP.
        head: A query head: its rows of the query projection and its columns of the output projection.
        kv_group: The key and value of a KV group, without its query heads.
        neuron: Its rows and its column.
        dims: What a dimension within a head costs; None where nobody asks about sub-networks that lack some.
        weight: A weight of a matrix, of which one at a rank has fewer.
        row: A weight of the table of tokens, of which one in bands has fewer.
        projection: A weight of the projections that an embedding in bands has instead.
    """

    name: str
    fixed: int = 0
    layer: int = 0
    attention: int = 0
    mlp: int = 0
    head: int
    kv_group: int
    neuron: int
    dims: DimCosts | None = None
    weight: int = 1
    row: int = 0
    projection: int = 0

    def whole_group(self, shape: SupernetShape) -> int:
        """A KV group with all its query heads."""
        return self.kv_group + shape.heads_per_group * self.head

    def of(self, sub_network: SubNetwork) -> int:
        """The whole cost of a sub-network."""
        return (
            self.fixed
            + len(sub_network.kept_layers) * self.layer
            + sum(map(bool, sub_network.num_heads)) * self.attention
            + sum(map(bool, sub_network.num_neurons)) * self.mlp
            + sum(sub_network.num_heads) * self.head
            + sum(sub_network.num_kv_groups) * self.kv_group
            + sum(sub_network.num_neurons) * self.neuron
            - self._of_removed_dims(sub_network)
            - self.weight * weights_saved(sub_network)
            - self.saved_by_bands(sub_network)
        )

    def saved_by_bands(self, sub_network: SubNetwork) -> int:
        """By how much bands make the embedding, and the head that shares its table, cost less; may be below 0."""
        if sub_network.bands is None:
            return 0
        shape = sub_network.shape
        weights = BandWeights.of(sub_network.bands, shape.hidden_size)
        rows_saved = shape.vocab_size * shape.hidden_size - weights.tables
        return self.row * rows_saved - self.projection * weights.projections

    def _of_removed_dims(self, sub_network: SubNetwork) -> int:
        if not sub_network.cuts_heads:
            return 0
        assert self.dims is not None
        kept_LK, head_dim = sub_network.kv_groups_LK, sub_network.shape.head_dim
        heads_LK = sub_network.heads_LH.reshape(*kept_LK.shape, -1).sum(axis=2)
        queries_LK = kept_LK * head_dim - sub_network.query_dims_LKD.sum(axis=2)
        values_LK = kept_LK * head_dim - sub_network.value_dims_LKD.sum(axis=2)
        removed = queries_LK * (self.dims.key + heads_LK * self.dims.query)
        removed += values_LK * (self.dims.value + heads_LK * self.dims.output)
        return int(removed.sum())

    def total(self, shape: SupernetShape) -> int:
        """The supernet's."""
        return self.of(SubNetwork.full(shape))

    def outside_units(self, shape: SupernetShape) -> int:
        """What remains when all sublayers are there and hold nothing: an upper bound for what units leave over."""
        return self.fixed + shape.num_layers * (self.layer + self.attention + self.mlp)

    def budget_for(self, shape: SupernetShape, *, share: float) -> float:
        """The budget under which ``share`` of the layers' cost remains beside what is fixed."""
        return self.fixed + share * (self.total(shape) - self.fixed)


def parameter_costs(supernet: Supernet) -> UnitCosts:
    """Parameters; tied ones count once."""
    family, layer = supernet.family, supernet.layers[0]
    head, kv_group, neuron = _per_unit(supernet, parameters_per_unit)
    attention, mlp = (_count(_modules(layer, sublayer)) for sublayer in (family.attention, family.mlp))
    shape, whole_layer = supernet.shape, _count([layer])
    return UnitCosts(
        name="parameters",
        fixed=sum(one.numel() for one in unique_parameters(supernet.model)) - shape.num_layers * whole_layer,
        layer=whole_layer - attention - mlp,
        attention=attention - shape.num_heads * head - shape.num_kv_groups * kv_group,
        mlp=mlp - shape.num_neurons * neuron,
        head=head,
        kv_group=kv_group,
        neuron=neuron,
        dims=_per_dim(supernet, with_bias=True),
        row=1,
        projection=1,
    )


def flops_costs(supernet: Supernet, *, context_tokens: int = 128) -> UnitCosts:
    """FLOPs of one forward pass over ``context_tokens`` tokens.

    Raises:
        EvaluationError: More tokens than the model has positions.
    """
    shape = supernet.shape
    head, kv_group, neuron = (2 * context_tokens * weights for weights in _per_unit(supernet, weights_per_unit))
    attended, dims = 2 * context_tokens**2, _per_dim(supernet, with_bias=False)
    head += 4 * context_tokens**2 * shape.head_dim
    units = shape.num_layers * (shape.num_heads * head + shape.num_kv_groups * kv_group + shape.num_neurons * neuron)
    total = count_flops(supernet.model, num_tokens=context_tokens)
    tied = has_tied_head(supernet.model)  # Rows are looked up on the way in, and multiplied in the head alone.
    return UnitCosts(
        name="flops",
        fixed=total - units,
        head=head,
        kv_group=kv_group,
        neuron=neuron,
        dims=DimCosts(
            query=2 * context_tokens * dims.query + attended,
            key=2 * context_tokens * dims.key,
            value=2 * context_tokens * dims.value,
            output=2 * context_tokens * dims.output + attended,
        ),
        weight=2 * context_tokens,
        row=2 * context_tokens if tied else 0,
        projection=(4 if tied else 2) * context_tokens,
    )


def _per_unit(
    supernet: Supernet, count: Callable[[nn.Module, Sublayer, SupernetShape, Unit], int]
) -> tuple[int, int, int]:
    """Of a query head, a KV group and a neuron."""
    layer, family, shape = supernet.layers[0], supernet.family, supernet.shape
    return (
        count(layer, family.attention, shape, Unit.QUERY_HEAD),
        count(layer, family.attention, shape, Unit.KV_HEAD),
        count(layer, family.mlp, shape, Unit.NEURON),
    )


def _per_dim(supernet: Supernet, *, with_bias: bool) -> DimCosts:
    """Parameters, or weights alone."""
    layer, shape = supernet.layers[0], supernet.shape
    query, key, value = (
        shape.hidden_size + (with_bias and layer.get_submodule(rows.path)._parameters.get("bias") is not None)
        for rows in head_rows(supernet.family, shape)
    )
    return DimCosts(query=query, key=key, value=value, output=shape.hidden_size)


def _modules(layer: nn.Module, sublayer: Sublayer) -> list[nn.Module]:
    """Everything that leaves with a sublayer."""
    return [layer.get_submodule(path) for path in (*sublayer.modules, *sublayer.norms)]


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
